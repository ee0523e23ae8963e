"""The iteration: what it equals for linear directions, and what holds for any."""

import re
from itertools import pairwise

import pytest
import torch

from sciml.linalg.dense import DenseOperator
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.conjugate_directions import ConjugateDirections
from sciml.models.dcdm.direction import FunctionDirection
from sciml.solution import Status
from tests.models.dcdm.systems import pressure_system, random_nonlinear


def iterates(solver, operator, b, preconditioner, count):
    """The first iterates, one solve each: a solver hands out its last one."""
    found = []
    for steps in range(1, count + 1):
        options = {"max_steps": steps, "rtol": 1e-14}
        run = solver(**options).solve(operator, b, preconditioner=preconditioner)
        found.append(run.value)
    return found


def a_norm(operator, e):
    return float((e * operator.mv(e)).sum().sqrt())


@pytest.mark.parametrize("k_orth", [1, 2, 5])
@pytest.mark.parametrize("scaled", [False, True])
def test_linear_directions_give_preconditioned_cg(k_orth, scaled):
    """For a symmetric positive definite M both are the same method, iterate by iterate."""
    operator, b = pressure_system()
    jacobi = Jacobi(operator)
    factor = -7.0 if scaled else 1.0
    direction = FunctionDirection(lambda r: factor * jacobi.mv(r), operator)
    ours = iterates(
        lambda **o: ConjugateDirections(k_orth=k_orth, **o), operator, b, direction, 20
    )
    theirs = iterates(CG, operator, b, jacobi, 20)
    for mine, other in zip(ours, theirs, strict=True):
        assert float((mine - other).norm()) <= 1e-10 * float(other.norm())


def test_no_orthogonalisation_is_steepest_descent():
    operator, b = pressure_system("freesurf")
    direction = FunctionDirection(random_nonlinear(operator.in_shape), operator)
    ours = iterates(lambda **o: ConjugateDirections(k_orth=0, **o), operator, b, direction, 8)
    x = torch.zeros_like(b)
    for mine in ours:
        r = b - operator.mv(x)
        d = direction.mv(r)
        x = x + d * float((d * r).sum()) / float((d * operator.mv(d)).sum())
        torch.testing.assert_close(mine, x, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("k_orth", [0, 2, 4])
def test_a_norm_of_the_error_never_grows(k_orth):
    operator, b = pressure_system("dense")
    direction = FunctionDirection(random_nonlinear(operator.in_shape), operator)
    exact = CG(rtol=1e-13).solve(operator, b).value
    errors = [
        a_norm(operator, exact - x)
        for x in iterates(
            lambda **o: ConjugateDirections(k_orth=k_orth, **o), operator, b, direction, 25
        )
    ]
    assert all(later <= earlier for earlier, later in pairwise(errors))
    assert errors[-1] < 0.7 * a_norm(operator, exact)


def test_directions_of_the_window_are_conjugate():
    """The step after a window of two leaves the residual orthogonal to its directions."""
    operator, b = pressure_system()
    seen = []
    inner = random_nonlinear(operator.in_shape)

    def recorded(r):
        seen.append(r.clone())
        return inner(r)

    direction = FunctionDirection(recorded, operator)
    first, second, third = iterates(
        lambda **o: ConjugateDirections(k_orth=2, **o), operator, b, direction, 3
    )
    p, q = first, second - first
    r = b - operator.mv(third)
    for old in (p, q, third - second):
        assert abs(float((old * r).sum())) <= 1e-10 * float(old.norm() * b.norm())


@pytest.mark.parametrize(
    ("direction", "detail"),
    [
        (torch.zeros_like, "the direction is zero or a null vector"),
        (lambda r: torch.full_like(r, torch.nan), "the direction is not finite"),
        (lambda r: r * torch.inf, "the direction is not finite"),
        (torch.ones_like, "null vector|makes no progress"),
    ],
)
def test_useless_directions_are_a_breakdown(direction, detail):
    operator, b = pressure_system("box")
    made = FunctionDirection(direction, operator)
    solution = ConjugateDirections(stagnation_steps=5, refresh_every=2).solve(
        operator, b, preconditioner=made
    )
    assert solution.status in (Status.BREAKDOWN, Status.STAGNATION)
    if solution.status is Status.BREAKDOWN:
        assert re.search(detail, solution.stats["detail"])
    assert bool(solution.value.isfinite().all())
    assert solution.num_steps <= 16


def test_an_indefinite_operator_is_a_breakdown():
    operator = DenseOperator(torch.diag(torch.tensor([1.0, -1.0])).double(), symmetric=True)
    b = torch.tensor([0.1, 1.0]).double()
    solution = ConjugateDirections().solve(operator, b)
    assert solution.status is Status.BREAKDOWN
    assert "not positive definite" in solution.stats["detail"]


def test_a_broken_column_does_not_touch_the_others():
    operator, b = pressure_system()
    jacobi = Jacobi(operator)

    def direction(r):
        out = jacobi.mv(r)
        out[1] = torch.nan
        return out

    both = ConjugateDirections(rtol=1e-8, max_steps=300).solve(
        operator,
        torch.stack([b, 2 * b, 0 * b, b]),
        preconditioner=FunctionDirection(direction, operator),
    )
    alone = ConjugateDirections(rtol=1e-8, max_steps=300).solve(
        operator, b, preconditioner=jacobi
    )
    assert both.converged.tolist() == [True, False, True, True]
    assert both.status is Status.BREAKDOWN
    torch.testing.assert_close(both.value[0], alone.value, rtol=1e-7, atol=1e-9)
    assert not bool(both.value[1:3].any())
    assert both.stats["column_steps"].tolist()[2] == 0


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="expected k_orth >= 0, got -1; 0 is steepest descent"):
        ConjugateDirections(k_orth=-1)
    with pytest.raises(ValueError, match="expected cuda_graph=False, got True"):
        ConjugateDirections(cuda_graph=True)
    lower = DenseOperator(torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double())
    with pytest.raises(ValueError, match="ConjugateDirections: expected a symmetric positive"):
        ConjugateDirections().solve(lower, torch.ones(2).double())
