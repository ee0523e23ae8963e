"""The solution of the direct solver as a function of points."""

import math
from collections.abc import Callable
from typing import TypeAlias, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.models.gp_hm.direct_solution import HarmonicSolution
from sciml.pde.jet import MultiIndex
from sciml.pde.problem import Problem
from sciml.solvers.base import Field

_CHUNK = 4096  # scattered points at a time: memory stays at some tens of megabytes


Deviation: TypeAlias = Callable[[Tensor], Tensor]
"""A posterior standard deviation (n,) as a function of points (n, d)."""


@final
class HarmonicField(Field):
    """A solution of `GPHMSolver`, differentiable to any order in closed form.

    Args:
        problem: What was solved.
        solution: The sum of products of features.
        deviation: Its posterior standard deviation, where it was computed.
    """

    def __init__(
        self,
        problem: Problem,
        solution: HarmonicSolution,
        deviation: Deviation | None = None,
    ) -> None:
        super().__init__(problem)
        self.solution, self.deviation = solution, deviation

    @override
    def _evaluate(self, points: Tensor, index: MultiIndex) -> Tensor:
        pairs = [torch.unique(column, return_inverse=True) for column in points.unbind(1)]
        lines, places = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        if math.prod(line.numel() for line in lines) <= 4 * points.shape[0]:
            # points of a grid: one product per axis instead of one per point
            return self.solution.on_grid(lines, index)[tuple(places)][:, None]
        parts = [
            self.solution.evaluate(points[start : start + _CHUNK], index)
            for start in range(0, points.shape[0], _CHUNK)
        ]
        return torch.cat(parts)[:, None]

    @override
    def _deviation(self, points: Tensor) -> Tensor:
        if self.deviation is None:
            raise ValueError(
                "HarmonicField.std: expected a solution with a posterior, got one without; "
                "solve with DirectOptions(posterior=True) (one or two axes, linear problems) "
                "or with inference='evidence'"
            )
        return self.deviation(points)[:, None]
