"""Arrays of HDF5 files that are stored in chunks, read past HDF5."""

import itertools
import threading
from abc import abstractmethod
from collections import OrderedDict
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.hdf5_arrays import HDF5Array, check_buffer
from sciml.data.sources.hdf5_chunks import ChunkGrid, ChunkTable, Index, Selection, select
from sciml.data.sources.hdf5_file import OpenFile
from sciml.data.sources.hdf5_filters import Decoder
from sciml.data.sources.hdf5_layout import ArrayLayout, ChunkLayout

_BYTE = np.dtype(np.uint8)
_CACHED_BYTES = 2**25  # decoded chunks that a thread keeps, of all arrays together


class ChunkedArray(HDF5Array):
    """Chunks of a file, found by a table that is made at the first use.

    Args:
        layout: Where the array lies.
        chunks: Its chunks.
        file: Its file.
        table: The table, where it is known.
    """

    def __init__(
        self,
        layout: ArrayLayout,
        chunks: ChunkLayout,
        file: OpenFile,
        table: ChunkTable | None = None,
    ) -> None:
        super().__init__(layout)
        self._file = file
        self._key = layout.key
        self._chunks = chunks
        self._num_bytes = chunks.num_bytes(layout.dtype)
        self._grid = ChunkGrid(layout.shape, chunks.shape)
        self._made = None if table is None else self._make_table(table)

    @property
    def table(self) -> ChunkTable | None:
        """The table of chunks, None before the first use."""
        return None if self._made is None else self._made[0]

    def _table(self) -> tuple[ChunkTable, NDArray[np.int64] | None]:
        """Table of chunks, and the ends of runs where runs are read as one block."""
        if self._made is None:
            # two threads may both make it; the tables are equal
            self._made = self._make_table(self._file.read_chunk_table(self._key, self._grid))
        return self._made

    @abstractmethod
    def _make_table(self, table: ChunkTable) -> tuple[ChunkTable, NDArray[np.int64] | None]:
        """Check the table for this way of reading."""

    @override
    def __getitem__(self, index: Index) -> NDArray[Any]:
        selection = select(index, self.shape)
        out = np.empty(selection.shape, self.dtype)
        self._copy(selection, out)
        return out

    @override
    def read_into(self, index: Index, out: NDArray[Any]) -> None:
        selection = select(index, self.shape)
        check_buffer(out, selection.shape)
        self._copy(selection, out)

    def _copy(self, selection: Selection, out: NDArray[Any]) -> None:
        if not out.size:
            return
        table, run_ends = self._table()
        # an axis that an integer took comes back as one of length 1, in a view
        full = out[tuple(slice(None) if kept else None for kept in selection.kept)]
        for first, count, source, target in self._grid.pieces(selection.taken, run_ends):
            offset = table.offsets.item(first)
            part = full[target]
            if offset < 0:
                part[...] = self._chunks.fill
                continue
            block = self._block(table, first, offset, count, part.shape)
            np.copyto(part, block[source], casting="same_kind")

    @abstractmethod
    def _block(
        self,
        table: ChunkTable,
        first: tuple[int, ...],
        offset: int,
        count: int,
        used: tuple[int, ...],
    ) -> NDArray[Any]:
        """Values of a run of chunks, of which a part of shape `used` is wanted."""


@final
class ChunkTableArray(ChunkedArray):
    """Chunks without filters, through a memory map of the file."""

    @override
    def read_into(self, index: Index, out: NDArray[Any]) -> None:
        rows = self._rows(index)
        if rows is None or rows.shape != out.shape:
            super().read_into(index, out)
        else:
            np.copyto(out, rows, casting="same_kind")

    def _rows(self, index: Index) -> NDArray[Any] | None:
        """View of the map, if an index takes positions of one run of chunks, as windows do."""
        axis, chunks = self._grid.axis, self._chunks.shape
        table, run_ends = self._table()
        if (
            run_ends is None
            or not isinstance(index, tuple)
            or not axis < len(index) <= self.ndim
        ):
            return None
        lead, taken, rest = index[:axis], index[axis], index[axis + 1 :]
        if any(
            type(i) is not int or not 0 <= i < n for i, n in zip(lead, self.shape, strict=False)
        ):
            return None
        if not all(isinstance(i, slice) and (i.step is None or i.step > 0) for i in rest):
            return None
        if isinstance(taken, slice):
            start, stop, step = taken.indices(self.shape[axis])
        elif type(taken) is int:
            start, stop, step = taken, taken + 1, 1
        else:
            return None
        if step < 1 or not 0 <= start < stop <= self.shape[axis]:
            return None
        first = start // chunks[axis]
        position = (*lead, first, *(0,) * (self.ndim - axis - 1))
        offset, end = table.offsets.item(position), run_ends.item(position)
        if offset < 0 or stop > end * chunks[axis]:
            return None
        rows = self._file.mapped(
            ((end - first) * chunks[axis], *chunks[axis + 1 :]), self.dtype, offset
        )
        skipped = first * chunks[axis]
        own = slice(start - skipped, stop - skipped, step)
        rows = rows[(own, *(slice(0, n) for n in self.shape[axis + 1 :]))]
        return rows[(slice(None) if isinstance(taken, slice) else 0, *rest)]

    @override
    def _make_table(self, table: ChunkTable) -> tuple[ChunkTable, NDArray[np.int64] | None]:
        if (table.sizes[table.offsets >= 0] != self._num_bytes).any():
            raise ValueError(
                f"open_source: expected chunks of {self._num_bytes} bytes in {self._key} of "
                f"{self._file.path}, got others; the file is damaged, delete it and generate "
                "or download it again"
            )
        grid = self._grid
        return table, table.run_ends(grid.axis, self._num_bytes) if grid.slabs else None

    @override
    def _block(
        self,
        table: ChunkTable,
        first: tuple[int, ...],
        offset: int,
        count: int,
        used: tuple[int, ...],
    ) -> NDArray[Any]:
        shape = list(self._chunks.shape)
        shape[self._grid.axis] *= count
        return self._file.mapped(tuple(shape), self.dtype, offset)


@final
class DirectChunkArray(ChunkedArray):
    """Chunks with filters, decoded here, outside HDF5's lock."""

    _numbers = itertools.count()

    def __init__(
        self,
        layout: ArrayLayout,
        chunks: ChunkLayout,
        file: OpenFile,
        table: ChunkTable | None = None,
    ) -> None:
        super().__init__(layout, chunks, file, table)
        self._decode = Decoder(chunks.filters, self._num_bytes)
        self._number = next(self._numbers)

    @override
    def _make_table(self, table: ChunkTable) -> tuple[ChunkTable, NDArray[np.int64] | None]:
        return table, None

    @override
    def _block(
        self,
        table: ChunkTable,
        first: tuple[int, ...],
        offset: int,
        count: int,
        used: tuple[int, ...],
    ) -> NDArray[Any]:
        key = (self._number, first)
        in_part = used != self._chunks.shape
        block = _decoded.get(key) if in_part else None
        if block is None:
            stored = self._file.mapped((table.sizes.item(first),), _BYTE, offset)
            try:
                data = self._decode(stored, table.masks.item(first))
            except ValueError as error:
                raise ValueError(
                    f"open_source: expected a whole chunk {first} of {self._key} in "
                    f"{self._file.path}, got a damaged one ({error}); delete the file and "
                    "generate or download it again"
                ) from error
            block = np.ndarray(self._chunks.shape, self.dtype, data)
            if in_part:
                _decoded.put(key, block)
        return block


class _DecodedChunks(threading.local):
    """Chunks that one thread decoded and used in part: neighbouring windows use them again."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[int, tuple[int, ...]], NDArray[Any]] = OrderedDict()
        self._num_bytes = 0

    def get(self, key: tuple[int, tuple[int, ...]]) -> NDArray[Any] | None:
        """A block that is kept, else None."""
        block = self._blocks.get(key)
        if block is not None:
            self._blocks.move_to_end(key)
        return block

    def put(self, key: tuple[int, tuple[int, ...]], block: NDArray[Any]) -> None:
        """Keep a block, and drop those that were not used for longest."""
        if block.nbytes > _CACHED_BYTES:
            return
        self._blocks[key] = block
        self._num_bytes += block.nbytes
        while self._num_bytes > _CACHED_BYTES:
            self._num_bytes -= self._blocks.popitem(last=False)[1].nbytes


_decoded = _DecodedChunks()
