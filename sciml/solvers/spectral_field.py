"""Fields given by values on a spectral tensor grid."""

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.linalg.kronecker import kronecker_product
from sciml.pde.jet import MultiIndex
from sciml.pde.problem import Problem
from sciml.solvers.base import Field
from sciml.solvers.spectral_axis import SpectralAxis

# numbers held at once while scattered points are evaluated, 64 MiB
BLOCK_SIZE = 1 << 23
# a grid is worth recognising where it has few more points than were asked for
LARGEST_GRID_RATIO = 4


@final
class SpectralField(Field):
    """The polynomial or trigonometric interpolant through values on a tensor grid.

    Args:
        problem: What was solved.
        spectral_axes: The axes of the grid.
        values: Nodal values, one grid per field.
    """

    def __init__(
        self,
        problem: Problem,
        spectral_axes: Sequence[SpectralAxis],
        values: Float[Tensor, "num_fields *space"],
    ) -> None:
        super().__init__(problem)
        self.spectral_axes = tuple(spectral_axes)
        self.values = values

    def coefficient_tail(self) -> tuple[float, ...]:
        """Largest of the highest coefficients along each axis, relatively: the last 1/32.

        Small (1e-10, say) where the grid resolves the solution, about 1 where it does not.
        """
        tails = []
        for k, axis in enumerate(self.spectral_axes):
            sizes = axis.coefficients(self.values, k + 1).movedim(k + 1, -1)
            count = sizes.shape[-1]
            largest = float(sizes.max())
            highest = float(sizes[..., count - max(3, count // 32) :].max())
            tails.append(highest / largest if largest > 0 else 0.0)
        return tuple(tails)

    @override
    def _evaluate(self, points: Tensor, index: MultiIndex) -> Tensor:
        columns = [column.unique(return_inverse=True) for column in points.T]
        lines, places = [line for line, _ in columns], [place for _, place in columns]
        if math.prod(map(len, lines)) > LARGEST_GRID_RATIO * len(points):
            width = max(1, self.values.numel() // self.values.shape[-1])
            blocks = torch.split(points, max(1, BLOCK_SIZE // width))
            return torch.cat([self._at_scattered(block, index) for block in blocks])
        matrices = self._matrices(lines, index)
        grids = torch.stack([kronecker_product(matrices, grid) for grid in self.values])
        return grids[(slice(None), *places)].T

    def _at_scattered(self, points: Tensor, index: MultiIndex) -> Tensor:
        *others, last = self._matrices(list(points.T), index)
        # (num_fields, *space) times the last axis, then point by point over the others
        held = torch.einsum("f...i,pi->fp...", self.values, last)
        for matrix in reversed(others):
            held = torch.einsum("fp...i,pi->fp...", held, matrix)
        return held.T

    def _matrices(self, lines: Sequence[Tensor], index: MultiIndex) -> list[Tensor]:
        return [
            axis.evaluation(line, order)
            for axis, line, order in zip(self.spectral_axes, lines, index, strict=True)
        ]
