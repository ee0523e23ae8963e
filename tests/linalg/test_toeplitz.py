"""Toeplitz operators: every way to multiply and solve, determinants in high precision."""

import mpmath
import pytest
import scipy.linalg
import torch

import sciml.linalg.toeplitz as toeplitz_module
from sciml import ToeplitzOperator
from sciml.linalg.circulant import fast_length, optimal_circulant
from tests.linalg.operators import decaying, random

DOUBLE = torch.float64


@pytest.mark.parametrize("sizes", [(1, 1), (2, 5), (6, 6), (7, 4), (33, 20)])
@pytest.mark.parametrize("work", [0, 10**12])
def test_matrix_and_fft_products_agree_with_scipy(sizes, work, monkeypatch):
    monkeypatch.setattr(toeplitz_module, "_MATRIX_PRODUCT_WORK", work)
    column, row = random(sizes[0], dtype=DOUBLE), random(sizes[1], dtype=DOUBLE, seed=1117)
    operator = ToeplitzOperator(column, row)
    dense = torch.from_numpy(scipy.linalg.toeplitz(column.numpy(), row.numpy()))
    torch.testing.assert_close(operator.to_dense(), dense)
    x = random(3, sizes[1], dtype=DOUBLE)
    torch.testing.assert_close(operator @ x, x @ dense.T)
    torch.testing.assert_close(operator.T @ (x @ dense.T), x @ dense.T @ dense)
    torch.testing.assert_close(operator @ x, operator @ x)  # the kept spectrum or matrix


def test_kept_spectrum_never_hides_a_gradient(monkeypatch):
    monkeypatch.setattr(toeplitz_module, "_MATRIX_PRODUCT_WORK", 0)
    column = decaying(9, DOUBLE).requires_grad_()
    operator = ToeplitzOperator(column)
    with torch.no_grad():
        operator.mv(torch.ones(9, dtype=DOUBLE))
    (gradient,) = torch.autograd.grad(operator.mv(torch.ones(9, dtype=DOUBLE)).sum(), column)
    assert float(gradient[0]) == pytest.approx(9)
    assert float(gradient[1]) == pytest.approx(16)


@pytest.mark.parametrize("work", [0, 10**12])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_conjugate_gradients_and_levinson_meet_the_stated_residual(work, dtype, monkeypatch):
    monkeypatch.setattr(toeplitz_module, "_LEVINSON_WORK", work)
    operator = ToeplitzOperator(decaying(301, dtype), positive_definite=True)
    b = random(2, 3, 301, dtype=dtype)
    x = operator.solve(b)
    residual = torch.linalg.vector_norm(operator @ x - b, dim=-1)
    limit = 1e-12 if dtype is DOUBLE else 1e-5
    assert float((residual / torch.linalg.vector_norm(b, dim=-1)).max()) <= 1.1 * limit


def test_where_the_recursion_fails_the_factorisation_serves():
    """A vanishing leading minor stops Levinson; the matrix itself is well conditioned."""
    column = torch.tensor([0.0, 1.0, 0.3, 0.2], dtype=DOUBLE)
    operator = ToeplitzOperator(column)
    b = random(2, 4, dtype=DOUBLE)
    torch.testing.assert_close(operator @ operator.solve(b), b)


def test_where_the_iteration_stalls_the_factorisation_serves(monkeypatch):
    monkeypatch.setattr(toeplitz_module, "_LEVINSON_WORK", 0)
    lag = torch.arange(400, dtype=DOUBLE)
    column = torch.exp(-0.5 * (lag / 20) ** 2) + 1e-8 * (lag == 0)
    operator = ToeplitzOperator(column, positive_definite=True)
    b = operator @ random(400, dtype=DOUBLE)
    residual = operator @ operator.solve(b) - b
    assert float(residual.norm() / b.norm()) < 1e-7


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_logdet_and_gradient(batch):
    column = decaying(7, DOUBLE) + 0.1 * random(*batch, 7, dtype=DOUBLE).abs()
    operator = ToeplitzOperator(column, positive_definite=True)
    torch.testing.assert_close(operator.logdet(), torch.logdet(operator.to_dense()))
    assert torch.autograd.gradcheck(
        lambda c: ToeplitzOperator(c, positive_definite=True).logdet(),
        column.clone().requires_grad_(),
    )


def test_logdet_in_high_precision():
    lag = torch.arange(40, dtype=DOUBLE)
    column = torch.exp(-0.5 * (lag / 4) ** 2) + 1e-6 * (lag == 0)
    operator = ToeplitzOperator(column, positive_definite=True)
    with mpmath.workdps(60):
        factor = mpmath.cholesky(mpmath.matrix(operator.to_dense().tolist()))
        exact = float(2 * sum(mpmath.log(factor[i, i]) for i in range(40)))
    assert abs(float(operator.logdet()) / exact - 1) < 1e-10


def test_refusals_name_the_remedy():
    column = torch.tensor([1.0, 2.0, 0.5], dtype=DOUBLE)
    with pytest.raises(ValueError, match="minor of order 2 with last pivot -3"):
        ToeplitzOperator(column, positive_definite=True).logdet()
    with pytest.raises(ValueError, match="logdet: expected positive_definite=True"):
        ToeplitzOperator(column).logdet()
    with pytest.raises(ValueError, match="expected no row where positive_definite=True"):
        ToeplitzOperator(column, column, positive_definite=True)
    with pytest.raises(TypeError, match="column and row of one dtype"):
        ToeplitzOperator(column, column.float())
    with pytest.raises(ValueError, match="solve: expected a square operator"):
        ToeplitzOperator(column, column[:2]).solve(column)
    zero = torch.zeros(3, dtype=DOUBLE)
    with pytest.raises(ValueError, match="expected an invertible matrix"):
        ToeplitzOperator(zero).solve(column)


def test_optimal_circulant_is_nearest():
    """Its first column averages the wrapped diagonals of the Toeplitz matrix."""
    column = decaying(6, DOUBLE)
    dense = ToeplitzOperator(column).to_dense()
    wrapped = torch.stack(
        [dense[torch.arange(6), (torch.arange(6) - k) % 6].mean() for k in range(6)]
    )
    torch.testing.assert_close(optimal_circulant(column).kernel, wrapped)


@pytest.mark.parametrize("size", [1, 2, 3, 97, 1000, 2047, 2049, 8191])
def test_fast_length_is_even_smooth_and_close(size):
    length = fast_length(size)
    rest = length
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    assert rest == 1
    assert length % 2 == 0
    assert size <= length <= max(4, 1.25 * size)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees():
    host = ToeplitzOperator(decaying(700, DOUBLE), positive_definite=True)
    device = host.with_tensors([host.column.cuda()])
    b = random(3, 700, dtype=DOUBLE)
    torch.testing.assert_close((device @ b.cuda()).cpu(), host @ b)
    torch.testing.assert_close(device.solve(b.cuda()).cpu(), host.solve(b))
    torch.testing.assert_close(device.logdet().cpu(), host.logdet())
