"""Right-hand sides whose squares overflow or vanish, and gradients of any size."""

import pytest
import torch

from sciml.linalg.dense import DenseOperator
from sciml.linalg.scaling import solve_scaled
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.direct import LU
from sciml.solution import Status
from tests.linalg.systems import definite_matrix, random

DOUBLE = torch.float64
EXTREMES = [(DOUBLE, 1e200), (DOUBLE, 1e-200), (torch.float32, 1e25), (torch.float32, 1e-30)]


@pytest.mark.parametrize(("dtype", "factor"), EXTREMES)
@pytest.mark.parametrize("solver", [CG(rtol=1e-5), LU(rtol=1e-5), None], ids=str)
def test_any_scale_has_the_scaled_solution(solver, dtype, factor):
    A, b = definite_matrix(9, dtype), random(3, 9, dtype=dtype)
    b[1] = 0
    solution = linear_solve(A, factor * b, solver)
    expected = torch.linalg.solve(A, b.T).T
    assert solution
    torch.testing.assert_close(solution.value / factor, expected, rtol=1e-3, atol=1e-4)
    residual_norm, tolerance = solution.stats["residual_norm"], solution.stats["tolerance"]
    assert bool((residual_norm <= tolerance).all())
    torch.testing.assert_close(
        solution.history[0] / factor, torch.linalg.vector_norm(b, dim=-1), rtol=1e-5, atol=0.0
    )


def test_columns_of_unlike_scales_are_each_solved():
    A, b = definite_matrix(9), random(2, 9)
    factors = torch.tensor([[1e-200], [1e190]], dtype=DOUBLE)
    solution = linear_solve(A, factors * b, CG(rtol=1e-10))
    expected = torch.linalg.solve(A, b.T).T
    torch.testing.assert_close(solution.value / factors, expected, rtol=1e-8, atol=1e-8)


def test_start_and_absolute_tolerance_have_the_unit_of_the_right_side():
    operator = DenseOperator(definite_matrix(9), positive_definite=True)
    x = 1e180 * random(9)
    b = operator @ x
    at_solution = solve_scaled(CG(rtol=1e-8), operator, b, x, None)
    assert at_solution.num_steps == 0
    loose = solve_scaled(CG(rtol=0.0, atol=1e179), operator, b, None, None)
    residual = b / 1e180 - operator @ (loose.value / 1e180)
    assert loose
    assert 1e-4 < float(residual.norm()) <= 0.1
    assert float(loose.stats["tolerance"]) == pytest.approx(1e179)


def test_what_is_not_extreme_is_not_scaled():
    """One and the same solution, bit for bit."""
    operator = DenseOperator(definite_matrix(9), positive_definite=True)
    b = random(9) * 3e40
    scaled = solve_scaled(CG(), operator, b, None, None).value
    assert torch.equal(scaled, CG().solve(operator, b).value)


def test_solution_beyond_the_range_is_not_called_converged():
    A = torch.eye(3, dtype=DOUBLE) * 1e-200
    solution = linear_solve(A, torch.full((3,), 1e200, dtype=DOUBLE), throw=False)
    assert not solution
    assert solution.status is Status.NONFINITE


@pytest.mark.parametrize("scale", [1.0, 1e180])
@pytest.mark.parametrize("weight", [1e-12, 1e-200])
def test_gradient_below_an_absolute_tolerance_is_still_solved_for(weight, scale):
    """An absolute tolerance is one for b: the adjoint has another unit."""
    A, x = definite_matrix(9), scale * random(9)
    b = (A @ x).requires_grad_()
    value = linear_solve(A, b, CG(rtol=0.0, atol=1e-9 * scale), x0=x).value
    (gradient,) = torch.autograd.grad(value, b, torch.full_like(value, weight))
    expected = torch.linalg.solve(A, torch.ones(9, dtype=DOUBLE))
    torch.testing.assert_close(gradient / weight, expected, rtol=1e-7, atol=1e-7)


def test_gradient_at_a_zero_right_side():
    A = definite_matrix(9)
    b = torch.zeros(9, dtype=DOUBLE, requires_grad=True)
    linear_solve(A, b, CG(rtol=0.0, atol=1e-3)).value.sum().backward()
    expected = torch.linalg.solve(A, torch.ones(9, dtype=DOUBLE))
    torch.testing.assert_close(b.grad, expected, rtol=1e-2, atol=1e-2)
