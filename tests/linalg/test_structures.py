"""Circulant, dense, sparse and composed operators: what the shared bodies do not cover."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch

from sciml.linalg.circulant import CirculantOperator
from sciml.linalg.composite import ProductOperator, ScaledOperator, SumOperator, _as_scale
from sciml.linalg.dense import DenseOperator, DiagonalOperator, IdentityOperator
from sciml.linalg.interop import ExternalOperator, from_linear_operator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.low_rank import LowRankUpdateOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.sparse import SparseOperator
from tests.linalg.operators import ALL, FLAGS, definite, random, well_conditioned

DOUBLE = torch.float64


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_circulant_equals_scipy(size):
    kernel = random(size, dtype=DOUBLE)
    dense = torch.from_numpy(scipy.linalg.circulant(kernel.numpy()))
    torch.testing.assert_close(CirculantOperator(kernel).to_dense(), dense)


def test_circulant_inverse_logdet_and_batch():
    kernel = torch.zeros(2, 4, 5, dtype=DOUBLE)
    kernel[:, 0, 0] = torch.tensor([3.0, 4.0])
    kernel[:, 1, 2] = 0.5
    operator = CirculantOperator(kernel, 2)
    dense = operator.to_dense()
    assert dense.shape == (2, 20, 20)
    torch.testing.assert_close(operator.inverse().to_dense(), torch.linalg.inv(dense))
    torch.testing.assert_close(operator.logdet(), torch.logdet(dense))
    assert torch.autograd.gradcheck(
        lambda c: CirculantOperator(c, 2).logdet(), kernel.clone().requires_grad_()
    )


def test_circulant_refusals():
    flat = torch.ones(4, dtype=DOUBLE)
    with pytest.raises(ValueError, match="solve: expected no zero eigenvalue"):
        CirculantOperator(flat).solve(flat)
    swap = torch.tensor([0.0, 1.0], dtype=DOUBLE)
    with pytest.raises(ValueError, match="expected a positive determinant, got a negative one"):
        CirculantOperator(swap).logdet()
    with pytest.raises(ValueError, match="field axes come last"):
        CirculantOperator(flat, 2)


def test_dense_and_diagonal_determinants():
    matrix, values = definite(5, DOUBLE), 1 + random(2, 3, dtype=DOUBLE).abs()
    torch.testing.assert_close(DenseOperator(matrix).logdet(), torch.logdet(matrix))
    by_cholesky = DenseOperator(matrix, positive_definite=True).logdet()
    torch.testing.assert_close(by_cholesky, torch.logdet(matrix))
    torch.testing.assert_close(DiagonalOperator(values).logdet(), values.log().sum())
    torch.testing.assert_close(DiagonalOperator(values, 1).logdet(), values.log().sum(-1))
    with pytest.raises(ValueError, match="expected a positive determinant, got sign -1"):
        DenseOperator(-matrix).logdet()
    with pytest.raises(ValueError, match="check the signs of the diagonal"):
        DiagonalOperator(torch.tensor([-1.0, 2.0])).logdet()
    with pytest.raises(ValueError, match="expected no zero on the diagonal"):
        DiagonalOperator(torch.tensor([0.0, 2.0])).solve(torch.ones(2))
    with pytest.raises(ValueError, match="smallest eigenvalue -"):
        DenseOperator(-matrix, positive_definite=True).solve(random(5, dtype=DOUBLE))
    with pytest.raises(ValueError, match=r"expected shapes that hold 5 inputs"):
        DenseOperator(matrix, (2, 3))


def test_compositions_refuse_what_does_not_fit():
    first, second = DenseOperator(torch.eye(3)), DenseOperator(torch.ones(2, 3))
    with pytest.raises(ValueError, match="expected terms between the same spaces"):
        first + second
    with pytest.raises(ValueError, match=r"expected a left operator on \(2,\)"):
        first @ second
    with pytest.raises(TypeError, match="operators of one dtype and device"):
        SumOperator(first, DenseOperator(torch.eye(3, dtype=DOUBLE)))
    with pytest.raises(TypeError, match="expected a scalar factor"):
        first * torch.ones(3)
    with pytest.raises(ValueError, match=r"use sciml\.linear_solve"):
        ScaledOperator(ProductOperator(first, first), 2.0).solve(torch.ones(3))
    with pytest.raises(ValueError, match="a factor other than 0"):
        (0.0 * first).solve(torch.ones(3))
    with pytest.raises(ValueError, match="the rank leads"):
        LowRankUpdateOperator(first, torch.ones(3, 2))
    with pytest.raises(TypeError, match="unsupported operand"):
        first + 1.0
    with pytest.raises(TypeError, match=r"fields in torch\.float32 on cpu, got torch\.float64"):
        LowRankUpdateOperator(first, torch.ones(1, 3, dtype=DOUBLE))
    with pytest.raises(TypeError, match=r"scalar factor, .* got a torch\.complex64 tensor of"):
        first * torch.tensor(1j)
    with pytest.raises(TypeError, match="a real number or tensor, got complex"):
        _as_scale(1j, first)


def test_definiteness_of_sums_and_multiples():
    laplacian = LaplacianOperator((4,), boundary="periodic")
    identity = IdentityOperator((4,))
    assert (laplacian + identity).positive_definite
    assert not (laplacian + laplacian).positive_definite
    assert (2.0 * laplacian).positive_definite
    pressure = PoissonOperator(FLAGS)
    screened = pressure + IdentityOperator((4, 5))
    assert screened.positive_definite
    assert not screened.singular
    assert not (pressure + pressure).positive_definite
    assert not (-identity).positive_definite
    assert (-identity).symmetric
    torch.testing.assert_close((3.0 * laplacian).null_space(), laplacian.null_space())
    assert (2.0 * identity).solve(torch.ones(4, dtype=DOUBLE)).tolist() == [0.5] * 4


def test_numbers_of_every_kind_scale():
    operator, x = DenseOperator(well_conditioned(3, DOUBLE)), random(3, dtype=DOUBLE)
    expected = 2 * (operator @ x)
    for scale in (np.float64(2), np.float32(2), np.int64(2), 2, torch.tensor(2)):
        torch.testing.assert_close(
            ScaledOperator(operator, _as_scale(scale, operator)) @ x, expected
        )
    torch.testing.assert_close((np.float64(2.0) * operator) @ x, expected)
    torch.testing.assert_close((operator / 0.5) @ x, expected)
    torch.testing.assert_close((operator / torch.tensor(0.5)) @ x, expected)


def test_numpy_arrays_are_no_fields():
    operator = DenseOperator(well_conditioned(3, DOUBLE))
    with pytest.raises(TypeError, match="unsupported operand"):
        np.ones(3) @ operator
    with pytest.raises(TypeError, match="does not support ufuncs"):
        operator @ np.ones(3)


def test_dense_operators_are_matrices():
    with pytest.raises(ValueError, match=r"expected a matrix, got shape \(3,\); rows and"):
        DenseOperator(torch.ones(3))
    with pytest.raises(ValueError, match=r"expected a matrix, got shape \(0, 0\)"):
        DenseOperator(torch.ones(0, 0))


def test_scale_is_differentiable():
    factor = torch.tensor(2.0, dtype=DOUBLE, requires_grad=True)
    matrix = well_conditioned(3, DOUBLE)
    x = random(3, dtype=DOUBLE)
    (factor * DenseOperator(matrix) @ x).sum().backward()
    torch.testing.assert_close(factor.grad, (matrix @ x).sum())


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_scipy_formats(form, dtype):
    dense = np.diag(np.arange(1, 5)).astype(dtype)
    dense[0, 3] = 7
    operator = SparseOperator.from_scipy(scipy.sparse.coo_array(dense).asformat(form))
    expected = torch.from_numpy(dense.astype(np.float64 if dtype is np.int64 else dtype))
    torch.testing.assert_close(operator.to_dense(), expected)
    torch.testing.assert_close(operator.diagonal(), expected.diagonal())
    torch.testing.assert_close(operator.T.to_dense(), expected.T)


def test_sparse_refusals():
    with pytest.raises(TypeError, match=r"expected a scipy\.sparse matrix, got ndarray"):
        SparseOperator.from_scipy(np.eye(2))
    with pytest.raises(TypeError, match="expected real entries, got complex128"):
        SparseOperator.from_scipy(scipy.sparse.eye_array(2, dtype=complex))
    ones, order = torch.ones(2), torch.tensor([1, 0])
    with pytest.raises(ValueError, match="expected entries ordered by row"):
        SparseOperator(ones, order, order, (2,))
    with pytest.raises(ValueError, match="expected column indices below 1, got 0 to 1"):
        SparseOperator(ones, order.flip(0), order, (1,), (2,))


def test_repeated_sparse_entries_add():
    rows, columns = torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0])
    operator = SparseOperator(torch.tensor([1.0, 2.0, 4.0]), rows, columns, (2,))
    assert operator.to_dense().tolist() == [[0.0, 3.0], [4.0, 0.0]]


def test_external_operators_keep_their_structure():
    for name, kept in [
        ("dense", "DenseOperator"),
        ("diagonal", "DiagonalOperator"),
        ("kronecker_three", "KroneckerOperator"),
        ("toeplitz_definite", "ToeplitzOperator"),
        ("laplacian", "ExternalOperator"),
    ]:
        external = ALL[name](DOUBLE).to_linear_operator()
        assert type(from_linear_operator(external)).__name__ == kept


def test_gradients_pass_through_linear_operator():
    factors = [definite(3, DOUBLE).requires_grad_() for _ in range(2)]
    from sciml import KroneckerSumOperator

    wrapped = KroneckerSumOperator(factors, symmetric=True).to_linear_operator()
    (wrapped @ torch.ones(9, dtype=DOUBLE)).sum().backward()
    assert float(factors[0].grad.sum()) == pytest.approx(27.0)
    back = from_linear_operator(wrapped)
    assert isinstance(back, ExternalOperator)
