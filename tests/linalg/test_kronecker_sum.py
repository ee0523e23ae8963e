"""Kronecker sums: eigenvalues, non-normal factors, and refusals."""

import pytest
import scipy.linalg
import torch

from sciml import KroneckerSumOperator
from sciml.linalg.composite import SumOperator
from sciml.linalg.dense import DenseOperator, IdentityOperator
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
    bad = well_conditioned(3, DOUBLE)
    bad[0, 0] = torch.nan
    for symmetric in (True, False):
        operator = KroneckerSumOperator([definite(3, DOUBLE), bad], symmetric=symmetric)
        with pytest.raises(ValueError, match="solve: factor 1 of 2: expected finite entries"):
            operator.solve(torch.ones(3, 3, dtype=DOUBLE))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("fields", [(), (4, 1, 1), (2, 3)])
def test_batch_of_sums(fields, symmetric):
    make = definite if symmetric else well_conditioned
    first = torch.stack([make(3, DOUBLE), 2 * make(3, DOUBLE)])[:, None]
    second = torch.stack([make(2, DOUBLE) + k * torch.eye(2, dtype=DOUBLE) for k in range(3)])
    operator = KroneckerSumOperator([first, second], symmetric=symmetric)
    assert operator.batch_shape == (2, 3)
    b = random(*fields, 3, 2, dtype=DOUBLE)
    x = operator.solve(b)
    assert x.shape == (*fields[: max(len(fields) - 2, 0)], 2, 3, 3, 2)
    torch.testing.assert_close(operator @ x, b.expand(x.shape))
    if symmetric:
        assert operator.eigenvalues().shape == (2, 3, 3, 2)
    tracked = [factor.clone().requires_grad_() for factor in (first, second, b)]

    def solve(first, second, b):
        if symmetric:
            first, second = first + first.mT, second + second.mT
        return KroneckerSumOperator([first, second], symmetric=symmetric).solve(b)

    assert torch.autograd.gradcheck(solve, tracked, fast_mode=True)


def test_batch_of_unlike_scales_is_not_singular():
    factor = torch.stack([definite(3, DOUBLE), 1e-20 * definite(3, DOUBLE)])
    for symmetric in (True, False):
        operator = KroneckerSumOperator([factor, factor], symmetric=symmetric)
        b = random(2, 3, 3, dtype=DOUBLE)
        torch.testing.assert_close(operator @ operator.solve(b), b)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("shift", [0.7, -0.3])
def test_shifted_sum_is_a_kronecker_sum(shift, symmetric):
    factors = [definite(4, DOUBLE), definite(3, DOUBLE)]
    operator = KroneckerSumOperator(factors, symmetric=symmetric, positive_definite=symmetric)
    scale = torch.tensor(shift, dtype=DOUBLE, requires_grad=True)
    shifted = operator + scale * IdentityOperator((4, 3))
    assert isinstance(shifted, KroneckerSumOperator)
    expected = operator.to_dense() + shift * torch.eye(12, dtype=DOUBLE)
    torch.testing.assert_close(shifted.to_dense(), expected)
    assert (shifted.symmetric, shifted.positive_definite) == (
        symmetric,
        symmetric and shift > 0,
    )
    b = random(4, 3, dtype=DOUBLE)
    x = shifted.solve(b)
    torch.testing.assert_close(x.flatten(), torch.linalg.solve(expected, b.flatten()))
    (gradient,) = torch.autograd.grad(x.sum(), scale)
    weights = torch.linalg.solve(expected, torch.ones(12, dtype=DOUBLE))
    torch.testing.assert_close(gradient, -weights @ x.detach().flatten())
    single = operator + DenseOperator(torch.eye(12, dtype=DOUBLE), (4, 3))
    assert isinstance(single, SumOperator)
