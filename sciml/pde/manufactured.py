"""Problems made from their solutions: right-hand sides by differentiating, not typed in."""

from collections.abc import Callable, Sequence
from typing import TypeAlias, final

from torch import Tensor

from sciml.domain import Box
from sciml.pde.conditions import Condition, Dirichlet, Side
from sciml.pde.jet import FunctionJet, Jet
from sciml.pde.points import Points
from sciml.pde.problem import Problem

Solution: TypeAlias = Callable[[Points], Tensor]
DifferentialOperator: TypeAlias = Callable[[Points, Jet], Tensor]
SIDES: tuple[Side, Side] = ("low", "high")


def manufactured(
    domain: Box,
    operator: DifferentialOperator,
    exact: Solution,
    *,
    conditions: Sequence[Condition] | None = None,
    name: str = "",
) -> Problem:
    """The problem N(u) = N(exact) of an operator N of one field.

    Args:
        domain: The box.
        operator: N, a pointwise function of the points and the jet of u.
        exact: The solution, a pointwise function of the points in torch operations that have
            derivatives.
        conditions: What makes the solution unique; Dirichlet data on all sides by default.
        name: What the problem is called in reports.
    """
    source = _Source(operator, exact)

    def residual(points: Points, u: Jet) -> Tensor:
        return operator(points, u) - source(points)

    given = dirichlet_everywhere(domain, exact) if conditions is None else conditions
    return Problem(domain, residual, given, exact=exact, name=name)


def dirichlet_everywhere(domain: Box, exact: Solution) -> tuple[Dirichlet, ...]:
    """Dirichlet data of a known solution on all sides that are not periodic."""
    return tuple(
        Dirichlet(axis, side, exact)
        for axis, periodic in zip(domain.axes, domain.periodic, strict=True)
        for side in SIDES
        if not periodic
    )


@final
class _Source:
    """N(exact), kept for the points it was asked for last: solvers return to their nodes."""

    def __init__(self, operator: DifferentialOperator, exact: Solution) -> None:
        self._operator, self._exact = operator, exact
        self._last: tuple[Tensor, int, Tensor] | None = None

    def __call__(self, points: Points) -> Tensor:
        where = points.coordinates
        if self._last is not None:
            last, version, values = self._last
            if last is where and version == where._version:
                return values
        values = self._operator(points, FunctionJet(self._exact, points))
        self._last = (where, where._version, values)
        return values
