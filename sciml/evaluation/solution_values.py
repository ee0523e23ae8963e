"""Solutions of problems in numbers: values on grids, errors, flat metrics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.pde.points import interior_points
from sciml.pde.problem import Problem
from sciml.solution import Solution
from sciml.solvers.base import Field

NUM_RANDOM_POINTS, RANDOM_SEED = 2000, 6_203_549
_RENAMED = ("residual_norm", "boundary_misfit", "seconds")
"""Statistics that have another name among the metrics."""


@final
@dataclass(frozen=True, eq=False)
class GridValues:
    """A solution on a tensor grid; leading axes count fields, those of residuals equations.

    Args:
        lines: Coordinates along each axis.
        value: The solution.
        residual: What it leaves of the equations.
        exact: The exact solution, where it is known.
        deviation: Posterior standard deviation, where there is one.
    """

    lines: tuple[Float[Tensor, " _"], ...]
    value: Float[Tensor, "num_fields *space"]
    residual: Float[Tensor, "num_equations *space"]
    exact: Float[Tensor, "num_fields *space"] | None
    deviation: Float[Tensor, "num_fields *space"] | None

    @property
    def error(self) -> Float[Tensor, "num_fields *space"] | None:
        """Solution minus exact solution, where that is known."""
        return None if self.exact is None else self.value - self.exact


def grid_values(
    problem: Problem, field: Field, lines: Sequence[Float[Tensor, " _"]]
) -> GridValues:
    """Evaluate a solution, its residual and the exact solution on a tensor grid."""
    space = tuple(len(line) for line in lines)
    points = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)
    points = points.reshape(-1, problem.domain.ndim)

    def on_grid(columns: Tensor) -> Tensor:
        return columns.detach().T.reshape(-1, *space)

    residuals = problem.residuals(points, field.jets(points, problem.needs))
    deviation = _deviation(field, points)
    return GridValues(
        lines=tuple(lines),
        value=on_grid(field(points)),
        residual=on_grid(torch.stack(residuals, dim=-1)),
        exact=on_grid(problem.exact(points)) if problem.has_exact else None,
        deviation=None if deviation is None else on_grid(deviation),
    )


def _deviation(field: Field, points: Tensor) -> Tensor | None:
    """The posterior standard deviation of solvers that have one; a field says so by raising."""
    try:
        return field.std(points)
    except ValueError:
        return None


@final
@dataclass(frozen=True, eq=False)
class Outcome:
    """What one solver reached on a problem.

    Args:
        name: Of the solver, in tables and metric names.
        solution: What it gave.
        errors: Error measures by name, empty where the exact solution is not known.
    """

    name: str
    solution: Solution[Field]
    errors: dict[str, float]

    @property
    def seconds(self) -> float:
        """Wall time of the solve."""
        return float(self.solution.stats["seconds"])

    @property
    def residual(self) -> float:
        """Residual of the equation between the nodes, relative to its largest term."""
        return float(self.solution.stats["residual_norm"])

    @property
    def boundary_misfit(self) -> float:
        """Misfit of the conditions on faces, relative to their values."""
        return float(self.solution.stats["boundary_misfit"])

    @property
    def accuracy(self) -> tuple[str, float]:
        """What it is judged by: the error, or the residual where that is not known."""
        if "relative_l2" in self.errors:
            return "relative L2 error", self.errors["relative_l2"]
        return "residual", self.residual

    def metrics(self) -> dict[str, float]:
        """Flat names for the solver of a run.

        ``test/…`` are errors, ``solve/…`` what the solver knows itself, all numbers of its
        statistics among them.
        """
        stats = self.solution.stats
        flat = {f"test/{key}": value for key, value in self.errors.items()}
        flat |= {
            f"solve/{key}": float(value)
            for key, value in stats.items()
            if isinstance(value, int | float) and key not in _RENAMED
        }
        resolution = stats.get("resolution", ())
        axes = self.solution.value.axes
        known = zip(axes, resolution, strict=False)  # not every solver has nodes
        flat |= {f"solve/resolution/{axis}": float(count) for axis, count in known}
        return flat | {
            "solve/residual": self.residual,
            "solve/boundary_misfit": self.boundary_misfit,
            "solve/passes": float(self.solution.num_steps),
            "solve/converged": float(bool(self.solution)),
            "time/solve_seconds": self.seconds,
        }

    def baseline_metrics(self) -> dict[str, float]:
        """Flat names for a solver to compare with: ``baseline/<name>/…``."""
        known = {
            **self.errors,
            "residual": self.residual,
            "boundary_misfit": self.boundary_misfit,
            "converged": float(bool(self.solution)),
            "solve_seconds": self.seconds,
        }
        return {f"baseline/{self.name}/{key}": value for key, value in known.items()}


def measure(
    name: str, problem: Problem, solution: Solution[Field], grid: GridValues
) -> Outcome:
    """Errors of a solution on a grid and at random points.

    ``relative_l2`` and ``max_error`` are those of the grid, over all fields;
    ``relative_l2_random_points`` that at 2000 points drawn from the box, which no solver has
    among its nodes.

    Args:
        name: Of the solver.
        problem: What was solved.
        solution: What the solver gave.
        grid: The solution on the grid that errors are measured on.
    """
    errors: dict[str, float] = {}
    if grid.exact is not None and grid.error is not None:
        generator = torch.Generator().manual_seed(RANDOM_SEED)
        points = interior_points(problem.domain, NUM_RANDOM_POINTS, generator)
        exact = problem.exact(points)
        errors = {
            "relative_l2": _relative(grid.error, grid.exact),
            "relative_l2_random_points": _relative(solution.value(points) - exact, exact),
            "max_error": float(grid.error.abs().max()),
        }
    return Outcome(name, solution, errors)


def _relative(error: Tensor, exact: Tensor) -> float:
    size = float(exact.norm())
    return float(error.norm()) / size if size > 0 else math.inf
