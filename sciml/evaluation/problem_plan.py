"""A problem by name: what a configuration says about it, and who solves it besides."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from sciml.domain import Box
from sciml.pde.problem import Problem
from sciml.solvers.base import PDESolver

POINTS_PER_AXIS = {1: 300, 2: 300, 3: 64}
"""Points of the grid that errors are measured on, by number of axes."""


@final
class ProblemPlan:
    """One problem of a gallery, the grid that solutions are kept on, and classical solvers.

    Args:
        problem: Makes the problem from a case, `parameters` and perhaps a ``domain``.
        case: Which solution.
        parameters: Further arguments of `problem`; those that are None keep its defaults.
        low: Lower ends of the box, one per axis; None keeps those of the case.
        high: Upper ends.
        part: Fraction of every axis that is kept, from its lower end: a small box has as many
            periods less, and a solve for a test of the plumbing takes seconds.
        points_per_axis: Uniform points of the grid that errors are measured on and values are
            saved at; None for 300, or 64 in three dimensions.
        baselines: Solvers to compare with, by name.

    Raises:
        ValueError: If the case, a parameter or the box is one that the problem does not take.
    """

    def __init__(
        self,
        problem: Callable[..., Problem],
        case: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        low: Sequence[float] | None = None,
        high: Sequence[float] | None = None,
        part: float = 1.0,
        points_per_axis: int | None = None,
        baselines: Mapping[str, PDESolver] | None = None,
    ) -> None:
        given = {key: value for key, value in (parameters or {}).items() if value is not None}
        self.problem = problem(case, **given)
        if not 0.0 < part <= 1.0:
            raise ValueError(
                f"ProblemPlan: expected a part in (0, 1] of the box, got {part}; 1 is the whole"
            )
        own = self.problem.domain
        box = Box(
            own.axes,
            own.low if low is None else tuple(map(float, low)),
            own.high if high is None else tuple(map(float, high)),
        )
        if part < 1.0:
            ends = zip(box.low, box.extent, strict=True)
            box = Box(box.axes, box.low, tuple(start + part * length for start, length in ends))
        if (box.low, box.high) != (own.low, own.high):
            self.problem = problem(case, domain=box, **given)
        ndim = self.problem.domain.ndim
        self.points_per_axis = points_per_axis or POINTS_PER_AXIS[ndim]
        if self.points_per_axis < 2:
            raise ValueError(
                f"ProblemPlan: expected at least 2 points per axis, got {points_per_axis}; "
                "errors are measured on this grid"
            )
        self.baselines = dict(baselines or {})

    def grid(self) -> tuple[Float[Tensor, " n"], ...]:
        """Uniform points along each axis."""
        domain = self.problem.domain
        return tuple(
            domain.points_along(axis, self.points_per_axis) for axis in range(domain.ndim)
        )
