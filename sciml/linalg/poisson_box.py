"""Fluid that fills a box: its pressure by trigonometric transforms."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.poisson_faces import AIR, FLUID, SOLID

Side = Literal["wall", "air"]


@final
@dataclass(frozen=True)
class FluidBox:
    """A box of fluid, each whole side of which is a wall or air.

    Walls are Neumann conditions on faces, so a DCT-II diagonalises an axis between two of them.
    In air p = 0 at the *centre* of the next cell: between two such sides a DST-I does it. An
    axis with one of each is continued oddly beyond the air to twice its length, between walls.

    Args:
        window: Where the box lies in the array.
        sides: What is below and above it along each axis.
        laplacian: The operator on the box, continued where need be.
    """

    window: tuple[slice, ...]
    sides: tuple[tuple[Side, Side], ...]
    laplacian: LaplacianOperator

    @classmethod
    def of(
        cls, flags: Tensor, spacing: Sequence[float], dtype: torch.dtype
    ) -> "FluidBox | None":
        """The box of fluid among the flags of one geometry; None if there is another shape."""
        cells = flags.cpu().numpy()
        window = _window(cells == FLUID)
        if window is None:
            return None
        found = [_sides(cells, window, axis) for axis in range(cells.ndim)]
        sides = tuple(pair for pair in found if pair is not None)
        if len(sides) < len(found):
            return None
        sizes = [part.stop - part.start for part in window]
        laplacian = LaplacianOperator(
            [
                2 * n + 1 if len(set(pair)) == 2 else n
                for n, pair in zip(sizes, sides, strict=True)
            ],
            spacing,
            boundary=["dirichlet" if pair == ("air", "air") else "neumann" for pair in sides],
            grid=["vertex" if pair == ("air", "air") else "cell" for pair in sides],
            dtype=dtype,
            device=flags.device,
        )
        return cls(window, sides, laplacian)

    def solve(self, b: Tensor) -> Tensor:
        """The least-norm pressure for fields over the whole array, zero outside of the box."""
        count = len(self.window)
        inside: tuple[EllipsisType | slice, ...] = (..., *self.window)
        right = b[inside]
        for axis, pair in enumerate(self.sides, start=-count):
            right = _continued(right, axis, pair)
        pressure = self.laplacian.solve(right)
        for axis, (pair, part) in enumerate(
            zip(self.sides, self.window, strict=True), start=-count
        ):
            first = part.stop - part.start + 1 if pair == ("air", "wall") else 0
            pressure = pressure.narrow(axis, first, part.stop - part.start)
        x = torch.zeros_like(b)
        x[inside] = pressure
        return x


def _window(fluid: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """The bounding box of the fluid, None if it is not full."""
    window = []
    for axis in range(fluid.ndim):
        others = tuple(k for k in range(fluid.ndim) if k != axis)
        filled = np.flatnonzero(fluid.any(others))
        window.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(window) if fluid[tuple(window)].all() else None


def _sides(
    cells: NDArray[np.uint8], window: tuple[slice, ...], axis: int
) -> tuple[Side, Side] | None:
    """What lies below and above the box along an axis, None if a side is not all the same."""
    pair: list[Side] = []
    for place in (window[axis].start - 1, window[axis].stop):
        beyond = (*window[:axis], place, *window[axis + 1 :])
        if not 0 <= place < cells.shape[axis] or (cells[beyond] <= SOLID).all():
            pair.append("wall")
        elif (cells[beyond] == AIR).all():
            pair.append("air")
        else:
            return None
    return pair[0], pair[1]


def _continued(b: Tensor, axis: int, pair: tuple[Side, Side]) -> Tensor:
    """Odd continuation across the one side that is air."""
    if len(set(pair)) == 1:
        return b
    surface = torch.zeros_like(b.narrow(axis, 0, 1))
    mirrored = -b.flip(axis)
    parts = (b, surface, mirrored) if pair[1] == "air" else (mirrored, surface, b)
    return torch.cat(parts, axis)
