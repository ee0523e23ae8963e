"""How an HDF5 array is stored, and which way of reading it follows from that."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.hdf5_chunks import MAX_CHUNKS, ChunkGrid
from sciml.data.sources.hdf5_file import open_library_file
from sciml.data.sources.hdf5_filters import Filter, read_filters, require_filters, undecodable

_SMALL_BYTES = 2**26  # arrays up to this size may be stored in however few bytes
_LARGEST_RATIO = 2048  # of an array to its file; deflate reaches 1032


@final
@dataclass(frozen=True)
class ChunkLayout:
    """Division of an array into chunks, and what is done to them.

    Args:
        shape: Shape of a chunk.
        filters: Filters in the order of writing.
        fill: Value of chunks that were never written.
    """

    shape: tuple[int, ...]
    filters: tuple[Filter, ...]
    fill: NDArray[Any]

    def num_bytes(self, dtype: np.dtype[Any]) -> int:
        """Bytes of a chunk without filters."""
        return math.prod(self.shape) * dtype.itemsize


@final
@dataclass(frozen=True)
class ArrayLayout:
    """Where an HDF5 data set lies in its file, and how it is read.

    Args:
        path: The file, which an external link may have led to.
        key: Path of the data set inside the file.
        shape: Its shape.
        dtype: Its dtype on disk.
        back_end: One of `sciml.data.sources.hdf5.BACK_ENDS`, without ``"auto"``.
        reason: Why it is read so, in words.
        state: Size and modification time of the file.
        offset: Byte offset in the file of the one block that is memory-mapped, else None.
        chunks: Division into chunks, for the back ends that read chunks.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    back_end: str
    reason: str
    state: tuple[int, int]
    offset: int | None = None
    chunks: ChunkLayout | None = None

    @property
    def memory_mapped(self) -> bool:
        """Whether reading is a plain copy from mapped memory."""
        return self.back_end in ("mmap", "chunk_table")


def plan_array(dataset: Any) -> ArrayLayout:
    """Fastest way of reading that an `h5py.Dataset`'s storage allows, not yet tried."""
    file = Path(dataset.file.filename)
    status = file.stat()
    filters = read_filters(dataset) if dataset.chunks is not None else ()
    back_end, reason = _choose(dataset, filters)
    chunks = None
    if back_end in ("chunk_table", "direct_chunk"):
        fill = np.asarray(dataset.fillvalue, dataset.dtype)
        chunks = ChunkLayout(tuple(dataset.chunks), filters, fill)
    return ArrayLayout(
        path=file,
        key=dataset.name,
        shape=tuple(dataset.shape),
        dtype=dataset.dtype,
        back_end=back_end,
        reason=reason,
        state=(status.st_size, status.st_mtime_ns),
        offset=dataset.id.get_offset() if back_end == "mmap" else None,
        chunks=chunks,
    )


def _choose(dataset: Any, filters: tuple[Filter, ...]) -> tuple[str, str]:
    """Back end and reason, from the storage alone."""
    unsuitable = _unsuitable(dataset)
    if unsuitable:
        return "h5py", unsuitable
    if dataset.chunks is None:
        if dataset.id.get_offset() is None:
            return "h5py", "compact, or never written"
        return "mmap", "contiguous"
    if not hasattr(dataset.id, "chunk_iter"):
        return "h5py", "chunked, and this HDF5 cannot list chunks"
    if math.prod(ChunkGrid(dataset.shape, dataset.chunks).grid) > MAX_CHUNKS:
        return "h5py", f"more than {MAX_CHUNKS} chunks"
    if not filters:
        return "chunk_table", f"chunks {dataset.chunks}, no filter"
    names = ", ".join(stage.name for stage in filters)
    left = undecodable(filters)
    if left is not None:
        return "h5py", f"chunks {dataset.chunks}, {names}: {left.name} is left to HDF5"
    return "direct_chunk", f"chunks {dataset.chunks}, {names}"


def _unsuitable(dataset: Any) -> str:
    """Why the bytes in the file cannot be taken as they are; empty if they can."""
    if dataset.size == 0 or dataset.shape == ():
        return "scalar or empty"
    if dataset.is_virtual or dataset.external is not None:
        return "virtual" if dataset.is_virtual else "data in external files"
    if dataset.dtype.kind not in "iufb":
        return f"dtype {dataset.dtype}"
    # a type of fewer bits than its bytes hold, or with its bits elsewhere, has a numpy dtype as
    # well, to which HDF5 converts
    if not dataset.id.get_type().equal(h5py.h5t.py_create(dataset.dtype, logical=True)):
        return f"stored in a type that HDF5 converts to {dataset.dtype}"
    return ""


def check_storage(dataset: Any) -> None:
    """Refuse an array that leaves its folder, cannot be decoded, or declares absurd sizes.

    Args:
        dataset: An `h5py.Dataset`.

    Raises:
        ValueError: If so.
    """
    path = Path(dataset.file.filename)
    where = f"{dataset.name} in {path}"
    sources = [path, *_outside_files(dataset, path.resolve().parent, set())]
    stored = sum(source.stat().st_size for source in sources if source.is_file())
    sizes = [math.prod(shape) for shape in (dataset.shape, dataset.chunks) if shape]
    declared = max(sizes, default=1) * dataset.dtype.itemsize
    if declared > max(_SMALL_BYTES, _LARGEST_RATIO * stored):
        raise ValueError(
            f"open_source: expected an array that {stored} bytes of file can hold, got {where} "
            f"of {declared} bytes; the file is damaged or was never filled, generate or "
            "download it again"
        )
    if dataset.chunks is not None:
        require_filters(read_filters(dataset), where)


def _outside_files(dataset: Any, folder: Path, seen: set[tuple[str, str]]) -> Iterator[Path]:
    """Files beside its own that an array's values come from; all have to lie in the folder."""
    own = Path(dataset.file.filename)
    where = f"{dataset.name} in {own}"
    for name, _, _ in dataset.external or ():
        # HDF5 looks for external data in the working directory
        yield _inside(Path(name), folder, where)
    if not dataset.is_virtual:
        return
    for part in dataset.virtual_sources():
        source = own if part.file_name == "." else own.parent / part.file_name
        if "%b" in part.file_name:
            raise ValueError(
                f"open_source: expected virtual data of named files, got the pattern "
                f"{part.file_name!r} of {where}; copy the data into one file"
            )
        yield _inside(source, folder, where)
        if (str(source), part.dset_name) not in seen:
            seen.add((str(source), part.dset_name))
            with open_library_file(source) as file:
                if part.dset_name in file:
                    yield from _outside_files(file[part.dset_name], folder, seen)


def _inside(path: Path, folder: Path, where: str) -> Path:
    """A file that has to be in the folder."""
    target = path.resolve()
    if not target.is_relative_to(folder) or not target.is_file():
        raise ValueError(
            f"open_source: expected data inside {folder}, got {where}, whose values lie in "
            f"{path}; copy them into the folder, or into the file itself"
        )
    return path


def check_links(group: Any, folder: Path, seen: set[Path]) -> None:
    """Refuse external links that leave the folder, before anything follows them.

    Args:
        group: An open `h5py.File`.
        folder: Where targets must lie.
        seen: Files that were looked through.

    Raises:
        ValueError: If there is such a link.
    """
    targets: list[tuple[str, str]] = []

    def visit(name: bytes, info: Any) -> None:
        if info.type == h5py.h5l.TYPE_EXTERNAL:
            target, _ = group.id.links.get_val(name)
            targets.append((name.decode(errors="replace"), target.decode(errors="replace")))

    group.id.links.visit(visit, info=True)
    own = Path(group.filename)
    seen.add(own.resolve())
    for name, target in targets:
        path = own.parent / target
        _inside(path, folder, f"the external link {name} of {own}")
        if path.resolve() not in seen:
            with open_library_file(path) as linked:
                check_links(linked, folder, seen)
