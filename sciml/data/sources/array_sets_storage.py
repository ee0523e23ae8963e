"""Named arrays in files: one interface to what MATLAB, torch and numpy store.

An array has its axes in the order in which its own program shows them (*logical order*),
whatever their order on disk. Shapes and dtypes are known without reading numbers, and are
checked against the bytes that the file really holds.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.array_sets_bytes import ByteStream, cut, read_exactly

_SMALL_BYTES = 64 * 2**20


def _file_state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


class StoredArray(ABC):
    """One array of a file.

    Args:
        path: The file.
        name: Name of the variable.
        shape: Shape in logical order.
        dtype: Dtype of the values.
        disk_order: Axes from the slowest to the fastest one on disk.
        storage: How it is stored and read, in words.
    """

    back_end: str
    """Name of the way in which it is read."""
    mappable: bool = False
    """Whether `direct` is a memory map."""
    place: str
    """Text that tells the arrays of a file apart; names may repeat in lists."""
    grain: tuple[int, ...] = ()
    """Shape of the chunks on disk, in logical order; empty if there are none."""

    def __init__(
        self,
        path: Path,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        disk_order: tuple[int, ...],
        storage: str,
    ) -> None:
        self.path = path
        self.name = name
        self.place = name
        self.shape = shape
        self.dtype = dtype
        self.disk_order = disk_order
        self.storage = storage
        self._state = _file_state(path)

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check_unchanged(self) -> None:
        """Refuse to read a file that is another one than when its arrays were listed.

        Raises:
            FileNotFoundError: If it is gone.
            ValueError: If its size or modification time changed.
        """
        if not self.path.is_file():
            raise FileNotFoundError(
                f"open_source: expected the file {self.path}, which was there when the data "
                "set was opened, got none; put it back"
            )
        if _file_state(self.path) != self._state:
            raise ValueError(
                f"open_source: expected {self.path} as it was when the data set was opened, "
                "got another size or modification time; open the data set again"
            )

    @abstractmethod
    def direct(self) -> Any | None:
        """What reads when it is sliced in logical order; None if only `blocks` can read."""

    def blocks(self, limit: int) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
        """All values in disk order: index in logical order and values, at most `limit` bytes.

        Blocks are whole chunks where the limit allows it, so that none is decoded twice.
        """
        array = self.direct()
        entries = max(1, limit // self.dtype.itemsize)
        for index in cut(self.shape, self.disk_order, entries, self.grain):
            yield index, np.asarray(array[index])  # type: ignore[index]

    def values(self) -> NDArray[Any]:
        """All values of a small array.

        Raises:
            ValueError: If it is larger than 64 MiB.
        """
        if self.nbytes > _SMALL_BYTES:
            raise ValueError(
                f"open_source: expected at most {_SMALL_BYTES} bytes in the variable "
                f"{self.name!r}, got shape {self.shape}; it should be a small list of numbers"
            )
        out = np.empty(self.shape, self.dtype)
        for index, block in self.blocks(_SMALL_BYTES):
            out[index] = block
        return out


@final
class MappedArray(StoredArray):
    """Numbers that lie in the file as one block.

    Args:
        path: The file.
        name: Name of the variable.
        shape: Shape in logical order.
        dtype: Dtype on disk.
        offset: Byte at which the numbers begin.
        fortran: Whether the first axis is the fastest on disk.
    """

    back_end = "mmap"
    mappable = True

    def __init__(
        self,
        path: Path,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        offset: int,
        *,
        fortran: bool,
    ) -> None:
        axes = tuple(range(len(shape)))
        super().__init__(
            path, name, shape, dtype, axes[::-1] if fortran else axes, f"memory map of {dtype}"
        )
        self._offset = offset
        self._order: Literal["F", "C"] = "F" if fortran else "C"

    @override
    def direct(self) -> NDArray[Any]:
        if self.nbytes == 0:
            return np.empty(self.shape, self.dtype)
        mapped = np.memmap(self.path, self.dtype, "r", self._offset, (math.prod(self.shape),))
        return np.asarray(mapped).reshape(self.shape, order=self._order)


@final
class StreamedArray(StoredArray):
    """Compressed numbers, which can only be read from the beginning.

    Args:
        path: The file.
        name: Name of the variable.
        shape: Shape in logical order.
        dtype: Dtype on disk.
        open_stream: Opens a stream of the decompressed bytes; it is pickled.
        fortran: Whether the first axis is the fastest on disk.
    """

    back_end = "stream"

    def __init__(
        self,
        path: Path,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        open_stream: Callable[[], ByteStream],
        *,
        fortran: bool,
    ) -> None:
        axes = tuple(range(len(shape)))
        order = axes[::-1] if fortran else axes
        super().__init__(path, name, shape, dtype, order, f"compressed {dtype}")
        self._open_stream = open_stream

    @override
    def direct(self) -> None:
        return None

    @override
    def blocks(self, limit: int) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
        with self._open_stream() as stream:
            entries = max(1, limit // self.dtype.itemsize)
            for index in cut(self.shape, self.disk_order, entries):
                sizes = [index[axis].stop - index[axis].start for axis in self.disk_order]
                size = math.prod(sizes) * self.dtype.itemsize
                data = read_exactly(stream, size, f"{self.name!r} in {self.path}")
                block = np.frombuffer(data, self.dtype).reshape(sizes)
                yield index, block.transpose(np.argsort(self.disk_order))


@final
class LoadedArray(StoredArray):
    """An array that is put together in memory: text, sparse matrices, complex numbers.

    Args:
        path: The file.
        name: Name of the variable.
        shape: Shape in logical order.
        dtype: Dtype of the values.
        storage: How it is stored, in words.
        load: Reads the whole array; it is pickled.
    """

    back_end = "memory"

    def __init__(
        self,
        path: Path,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        storage: str,
        load: Callable[[], NDArray[Any]],
    ) -> None:
        super().__init__(path, name, shape, dtype, tuple(range(len(shape))), storage)
        self._load = load

    @override
    def direct(self) -> NDArray[Any]:
        return self._load()
