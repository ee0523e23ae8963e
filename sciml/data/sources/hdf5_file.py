"""One HDF5 file as a process has it open: mapped, or through h5py."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.hdf5_chunks import ChunkGrid, ChunkTable, read_chunk_table
from sciml.data.sources.hdf5_filters import read_filters, require_filters

# h5py raises KeyError for members, TypeError for types, UnicodeError for texts of damaged files
_H5PY_ERRORS = (OSError, RuntimeError, KeyError, TypeError, UnicodeError, MemoryError)


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn what h5py raises on damaged files into an error that names the file and the remedy.

    Raises:
        ValueError: If h5py fails within.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except _H5PY_ERRORS as error:
        raise ValueError(
            "open_source: expected a complete HDF5 file, got a truncated or damaged one, "
            f"{path} ({error}); delete it and generate or download it again"
        ) from error


def open_library_file(path: Path) -> Any:
    """An `h5py.File` for reading, without HDF5's file lock where the process allows that.

    Readers never write, and the lock can block on network file systems.
    """
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        # the same process has the file open with the lock, and HDF5 wants both to be the same
        return h5py.File(path, "r")


@final
class OpenFile:
    """Ways into one file, each opened at its first use and closed with this object.

    Args:
        path: The file.
        state: Size and modification time that it had when its arrays were inspected.

    Raises:
        ValueError: If the file was changed since.
        FileNotFoundError: If it is gone.
    """

    def __init__(self, path: Path, state: tuple[int, int]) -> None:
        self.path = path
        self._memory: mmap.mmap | None = None
        self._handle: Any = None
        if not path.is_file():
            raise FileNotFoundError(
                f"open_source: expected the file {path}, which was there when the data set was "
                "opened, got none; put it back"
            )
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) != state:
            raise ValueError(
                f"open_source: expected {path} as it was when the data set was opened, got "
                f"another size or modification time ({status.st_size} instead of {state[0]} "
                "bytes); open the data set again"
            )

    # Two threads may both open one of these; the first one to be stored or the second one is
    # dropped, and closed when nothing uses it any more.

    def mapped(self, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> NDArray[Any]:
        """Part of the file as an array; nothing is read before it is used.

        Raises:
            ValueError: If the file ends before the array does.
        """
        if self._memory is None:
            with self.path.open("rb") as file:
                self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            return np.ndarray(shape, dtype, self._memory, offset)
        except TypeError as error:
            raise ValueError(
                f"open_source: expected an array of shape {shape} at {offset} of {self.path}, "
                f"got {len(self._memory)} bytes; the file was cut, generate or download it "
                "again"
            ) from error

    def dataset(self, key: str) -> Any:
        """An `h5py.Dataset` that stays open."""
        if self._handle is None:
            self._handle = open_library_file(self.path)
        dataset = self._handle[key]
        # a process of its own has to load the filters' library as well
        require_filters(read_filters(dataset), f"{key} in {self.path}")
        return dataset

    def read_chunk_table(self, key: str, grid: ChunkGrid) -> ChunkTable:
        """Table of the chunks of an array."""
        with damage_named(self.path), open_library_file(self.path) as file:
            return read_chunk_table(file[key], grid, self.path.stat().st_size)
