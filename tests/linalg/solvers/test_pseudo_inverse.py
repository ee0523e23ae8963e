"""Singular systems: consistent ones have their least-norm solution, others are named."""

import numpy as np
import pytest
import torch

from sciml.linalg.dense import DenseOperator, DiagonalOperator
from sciml.linalg.kronecker import KroneckerOperator
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.pseudo_inverse import PseudoInverse
from sciml.linalg.sparse import SparseOperator
from sciml.solution import SolverError, Status
from tests.linalg.systems import definite_matrix, nonsymmetric_matrix, pressure_matrix, random

DOUBLE = torch.float64


def singular_diagonal():
    return torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=DOUBLE))


SINGULAR = {
    "sparse": lambda: SparseOperator.from_scipy(pressure_matrix(6, 2), (6, 6), symmetric=True),
    "dense_zero_row": lambda: DenseOperator(singular_diagonal(), symmetric=True),
    "nilpotent": lambda: DenseOperator(
        torch.diag(torch.ones(3, dtype=DOUBLE), 1)  # A b = 0 for its own range: no Krylov space
    ),
    "nonsymmetric": lambda: DenseOperator(
        nonsymmetric_matrix(7) @ torch.diag((torch.arange(7) > 1).to(DOUBLE))
    ),
    "diagonal": lambda: DiagonalOperator(torch.tensor([1.0, -2.0, 0.0], dtype=DOUBLE)),
    "kronecker": lambda: KroneckerOperator([singular_diagonal(), definite_matrix(4)]),
    "zero": lambda: DenseOperator(torch.zeros(3, 3, dtype=DOUBLE)),
}


@pytest.mark.parametrize("solver", [None, PseudoInverse()], ids=["chosen", "pseudo_inverse"])
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("name", SINGULAR)
def test_consistent_system_has_the_least_norm_solution(name, batch, solver):
    operator = SINGULAR[name]()
    b = operator @ random(*batch, *operator.in_shape)
    solution = linear_solve(operator, b, solver)
    assert solution
    inverse = torch.linalg.pinv(operator.to_dense())
    expected = (b.reshape(*batch, -1) @ inverse.T).reshape(b.shape)
    torch.testing.assert_close(solution.value, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SINGULAR)
def test_inconsistent_system_is_named(name):
    operator = SINGULAR[name]()
    with pytest.raises(SolverError, match=r"null vector of Aᵀ.*outside its range") as caught:
        linear_solve(operator, random(*operator.out_shape))
    solution = caught.value.solution
    inverse = torch.linalg.pinv(operator.to_dense())
    expected = inverse @ random(*operator.out_shape).flatten()
    torch.testing.assert_close(solution.value.flatten(), expected)  # least squares


def test_chain_of_solvers_is_told():
    A = pressure_matrix(6, 2)
    x = np.linspace(-1.0, 1.0, 36)
    solution = linear_solve(A, A @ x)
    assert solution.stats["solver"] == "PseudoInverse"
    assert solution.stats["fallback_from"] == "LU"
    assert np.linalg.norm(A @ (solution.value - x)) <= 1e-12


def test_batch_of_operators_and_gradients():
    operators = DenseOperator(torch.stack([singular_diagonal(), definite_matrix(3)]))
    b = operators @ random(2, 3)
    solution = linear_solve(operators, b, PseudoInverse(rtol=1e-12))
    torch.testing.assert_close(operators @ solution.value, b)
    A = nonsymmetric_matrix(4).requires_grad_()
    c = random(4).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda A, c: linear_solve(A, c, PseudoInverse(rtol=1e-12)).value, (A, c)
    )


def test_float32_and_preconditioner():
    A, x = singular_diagonal().float(), random(3, dtype=torch.float32)
    assert linear_solve(A, A @ x).status is Status.CONVERGED
    with pytest.raises(ValueError, match="PseudoInverse: expected no preconditioner"):
        linear_solve(A, A @ x, PseudoInverse(), preconditioner=torch.eye(3))
