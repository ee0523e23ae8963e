"""Grid fields split by parity, so that red-black sweeps run on contiguous slices."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float, Integer, Shaped
from numpy.typing import NDArray
from torch import Tensor


@final
class SplitLayout:
    """Where the cells of a grid stand in a pair of rows, one for each colour.

    The grid is padded to 2 ceil(n / 2) + 1 cells an axis. Every stride is then odd, so that
    the parity of a flat index is the colour of its cell (red: even coordinate sum), and entry m
    of row c is the flat index 2 m + c. The neighbours of all cells of one colour along an axis
    of stride S are two shifts of the other row: of red m black m + (S - 1) / 2 and
    m - (S + 1) / 2, of black m red m + (S + 1) / 2 and m - (S - 1) / 2. One pad cell between
    lines serves both of its neighbours; each row has a guard at both ends. Pads and guards
    hold zeros.

    Args:
        shape: Cells of the grid, one or more axes, none of them empty.
        window: The part of the grid that is laid out, from even cells on, so that colours stay;
            all of it by default. Other cells read as zero.

    Attributes:
        blocks: Blocks of 2 cells an axis that cover the grid.
        width: Entries of a row, guards included.
        interior: The entries of a row between the guards.

    Source: Hockney and Eastwood, "Computer Simulation Using Particles", 6-5 (odd-even
    ordering); the shared odd padding is ours.
    """

    def __init__(self, shape: Sequence[int], window: Sequence[slice] | None = None) -> None:
        self.shape = tuple(shape)
        self.window = tuple(slice(0, n) for n in shape) if window is None else tuple(window)
        self._origin = np.array([part.start for part in self.window])
        sizes = tuple(part.stop - part.start for part in self.window)
        self._is_whole = sizes == self.shape
        self.blocks = tuple((n + 1) // 2 for n in sizes)
        padded = [2 * n + 1 for n in self.blocks]
        self.strides = tuple(math.prod(padded[k + 1 :]) for k in range(len(padded)))
        self.size = self.blocks[0] * self.strides[0]
        self.guard = (self.strides[0] + 1) // 2 + 1
        self.width = self.size + 2 * self.guard
        self.interior = slice(self.guard, self.guard + self.size)
        self.corners = tuple(itertools.product((0, 1), repeat=len(self.shape)))

    def shifts(self, colour: int) -> tuple[tuple[int, int], ...]:
        """Per axis, where the neighbours (below, above) of a cell stand in the other row."""
        return tuple(
            (colour - (stride + 1) // 2, colour + (stride - 1) // 2) for stride in self.strides
        )

    def shifted(self, shift: int) -> slice:
        """The entries of the other row that the interior meets at a shift."""
        return slice(self.guard + shift, self.guard + self.size + shift)

    def place(self, corner: Sequence[int]) -> tuple[int, int]:
        """The row of the cells at a corner of each block, and the first entry of them."""
        flat = sum(o * s for o, s in zip(corner, self.strides, strict=True))
        return sum(corner) % 2, self.guard + flat // 2

    def entries(self, cells: Integer[np.ndarray, "d n"]) -> Integer[np.ndarray, " n"]:
        """Where cells with the coordinates given stand in the interior of their rows."""
        flat: NDArray[np.integer] = np.array(self.strides) @ (cells - self._origin[:, None])
        return flat // 2

    def of_corner(self, packed: Tensor, corner: Sequence[int]) -> Tensor:
        """View (*batch, *blocks) of the cells at a corner of each block, in rows (*, 2, T)."""
        row, first = self.place(corner)
        rows = packed[..., row, :]
        return rows.as_strided(
            (*rows.shape[:-1], *self.blocks),
            (*rows.stride()[:-1], *self.strides),
            rows.storage_offset() + first,
        )

    def pack(
        self,
        field: Shaped[Tensor, "*batch_and_shape"],
        out: Shaped[Tensor, "*batch 2 width"] | None = None,
    ) -> Shaped[Tensor, "*batch 2 width"]:
        """Rows of a field (*batch, *shape), zero where there is no cell.

        Args:
            field: Values on the cells.
            out: Where to write, of any dtype; its pads and guards have to be zero already.
        """
        batch = field.shape[: field.ndim - len(self.shape)]
        if out is None:
            out = field.new_zeros((*batch, 2, self.width))
        part = field if self._is_whole else field[(..., *self.window)]
        for corner in self.corners:
            cells = part[_every_second(corner)]
            view = self.of_corner(out, corner)
            view[_first(cells.shape[len(batch) :])].copy_(cells)
        return out

    def unpack(self, packed: Float[Tensor, "*batch 2 width"]) -> Float[Tensor, "*fields"]:
        """The field (*batch, *shape) that stands in the rows."""
        batch = packed.shape[:-2]
        field = packed.new_empty((*batch, *self.shape))
        part = field if self._is_whole else field.zero_()[(..., *self.window)]
        for corner in self.corners:
            cells = part[_every_second(corner)]
            view = self.of_corner(packed, corner)
            cells.copy_(view[_first(cells.shape[len(batch) :])])
        return field


def _every_second(corner: Sequence[int]) -> Any:
    return (..., *(slice(o, None, 2) for o in corner))


def _first(sizes: Sequence[int]) -> Any:
    return (..., *(slice(n) for n in sizes))
