"""Solved problems for tests: cheap, exact, with several fields, unfinished."""

from collections.abc import Mapping
from typing import Any

import torch

from sciml.domain import Box
from sciml.evaluation.solution_values import Outcome
from sciml.pde.conditions import Dirichlet
from sciml.pde.gallery import poisson_1d, poisson_2d, poisson_3d
from sciml.pde.problem import Problem
from sciml.solution import Solution, Status
from sciml.solvers.base import Field, solve
from sciml.solvers.collocation import ChebyshevCollocation

PROBLEMS = {
    1: lambda: poisson_1d("single_sin", frequencies=[3.3]),
    2: lambda: poisson_2d("sin_sin", frequencies=[1.3, 2.1]),
    3: lambda: poisson_3d("sin_sin_sin", frequencies=[1.2, 0.7, 1.1]),
}
SMALL_RESOLUTION = {1: 40, 2: 28, 3: 16}


class Shifted(Field):
    """A known solution plus a constant: its error is known, and so is its residual."""

    def __init__(self, problem: Problem, shift: float) -> None:
        super().__init__(problem)
        self.problem, self.shift = problem, shift

    def _evaluate(self, points, index):
        with torch.enable_grad():
            place = points.detach().clone().requires_grad_()
            value = self.problem.exact(place)[:, 0] + self.shift
            for axis, order in enumerate(index):
                for _ in range(order):
                    (gradient,) = torch.autograd.grad(value.sum(), place, create_graph=True)
                    value = gradient[:, axis]
        return value.detach()[:, None]

    def _deviation(self, points):
        return self.deviation(points)[:, None]

    def deviation(self, points):
        """Zero on the low side of the last axis, of infinite slope there; smooth squared."""
        low, extent = self.domain.low[-1], self.domain.extent[-1]
        part = (points[:, -1] - low) / extent
        return 0.25 * (part * (1.1 + torch.cos(3.0 * part))).sqrt()


def solved(ndim: int) -> tuple[Problem, Solution[Field]]:
    problem = PROBLEMS[ndim]()
    solver = ChebyshevCollocation(resolution=SMALL_RESOLUTION[ndim])
    return problem, solve(problem, solver, throw=False)


def shifted(ndim: int, shift: float, **stats: Any) -> tuple[Problem, Solution[Field]]:
    problem = PROBLEMS[ndim]()
    return problem, solution_of(Shifted(problem, shift), **stats)


def solution_of(field: Field, **stats: Any) -> Solution[Field]:
    known: Mapping[str, Any] = {"residual_norm": 0.5, "boundary_misfit": 0.1, "seconds": 2.0}
    return Solution(
        value=field,
        status=Status.STAGNATION,
        converged=torch.tensor(False),
        num_steps=7,
        history=torch.tensor([1.0, 0.5], dtype=torch.float64),
        stats=dict(known) | stats,
    )


def outcome(name: str, error: float | None, seconds: float, **stats: Any) -> Outcome:
    problem, _ = shifted(1, 0.0)
    errors = {} if error is None else {"relative_l2": error}
    return Outcome(name, solution_of(Shifted(problem, 0.0), seconds=seconds, **stats), errors)


def two_fields() -> Problem:
    """u' = v, v' = −u without a known solution."""
    return Problem(
        Box(("x",), (0.0,), (1.0,)),
        lambda points, u, v: (u.d(x=1) - v.value, v.d(x=1) + u.value),
        [Dirichlet("x", "low", 1.0, field="u"), Dirichlet("x", "low", 0.0, field="v")],
        fields=("u", "v"),
        name="oscillator",
    )
