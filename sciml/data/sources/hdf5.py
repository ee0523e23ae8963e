"""Arrays inside HDF5 files, read past HDF5 where their storage allows it."""

import os
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, final

import h5py
import numpy as np
from typing_extensions import override

from sciml.data.sources.hdf5_arrays import HDF5Array, LibraryArray, MappedArray
from sciml.data.sources.hdf5_chunked import ChunkedArray, ChunkTableArray, DirectChunkArray
from sciml.data.sources.hdf5_chunks import ChunkGrid, ChunkTable, make_chunk_table
from sciml.data.sources.hdf5_file import OpenFile, damage_named, open_library_file
from sciml.data.sources.hdf5_guard import check_attributes
from sciml.data.sources.hdf5_layout import ArrayLayout, check_links, check_storage, plan_array
from sciml.data.sources.hdf5_plugins import FASTER_IN_HDF5

if sys.platform != "win32":
    import resource

__all__ = [
    "BACK_ENDS",
    "ArrayLayout",
    "ArrayReader",
    "HDF5Array",
    "inspect_array",
    "open_hdf5",
    "require",
    "texts",
]

BACK_ENDS = ("auto", "mmap", "chunk_table", "direct_chunk", "h5py")
"""How arrays are read: chosen by storage, or forced (for debugging and tests).

``mmap`` copies from a memory map of one block; ``chunk_table`` from a map of the whole file, by
the position of each chunk; ``direct_chunk`` reads filtered chunks raw and decodes them in the
calling thread; ``h5py`` reads everything else, one thread at a time.
"""

_WANTED = {
    "mmap": "that can be memory-mapped",
    "chunk_table": "of chunks without filters",
    "direct_chunk": "of chunks with filters that are decoded here",
}


def _most_open_readers() -> int:
    """So many readers that they hold half of the descriptors a process may have."""
    if sys.platform == "win32":
        return 1024
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(min(soft, 4096) // 4, 16) if soft > 0 else 1024


_MOST_OPEN_READERS = _most_open_readers()


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open a file for reading; damage becomes an error that names the file and the remedy.

    Attributes are looked over first, see `check_attributes`. HDF5's file lock is off: readers
    never write, and the lock can block on network file systems. External links that leave the
    file's folder are refused before they are followed.

    Raises:
        ValueError: If the file is damaged, or links lead out of its folder.
    """
    check_attributes(path)
    with damage_named(path), open_library_file(path) as file:
        check_links(file, path.resolve().parent, set())
        yield file


def inspect_array(dataset: Any, back_end: str = "auto") -> ArrayLayout:
    """Decide how an `h5py.Dataset` is read.

    What passes HDF5 by is not trusted: one row or one chunk is compared with what h5py reads
    (libraries differ in whether offsets count a user block), and h5py is used if they differ.

    Args:
        dataset: The array.
        back_end: One of `BACK_ENDS`.

    Raises:
        ValueError: If a back end is forced on an array that it cannot read, the data lie
            outside the file's folder, a filter is missing, or the declared size is absurd.
    """
    check_storage(dataset)
    layout = plan_array(dataset)
    if back_end != "h5py" and layout.back_end != "h5py" and not _agrees(dataset, layout):
        reason = f"{layout.reason}, but the values differ from h5py's"
        layout = replace(layout, back_end="h5py", reason=reason)
    if back_end == "h5py":
        return replace(layout, back_end="h5py", reason="forced")
    codes = [stage.code for stage in layout.chunks.filters] if layout.chunks else []
    if back_end == "auto" and not FASTER_IN_HDF5.isdisjoint(codes):
        return replace(layout, back_end="h5py", reason=f"{layout.reason}, fast codec")
    if back_end not in ("auto", layout.back_end):
        raise ValueError(
            f"open_source: expected an array {_WANTED[back_end]}, got {dataset.name} in "
            f"{dataset.file.filename} ({layout.back_end}: {layout.reason}); use back_end='auto'"
        )
    return layout


def _agrees(dataset: Any, layout: ArrayLayout) -> bool:
    """Whether one row, or the first chunk that was written, is the same through h5py."""
    index: tuple[Any, ...] = (0,) * (dataset.ndim - 1)
    table = None
    try:
        if layout.chunks is not None:
            if not dataset.id.get_num_chunks():
                return True
            first = dataset.id.get_chunk_info(0)
            grid = ChunkGrid(layout.shape, layout.chunks.shape)
            table = make_chunk_table(
                [first], grid, f"{layout.key} in {layout.path}", layout.state[0]
            )
            corner = zip(first.chunk_offset, layout.chunks.shape, strict=True)
            index = tuple(slice(start, start + count) for start, count in corner)
        values = _open_array(layout, OpenFile(layout.path, layout.state), table)[index]
    except ValueError:
        return False
    expected = np.asarray(dataset[index])
    return values.shape == expected.shape and values.tobytes() == expected.tobytes()


def _open_array(
    layout: ArrayLayout, file: OpenFile, table: ChunkTable | None = None
) -> HDF5Array:
    """The array by its back end."""
    if layout.back_end == "mmap":
        return MappedArray(layout, file)
    if layout.chunks is not None and layout.back_end == "chunk_table":
        return ChunkTableArray(layout, layout.chunks, file, table)
    if layout.chunks is not None and layout.back_end == "direct_chunk":
        return DirectChunkArray(layout, layout.chunks, file, table)
    return LibraryArray(layout, file)


@final
class ArrayReader:
    """Arrays of one HDF5 file, opened once per process and at first use.

    A process keeps the files of so many readers open; when one more is opened, the reader that
    was opened first lets its files go, and opens them again when it is used.

    Args:
        path: The file.
        layouts: Arrays to be read, by name.
    """

    def __init__(self, path: Path, layouts: Mapping[str, ArrayLayout]) -> None:
        self.path = path
        self.layouts = dict(layouts)
        # keyed by process: a handle inherited through fork must never be used (its lock may be
        # held, and both sides would share one file position)
        self._opened: dict[int, Mapping[str, HDF5Array]] = {}
        self._tables: dict[str, ChunkTable] = {}

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Leave handles behind: they mean nothing in another process."""
        return {**self.__dict__, "_opened": {}, "_tables": {}}

    def __getitem__(self, name: str) -> HDF5Array:
        """The array, which is read when it is indexed or by `HDF5Array.read_into`."""
        opened = self._opened.get(os.getpid())
        if opened is None:
            # two threads may both open; the first one to store wins and the other is dropped
            opened = self._opened.setdefault(os.getpid(), self._open())
            _open_readers.add(self)
        return opened[name]

    def close(self) -> None:
        """Let the files go, once nothing uses the arrays any more; reading opens them again."""
        opened = self._opened.get(os.getpid(), {})
        self._opened = {}
        for name, array in opened.items():
            # tables take longest to make, and hold no descriptor
            if isinstance(array, ChunkedArray) and array.table is not None:
                self._tables[name] = array.table

    def _open(self) -> Mapping[str, HDF5Array]:
        files: dict[Path, OpenFile] = {}
        arrays: dict[str, HDF5Array] = {}
        for name, layout in self.layouts.items():
            if layout.path not in files:
                files[layout.path] = OpenFile(layout.path, layout.state)
            table = self._tables.get(name)
            arrays[name] = _open_array(layout, files[layout.path], table)
        return arrays


@final
class _OpenReaders:
    """Readers that hold files open in this process, the one opened first at the front."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: dict[int, weakref.ref[ArrayReader]] = {}

    def add(self, reader: ArrayReader) -> None:
        """Note a reader that was opened, and close the oldest ones beyond the limit."""
        with self._lock:
            # at the end, also when it was open before
            self._readers.pop(id(reader), None)
            self._readers[id(reader)] = weakref.ref(reader)
            if len(self._readers) > _MOST_OPEN_READERS:
                alive = {key: ref for key, ref in self._readers.items() if ref() is not None}
                self._readers = alive
            while len(self._readers) > _MOST_OPEN_READERS:
                oldest = self._readers.pop(next(iter(self._readers)))()
                if oldest is not None:
                    oldest.close()

    def forget(self) -> None:
        """Begin anew in a forked process, where the lock may be held for ever."""
        self._lock = threading.Lock()
        self._readers = {}


_open_readers = _OpenReaders()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_readers.forget)


def require(
    parent: Any,
    name: str,
    kind: Literal["group", "attribute", "dataset"],
    layout: str = "The Well's layout",
) -> Any:
    """A member of an HDF5 group, or an error that names what is missing and what is there.

    Args:
        parent: Group, or data set for an attribute.
        name: The member.
        kind: What it is.
        layout: What the file should follow, for the message.

    Raises:
        ValueError: If there is no such member, or it is a data set outside the file's folder or
            of an absurd size.
    """
    members: Any = parent.attrs if kind == "attribute" else parent
    if name not in members:
        raise ValueError(
            f"open_source: expected the {kind} {name!r} in {parent.name} of "
            f"{parent.file.filename}, got {sorted(members)}; the file does not follow "
            f"{layout}, generate or download it again"
        )
    member = members[name]
    if kind == "dataset" and isinstance(member, h5py.Dataset):
        check_storage(member)
    return member


def texts(value: Any) -> tuple[str, ...]:
    """A list-of-strings attribute as text, whether stored as bytes or as str."""
    if isinstance(value, h5py.Empty):
        return ()
    items = np.atleast_1d(value).tolist()
    return tuple(v.decode() if isinstance(v, bytes) else str(v) for v in items)
