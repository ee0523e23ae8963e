"""`solve` and `Field`: validation, outcomes, derivatives, missing posteriors."""

import pytest
import torch

import sciml
from sciml import Box, Problem, SolverError
from sciml.pde.conditions import Dirichlet, Neumann
from sciml.pde.gallery import poisson_1d
from sciml.solution import Solution, Status
from sciml.solvers.base import Field, PDESolver

LINE = Box(("x",), (0.0,), (1.0,))
SIDES = [Dirichlet("x", "low", 0.0), Dirichlet("x", "high", 0.0)]
CURVED = Problem(LINE, lambda p, u: u.d(x=2) - 2, SIDES, exact=lambda p: p.x * (p.x - 1))
POINTS = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]


class Parabola(Field):
    """x(x − 1)."""

    def _evaluate(self, points, index):
        x = points[:, :1]
        return {(0,): x * (x - 1), (1,): 2 * x - 1, (2,): 2 + 0 * x}[index]


class Guess(PDESolver):
    """Gives the parabola, converged or not."""

    def __init__(self, status=Status.CONVERGED):
        self.status = status

    def solve(self, problem, *, callback=None):
        if callback is not None:
            callback(1, {"residual_norm": 0.0})
        return Solution(
            value=Parabola(problem),
            status=self.status,
            converged=torch.tensor(self.status is Status.CONVERGED),
            num_steps=1,
            history=torch.zeros(2, dtype=torch.float64),
            stats={"detail": "guessed"},
        )


def test_a_solution_is_a_function_with_derivatives():
    field = sciml.solve(CURVED, Guess()).value
    torch.testing.assert_close(field(POINTS), CURVED.exact(POINTS))
    assert field(POINTS).shape == (5, 1)
    torch.testing.assert_close(field.d(POINTS, x=1), 2 * POINTS - 1)
    torch.testing.assert_close(field.d(POINTS, x=2), torch.full_like(POINTS, 2.0))


def test_jets_hold_what_the_problem_needs():
    field = Parabola(CURVED)
    (jet,) = field.jets(POINTS, CURVED.needs)
    assert set(jet.values) == {(2,)}
    assert float(CURVED.residuals(POINTS, [jet])[0].abs().max()) == 0.0


def test_a_field_without_posterior_says_so():
    with pytest.raises(ValueError, match=r"Parabola.std: expected a field with a posterior"):
        Parabola(CURVED).std(POINTS)


def test_points_of_fields_are_checked():
    field = Parabola(CURVED)
    with pytest.raises(TypeError, match=r"expected float64, got torch\.float32"):
        field(POINTS.float())
    with pytest.raises(ValueError, match=r"expected one column per axis \('x',\), got shape"):
        field(POINTS.expand(5, 2))
    with pytest.raises(
        ValueError, match=r"Parabola: expected points inside \[0.0, 1.0\] on ax"
    ):
        field(POINTS + 1e-3)
    with pytest.raises(ValueError, match=r"expected derivatives along the axes \('x',\), got"):
        field.d(POINTS, y=1)


def test_failure_raises_or_is_data():
    with pytest.raises(
        SolverError, match=r"solve: expected convergence, got MAX_STEPS .*guess"
    ):
        sciml.solve(CURVED, Guess(Status.MAX_STEPS))
    solution = sciml.solve(CURVED, Guess(Status.MAX_STEPS), throw=False)
    assert not solution
    assert solution.value(POINTS).shape == (5, 1)


def test_callbacks_are_called():
    calls = []
    sciml.solve(CURVED, Guess(), callback=lambda step, known: calls.append((step, known)))
    assert calls == [(1, {"residual_norm": 0.0})]


def test_problems_are_checked_before_the_solver_starts():
    with pytest.raises(ValueError, match="solve: expected at least 2 conditions on axis 'x'"):
        sciml.solve(Problem(LINE, lambda p, u: u.d(x=2) - 2, SIDES[:1]), Guess())


def test_orders_beyond_the_smoothness_of_a_basis_are_refused():
    class Rough(Guess):
        largest_order = 2

    clamped = [*SIDES, Neumann("x", "low", 0.0), Neumann("x", "high", 0.0)]
    problem = Problem(LINE, lambda p, u: u.d(x=4) - 1, clamped)
    with pytest.raises(ValueError, match=r"order 2 at most, .* of Rough is, got order 4 along"):
        sciml.solve(problem, Rough())
    assert sciml.solve(CURVED, Rough())
    assert sciml.solve(problem, Guess())


def test_other_objects_are_refused():
    with pytest.raises(TypeError):
        sciml.solve("poisson", Guess())
    with pytest.raises(TypeError):
        sciml.solve(poisson_1d(), Guess)
