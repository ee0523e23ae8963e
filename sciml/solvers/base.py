"""`solve`: one call for every problem and every solver; the interface that solvers share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from jaxtyping import Float
from torch import Tensor

from sciml.pde.checks import check_problem
from sciml.pde.jet import ArrayJet, MultiIndex, multi_index
from sciml.pde.points import Points
from sciml.pde.problem import Problem
from sciml.solution import Solution, SolverError

Callback: TypeAlias = Callable[[int, Mapping[str, Any]], None]
"""Called after each step of a solver (a pass, a Newton step, an epoch) with its number, from 1,
and what is known then, `residual_norm` at least."""
# of the length of an axis: points computed in other ways than the ends of the box
OUTSIDE_TOLERANCE = 1e-9


class Field(ABC):
    """A solution as a function: ``field(points)``, ``field.d(points, x=2)``.

    Points are (n, d) in float64, with columns in the order of `axes`; values have one column
    per field of the problem. Solvers implement `_evaluate`, and `_deviation` where they have a
    posterior.

    Args:
        problem: What was solved; gives the names of axes and fields.
    """

    def __init__(self, problem: Problem) -> None:
        self.domain = problem.domain
        self.axes = problem.domain.axes
        self.fields = problem.fields

    def __call__(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n num_fields"]:
        """The solution."""
        return self.d(points)

    def d(self, points: Float[Tensor, "n d"], **orders: int) -> Float[Tensor, "n num_fields"]:
        """A partial derivative by order per axis.

        Raises:
            ValueError: If the points have another number of columns or lie outside the box,
                or an axis is unknown.
            TypeError: If the points are not float64.
        """
        return self._evaluate(self._inside(points), multi_index(self.axes, orders))

    def std(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n num_fields"]:
        """Posterior standard deviation of the solution.

        Raises:
            ValueError: If the solver that made this field has no posterior.
        """
        return self._deviation(self._inside(points))

    def jets(
        self, points: Float[Tensor, "n d"], needs: Mapping[str, Iterable[MultiIndex]]
    ) -> tuple[ArrayJet, ...]:
        """One jet per field, with the derivatives that `needs` (as in a problem) lists."""
        coordinates = self._inside(points)
        indices = {index for wanted in needs.values() for index in wanted}
        values = {index: self._evaluate(coordinates, index) for index in sorted(indices)}
        return tuple(
            ArrayJet(self.axes, {index: values[index][:, k] for index in needs[field]})
            for k, field in enumerate(self.fields)
        )

    def _inside(self, points: Tensor) -> Tensor:
        """The points after checking that they lie in the box, up to rounding."""
        coordinates = Points(self.axes, points).coordinates
        bounds = zip(self.axes, self.domain.low, self.domain.high, strict=True)
        for k, (axis, low, high) in enumerate(bounds):
            slack = OUTSIDE_TOLERANCE * (high - low)
            column = coordinates[:, k]
            if not bool(((column >= low - slack) & (column <= high + slack)).all()):
                raise ValueError(
                    f"{type(self).__name__}: expected points inside [{low}, {high}] on axis "
                    f"{axis!r}, got values from {float(column.min()):.6g} to "
                    f"{float(column.max()):.6g}; solve on a larger box to look further"
                )
        return coordinates

    @abstractmethod
    def _evaluate(self, points: Tensor, index: MultiIndex) -> Tensor:
        """The derivative of multi-index `index` at points that were checked."""

    def _deviation(self, points: Tensor) -> Tensor:
        """The posterior standard deviation at points that were checked."""
        raise ValueError(
            f"{type(self).__name__}.std: expected a field with a posterior, got one without; "
            "solve with a solver that has one, such as GPHMSolver"
        )


class PDESolver(ABC):
    """A method that solves problems; its options are constructor arguments."""

    @property
    def largest_order(self) -> int | None:
        """Highest derivative along an axis that the method can take; None for any.

        Methods whose basis is of limited smoothness say so here, and `solve` refuses the rest.
        """
        return None

    @abstractmethod
    def solve(self, problem: Problem, *, callback: Callback | None = None) -> Solution[Field]:
        """Solve one problem; failure to converge is a status, never an exception.

        Args:
            problem: The equation and its conditions.
            callback: Called after each step.

        Returns:
            The field, how the solve ended, and in `stats` at least ``residual_norm``,
            ``boundary_misfit`` and ``seconds``.

        Raises:
            ValueError: If the problem is one that this method cannot solve, in words.
        """


def solve(
    problem: Problem,
    solver: PDESolver,
    *,
    callback: Callback | None = None,
    throw: bool = True,
) -> Solution[Field]:
    """Solve a problem: ``sciml.solve(problem, ChebyshevCollocation()).value(points)``.

    Args:
        problem: The equation and its conditions.
        solver: The method with its options.
        callback: Called after each step of the solver.
        throw: Whether a solve that does not converge raises; otherwise the Solution says so.

    Raises:
        ValueError: If conditions are missing or contradict each other where faces meet, the
            right-hand side is not finite, or the solver cannot solve problems of this kind or
            order.
        TypeError: If the problem or the solver is not one.
        SolverError: If `throw` and the solver did not converge; it has the Solution.
    """
    if not isinstance(problem, Problem):
        raise TypeError(
            f"solve: expected a sciml.Problem, got {type(problem).__name__}; take one of "
            "sciml.pde.gallery or build Problem(domain, residual, conditions)"
        )
    if not isinstance(solver, PDESolver):
        raise TypeError(
            f"solve: expected a PDE solver, got {type(solver).__name__}; pass an instance such "
            "as ChebyshevCollocation()"
        )
    check_problem(problem)
    _check_order(problem, solver)
    solution = solver.solve(problem, callback=callback)
    if throw and not solution:
        raise SolverError("solve", solution, solution.stats.get("detail", ""))
    return solution


def _check_order(problem: Problem, solver: PDESolver) -> None:
    limit = solver.largest_order
    if limit is None:
        return
    for axis in problem.domain.axes:
        order = problem.order(axis)
        if order > limit:
            raise ValueError(
                f"solve: expected derivatives of order {limit} at most, which is how smooth "
                f"the basis of {type(solver).__name__} is, got order {order} along axis "
                f"{axis!r}; write a system of lower order, or take a smoother basis"
            )
