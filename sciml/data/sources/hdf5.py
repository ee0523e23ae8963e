"""Arrays inside HDF5 files, read through a memory map where the layout allows it."""

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

BACK_ENDS = ("auto", "mmap", "h5py")
"""How arrays are read: chosen by layout, or forced (for debugging and tests)."""


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open a file for reading; damage becomes an error that names the file and the remedy.

    HDF5's file lock is off: readers never write, and the lock can block on network file
    systems.
    """
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise ValueError(
            "open_source: expected a complete HDF5 file, got a truncated or damaged one, "
            f"{path} ({error}); delete it and generate or download it again"
        ) from error
    with file:
        yield file


@final
@dataclass(frozen=True)
class ArrayLayout:
    """Where an HDF5 data set lies in its file.

    Args:
        key: Path of the data set inside the file.
        shape: Its shape.
        dtype: Its dtype on disk.
        offset: Byte offset in the file when it can be mapped, else None.
        reason: Why it is mapped or not, in words.
    """

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None
    reason: str

    @property
    def back_end(self) -> str:
        """Name of the back end that reads this array."""
        return "h5py" if self.offset is None else "mmap"


def inspect_array(dataset: Any, back_end: str = "auto") -> ArrayLayout:
    """Decide how an `h5py.Dataset` is read.

    A map is possible for one contiguous block of a native fixed-size number type in the file
    itself. As libraries differ in whether offsets count a user block, one row is compared with
    what h5py reads before the offset is trusted.

    Raises:
        ValueError: If the memory map is forced on an array that cannot be mapped.
    """
    offset, reason = _map_offset(dataset)
    if back_end == "h5py":
        offset, reason = None, "forced"
    if back_end == "mmap" and offset is None:
        raise ValueError(
            f"open_source: expected an array that can be memory-mapped, got {dataset.name} in "
            f"{dataset.file.filename} ({reason}); use back_end='auto'"
        )
    return ArrayLayout(dataset.name, tuple(dataset.shape), dataset.dtype, offset, reason)


def _map_offset(dataset: Any) -> tuple[int | None, str]:
    """Byte offset of a mappable data set or None, and the reason."""
    if dataset.size == 0 or dataset.shape == ():
        return None, "scalar or empty"
    if dataset.chunks is not None:
        return None, f"chunked, filter {dataset.compression or 'none'}"
    if dataset.external is not None or dataset.is_virtual:
        return None, "data outside the file"
    if dataset.dtype.kind not in "iuf" or not dataset.dtype.isnative:
        return None, f"dtype {dataset.dtype} is not a native number"
    offset = dataset.id.get_offset()
    if offset is None:
        return None, "no storage allocated"
    row = dataset[(0,) * (dataset.ndim - 1)]
    with Path(dataset.file.filename).open("rb") as file:
        file.seek(offset)
        if file.read(row.nbytes) != row.tobytes():
            return None, "the mapped row differs from h5py's"
    return int(offset), "contiguous, native"


@final
class ArrayReader:
    """Arrays of one HDF5 file, opened once per process and at first use.

    Args:
        path: The file.
        layouts: Arrays to be read, by name.
    """

    def __init__(self, path: Path, layouts: Mapping[str, ArrayLayout]) -> None:
        self.path = path
        self.layouts = dict(layouts)
        # keyed by process: a handle inherited through fork must never be used (its lock may be
        # held, and both sides would share one file position)
        self._opened: dict[int, Mapping[str, Any]] = {}

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Leave handles behind: they mean nothing in another process."""
        return {**self.__dict__, "_opened": {}}

    def __getitem__(self, name: str) -> Any:
        """The array: numpy view of the map, or an h5py data set that reads when sliced."""
        opened = self._opened.get(os.getpid())
        if opened is None:
            # two threads may both open; the first one to store wins and the other is dropped
            opened = self._opened.setdefault(os.getpid(), self._open())
        return opened[name]

    def _open(self) -> Mapping[str, Any]:
        arrays: dict[str, Any] = {}
        mapped = {
            name: layout for name, layout in self.layouts.items() if layout.offset is not None
        }
        if mapped:
            with self.path.open("rb") as file:
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            for name, layout in mapped.items():
                flat: NDArray[Any] = np.frombuffer(
                    memory, layout.dtype, int(np.prod(layout.shape)), layout.offset or 0
                )
                arrays[name] = flat.reshape(layout.shape)
        if len(mapped) < len(self.layouts):
            handle = h5py.File(self.path, "r", locking=False)
            for name in self.layouts.keys() - mapped.keys():
                arrays[name] = handle[self.layouts[name].key]
        return arrays


def require(parent: Any, name: str, kind: Literal["group", "attribute", "dataset"]) -> Any:
    """A member of an HDF5 group, or an error that names what is missing and what is there."""
    members: Any = parent.attrs if kind == "attribute" else parent
    if name not in members:
        raise ValueError(
            f"open_source: expected the {kind} {name!r} in {parent.name} of "
            f"{parent.file.filename}, got {sorted(members)}; the file does not follow The "
            "Well's layout, generate or download it again"
        )
    return members[name]


def texts(value: Any) -> tuple[str, ...]:
    """A list-of-strings attribute as text, whether stored as bytes or as str."""
    if isinstance(value, h5py.Empty):
        return ()
    items = np.atleast_1d(value).tolist()
    return tuple(v.decode() if isinstance(v, bytes) else str(v) for v in items)
