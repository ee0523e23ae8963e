"""Chunks of an HDF5 array: where each lies, and which parts of them an index takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

MAX_CHUNKS = 2**24
"""Most chunks that a table is made for; it takes 20 bytes for each."""

Index = Any
"""An integer, a slice, an ellipsis, or a tuple of them."""


class Selection(NamedTuple):
    """What an index takes of an array.

    Args:
        taken: Positions along each axis.
        kept: Whether each axis remains, as those taken by an integer do not.
    """

    taken: tuple[range, ...]
    kept: tuple[bool, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(len(r) for r, kept in zip(self.taken, self.kept, strict=True) if kept)


def select(index: Index, shape: tuple[int, ...]) -> Selection:
    """Positions that integers and forward slices take along each axis.

    Raises:
        IndexError: If an integer is out of range, or there are more entries than axes.
        TypeError: If an entry is something else.
        ValueError: If a slice runs backwards.
    """
    entries = index if isinstance(index, tuple) else (index,)
    if Ellipsis in entries:
        position = entries.index(Ellipsis)
        missing = len(shape) - len(entries) + 1
        entries = (
            *entries[:position],
            *(slice(None),) * missing,
            *entries[position + 1 :],
        )
    if len(entries) > len(shape):
        raise IndexError(
            f"HDF5Array: expected at most {len(shape)} indices, got {len(entries)}; leave out "
            "the last ones"
        )
    taken, kept = [], []
    for number, size in enumerate(shape):
        entry = entries[number] if number < len(entries) else slice(None)
        if isinstance(entry, slice):
            positions = range(size)[entry]
            if positions.step < 0:
                raise ValueError(
                    f"HDF5Array: expected forward slices, got {entry}; flip what was read"
                )
        else:
            start = range(size)[entry]
            positions = range(start, start + 1)
        taken.append(positions)
        kept.append(isinstance(entry, slice))
    return Selection(tuple(taken), tuple(kept))


class Piece(NamedTuple):
    """Part of a selection that lies in one chunk, or in a run of chunks without gaps.

    Args:
        first: Grid position of the first chunk.
        length: Number of chunks, along `ChunkGrid.axis`.
        source: Part of the chunks.
        target: Part of the selection, with all axes.
    """

    first: tuple[int, ...]
    length: int
    source: tuple[slice, ...]
    target: tuple[slice, ...]


@final
class ChunkGrid:
    """Division of an array into chunks.

    Chunks follow each other along one axis: the last one that is divided, or the last axis when
    chunks are divided otherwise as well. If they are whole slabs along this axis (one position
    before it, everything behind it), chunks that touch in the file are one array in memory.

    Args:
        shape: Shape of the array.
        chunks: Shape of a chunk; chunks at the end may reach over the array's edge.
    """

    def __init__(self, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
        self.shape = shape
        self.chunks = chunks
        self.grid = tuple(-(-n // c) for n, c in zip(shape, chunks, strict=True))
        divided = [axis for axis, count in enumerate(self.grid) if count > 1]
        self.axis = divided[-1] if divided else 0
        self.slabs = all(c == 1 for c in chunks[: self.axis])

    def pieces(
        self, taken: tuple[range, ...], run_ends: NDArray[np.int64] | None
    ) -> Iterator[Piece]:
        """Parts of a non-empty selection, chunk by chunk or run by run.

        Args:
            taken: Positions along each axis.
            run_ends: For each chunk the end, exclusive and along `axis`, of the run of chunks
                it belongs to; None for single chunks.
        """
        axis, chunk = self.axis, self.chunks[self.axis]
        tail = tuple(slice(r.start, r.stop, r.step) for r in taken[axis + 1 :])
        whole = (slice(None),) * len(tail)
        zeros = (0,) * len(tail)
        along = taken[axis]
        last = along[-1] // chunk
        lead_parts = [
            list(_parts(r, c)) for r, c in zip(taken[:axis], self.chunks[:axis], strict=True)
        ]
        for lead in product(*lead_parts):
            numbers = tuple(part[0] for part in lead)
            sources = tuple(part[1] for part in lead)
            targets = tuple(part[2] for part in lead)
            row = None if run_ends is None else run_ends[numbers].reshape(-1)
            number = along[0] // chunk
            while number <= last:
                end = number + 1 if row is None else min(int(row[number]), last + 1)
                part = _part(along, number * chunk, end * chunk)
                if part is not None:
                    yield Piece(
                        (*numbers, number, *zeros),
                        end - number,
                        (*sources, part[0], *tail),
                        (*targets, part[1], *whole),
                    )
                number = end


def _parts(taken: range, chunk: int) -> Iterator[tuple[int, slice, slice]]:
    """Chunk number, part of the chunk and part of the selection, along one axis."""
    for number in range(taken[0] // chunk, taken[-1] // chunk + 1):
        part = _part(taken, number * chunk, (number + 1) * chunk)
        if part is not None:
            yield number, *part


def _part(taken: range, low: int, high: int) -> tuple[slice, slice] | None:
    """Part of ``low:high``, and part of the selection, that they have in common."""
    start, step = taken.start, taken.step
    begin = max(0, -((start - low) // step))
    end = min(len(taken), -((start - high) // step))
    if begin >= end:
        return None
    source = slice(start + begin * step - low, start + (end - 1) * step + 1 - low, step)
    return source, slice(begin, end)


@final
@dataclass(frozen=True)
class ChunkTable:
    """Position of each chunk in its file.

    Args:
        offsets: Byte offset by grid position, -1 for a chunk that was never written.
        sizes: Stored bytes.
        masks: Filters that were left out in writing, as bits.
    """

    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    masks: NDArray[np.uint32]

    def run_ends(self, axis: int, num_bytes: int) -> NDArray[np.int64]:
        """End of the run of chunks, along an axis, in which each follows without a gap."""
        offsets = np.moveaxis(self.offsets, axis, -1)
        count = offsets.shape[-1]
        touching = (offsets[..., :-1] >= 0) & (
            offsets[..., 1:] == offsets[..., :-1] + num_bytes
        )
        # a run ends behind the first chunk, from here on, that its successor does not touch
        ends = np.broadcast_to(np.arange(1, count + 1), offsets.shape).copy()
        ends[..., :-1][touching] = count
        ends = np.minimum.accumulate(ends[..., ::-1], axis=-1)[..., ::-1]
        return np.ascontiguousarray(np.moveaxis(ends, -1, axis))


def make_chunk_table(
    infos: Sequence[Any], grid: ChunkGrid, where: str, file_size: int
) -> ChunkTable:
    """Table of some or all chunks of an array.

    Args:
        infos: What h5py says about each chunk (`h5py.h5d.StoreInfo`).
        grid: Division of the array.
        where: Array and file, for the message.
        file_size: Bytes of the file, in which all chunks must lie.

    Raises:
        ValueError: If chunks lie outside of the file or of the array.
    """
    table = ChunkTable(
        np.full(grid.grid, -1, np.int64),
        np.zeros(grid.grid, np.int64),
        np.zeros(grid.grid, np.uint32),
    )
    if not infos:
        return table
    positions = np.array([info.chunk_offset for info in infos]) // np.array(grid.chunks)
    offsets = np.array([info.byte_offset for info in infos], np.float64)
    sizes = np.array([info.size for info in infos], np.float64)
    # in floating point, as absurd offsets of a damaged file do not fit into int64
    if (positions >= np.array(grid.grid)).any() or (offsets + sizes > file_size).any():
        raise ValueError(
            f"open_source: expected all chunks of {where} inside the array and the {file_size} "
            "bytes of the file, got some outside; the file is cut or damaged, delete it and "
            "generate or download it again"
        )
    where_in_grid = tuple(positions.T)
    table.offsets[where_in_grid] = [info.byte_offset for info in infos]
    table.sizes[where_in_grid] = [info.size for info in infos]
    table.masks[where_in_grid] = [info.filter_mask for info in infos]
    return table


def read_chunk_table(dataset: Any, grid: ChunkGrid, file_size: int) -> ChunkTable:
    """Table of all chunks of an `h5py.Dataset`; see `make_chunk_table`."""
    infos: list[Any] = []
    dataset.id.chunk_iter(infos.append)
    return make_chunk_table(
        infos, grid, f"{dataset.name} in {dataset.file.filename}", file_size
    )
