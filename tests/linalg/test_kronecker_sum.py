"""Kronecker sums: eigenvalues, non-normal factors, and refusals."""

import pytest
import scipy.linalg
import torch

from sciml import KroneckerSumOperator
from tests.linalg.operators import definite, random, well_conditioned

DOUBLE = torch.float64


def test_two_factors_solve_the_sylvester_equation():
    A, B = well_conditioned(6, DOUBLE), well_conditioned(4, DOUBLE)
    F = random(6, 4, dtype=DOUBLE)
    expected = scipy.linalg.solve_sylvester(A.numpy(), B.T.numpy(), F.numpy())
    got = KroneckerSumOperator([A, B]).solve(F)
    torch.testing.assert_close(got, torch.from_numpy(expected))


def test_non_normal_factors_lose_no_accuracy():
    """A Jordan block has one eigenvector: methods that invert eigenvectors fail on it."""
    jordan = torch.eye(8, dtype=DOUBLE) + torch.diag(torch.ones(7, dtype=DOUBLE), 1)
    operator = KroneckerSumOperator([jordan, jordan.T, jordan])
    b = random(3, 8, 8, 8, dtype=DOUBLE)
    x = operator.solve(b)
    assert float((operator @ x - b).norm() / b.norm()) < 1e-12


@pytest.mark.parametrize("sizes", [(1,), (5,), (1, 6), (4, 3, 5), (2, 3, 2, 3)])
def test_any_number_of_axes(sizes):
    operator = KroneckerSumOperator([well_conditioned(n, DOUBLE) for n in sizes])
    b = random(*sizes, dtype=DOUBLE)
    torch.testing.assert_close(operator @ operator.solve(b), b)


def test_eigenvalues():
    operator = KroneckerSumOperator([definite(4, DOUBLE), definite(3, DOUBLE)], symmetric=True)
    expected = torch.linalg.eigvalsh(operator.to_dense())
    torch.testing.assert_close(operator.eigenvalues().flatten().sort().values, expected)
    with pytest.raises(ValueError, match="eigenvalues: expected symmetric=True"):
        KroneckerSumOperator([definite(4, DOUBLE)]).eigenvalues()


@pytest.mark.parametrize("symmetric", [True, False])
def test_singular_sums_are_refused(symmetric):
    A = definite(3, DOUBLE)
    operator = KroneckerSumOperator([A, -A], symmetric=symmetric)
    with pytest.raises(ValueError, match="solve: expected no zero eigenvalue, got one of"):
        operator.solve(torch.ones(3, 3, dtype=DOUBLE))


def test_bad_factors_are_named():
    with pytest.raises(ValueError, match=r"expected square factors, got factor 1 of shape"):
        KroneckerSumOperator([torch.eye(2), torch.ones(2, 3)])
    batch = KroneckerSumOperator([well_conditioned(3, DOUBLE).expand(2, 3, 3)])
    with pytest.raises(ValueError, match=r"no batch of operators, got batch shape \(2,\)"):
        batch.solve(torch.ones(3, dtype=DOUBLE))


def test_batched_symmetric_sum():
    factor = torch.stack([definite(3, DOUBLE), 2 * definite(3, DOUBLE)])
    operator = KroneckerSumOperator([factor, definite(2, DOUBLE)], positive_definite=True)
    b = random(2, 3, 2, dtype=DOUBLE)
    torch.testing.assert_close(operator @ operator.solve(b), b)
    assert operator.eigenvalues().shape == (2, 3, 2)
