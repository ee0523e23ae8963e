"""Who takes over where a chosen solver fails, and who does not."""

import pytest
import torch

from sciml.linalg.choose import Choice, choose_solver
from sciml.linalg.dense import DenseOperator, DiagonalOperator
from sciml.linalg.kronecker import KroneckerOperator
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.direct import LU, Cholesky
from sciml.linalg.solvers.minres import MINRES
from sciml.solution import Status
from tests.linalg.operators import squared_exponential
from tests.linalg.systems import definite_matrix, indefinite_matrix, random

DOUBLE = torch.float64


@pytest.mark.parametrize(
    ("symmetric", "successor"), [(True, "MINRES"), (False, "GMRES")], ids=["symmetric", "not"]
)
def test_large_singular_structures_are_iterated(symmetric, successor):
    if symmetric:
        values = torch.linspace(0.5, 2.0, 1500, dtype=DOUBLE)
        values[7] = 0.0
        operator = DiagonalOperator(values)
    else:
        singular = definite_matrix(40)
        singular[0] = singular[:, 0] = 0.0
        operator = KroneckerOperator([singular, definite_matrix(40)])
    b = operator @ random(*operator.in_shape)
    solution = linear_solve(operator, b, rtol=1e-8)
    assert solution.stats["solver"] == successor
    assert solution.stats["fallback_from"] == "Structured"
    assert float((operator @ solution.value - b).norm()) <= 1e-8 * float(b.norm())


def test_direct_method_at_the_limit_of_its_precision_is_not_iterated_upon():
    """Residuals of ε ‖A‖ ‖x‖ are beyond the tolerance for every method."""
    factor = squared_exponential(40, 0.2, 1e-6)
    operator = KroneckerOperator([factor, factor], positive_definite=True)
    solution = linear_solve(operator, random(40, 40), throw=False)
    assert solution.status is Status.STAGNATION
    assert solution.stats["solver"] == "Structured"
    assert "fallback_from" not in solution.stats


def test_solved_columns_are_kept_for_the_successor():
    operator = DenseOperator(indefinite_matrix(12), symmetric=True)
    eigenvector = torch.linalg.eigh(indefinite_matrix(12)).eigenvectors[:, -1]
    b = torch.stack([eigenvector, random(12)])  # CG solves the first in one step
    choice = Choice(CG(rtol=1e-8), "", (MINRES(rtol=1e-8),))
    solution = choice.solve(operator, b, None, None)
    assert solution
    assert solution.stats["fallback_from"] == "CG"
    assert solution.stats["column_steps"][0] == 0
    assert int(solution.stats["column_steps"][1]) > 1


def test_all_that_failed_are_named():
    operator = DenseOperator(torch.diag(torch.tensor([1.0, -1.0, 0.0])), symmetric=True)
    choice = Choice(Cholesky(), "tried in turn", (LU(), MINRES()))
    solution = choice.solve(operator, torch.tensor([1.0, 2.0, 0.0]), None, None)
    assert solution
    assert solution.stats["solver"] == "MINRES"
    assert solution.stats["fallback_from"] == "Cholesky, LU"
    assert solution.stats["reason"] == "tried in turn"


def test_given_solver_has_no_successor():
    singular = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=DOUBLE))
    b = torch.tensor([1.0, 2.0, 0.0], dtype=DOUBLE)
    assert linear_solve(singular, b, LU(), throw=False).status is Status.BREAKDOWN
    assert linear_solve(singular, b)


@pytest.mark.parametrize(
    ("atol", "rtol", "expected"),
    [(0.0, 1e-7, 1e-7), (1e-5, 0.0, 1e-6), (1e-5, 1e-4, 1e-4), (50.0, 0.0, 1e-3)],
)
def test_tolerance_of_gradients_is_relative(atol, rtol, expected):
    b = torch.tensor([[6.0, 8.0], [0.0, 0.0]], dtype=DOUBLE)
    operator = DenseOperator(torch.eye(2, dtype=DOUBLE))
    choice = choose_solver(operator, None, rtol, atol).relative(b)
    for solver in (choice.solver, *choice.fallbacks):
        assert solver.atol == 0
        assert solver.rtol == pytest.approx(expected)
