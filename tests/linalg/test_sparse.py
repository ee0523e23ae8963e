"""Sparse operators: forms of the product, transposes, and what they share with the caller."""

import numpy as np
import pytest
import scipy.sparse
import torch

import sciml.linalg.diagonals as diagonals_module
from sciml.linalg.diagonals import Diagonals
from sciml.linalg.sparse import SparseOperator
from tests.linalg.systems import random

DOUBLE = torch.float64


def stencil(dtype="float64"):
    bands = [np.linspace(1, 2, 30 - abs(k)) for k in (-5, -1, 0, 1)]
    return scipy.sparse.diags(bands, (-5, -1, 0, 1), format="csr").astype(dtype)


def scattered(dtype="float64"):
    return scipy.sparse.random(41, 30, 0.3, random_state=918273, format="csr").astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("make", "form"), [(stencil, Diagonals), (scattered, torch.Tensor)])
def test_products_of_either_form_equal_scipy(make, form, dtype, monkeypatch):
    monkeypatch.setattr(diagonals_module, "_MIN_ROWS", 1)
    matrix = make(dtype)
    operator = SparseOperator.from_scipy(matrix)
    for _ in range(2):
        for batch in ((), (1,), (2, 3)):
            x = random(*batch, 30, dtype=operator.dtype)
            y = random(*batch, matrix.shape[0], dtype=operator.dtype)
            torch.testing.assert_close(operator @ x, x @ torch.from_numpy(matrix.toarray()).T)
            torch.testing.assert_close(operator.T @ y, y @ torch.from_numpy(matrix.toarray()))
    assert isinstance(operator._form, form)
    assert operator.columns.dtype == torch.int32


@pytest.mark.parametrize("make", [stencil, scattered])
def test_gradients_after_a_product_without(make):
    operator = SparseOperator.from_scipy(make())
    x = random(2, 30)
    image = operator @ x
    values = operator.values.clone().requires_grad_()
    learned = operator.with_tensors([values])
    torch.testing.assert_close(learned @ x, image)
    assert torch.autograd.gradcheck(
        lambda v, u: operator.with_tensors([v]) @ u, (values, x.clone().requires_grad_())
    )
    y = random(2, operator.out_shape[0])
    assert torch.autograd.gradcheck(lambda v: operator.with_tensors([v]).T @ y, (values,))
    learned.T.mv(y).sum().backward()
    torch.testing.assert_close(values.grad, y.sum(0)[operator.rows.long()])


def test_other_values_do_not_meet_what_was_kept_for_the_first():
    operator = SparseOperator.from_scipy(stencil())
    x = random(30)
    image, transposed = operator @ x, operator.T @ x
    double = operator.with_tensors([2 * operator.values])
    torch.testing.assert_close(double @ x, 2 * image)
    torch.testing.assert_close(double.T @ x, 2 * transposed)
    single = operator.with_tensors([operator.values.float()])
    assert (single @ x.float()).dtype == single.dtype == torch.float32
    assert single.T.dtype == torch.float32


def test_transpose_is_made_once_and_keeps_the_axes():
    matrix = scattered()
    operator = SparseOperator.from_scipy(matrix, (5, 6), (41,))
    assert operator.T is operator.T
    assert (operator.T.in_shape, operator.T.out_shape) == ((41,), (5, 6))
    torch.testing.assert_close(operator.T.to_dense(), operator.to_dense().T)
    symmetric = SparseOperator.from_scipy(stencil() + stencil().T, symmetric=True)
    assert symmetric.T is symmetric


def test_the_matrix_of_the_caller_is_neither_changed_nor_watched():
    indices, starts = np.array([1, 0, 1]), np.array([0, 3, 3])
    matrix = scipy.sparse.csr_array((np.array([1.0, 2.0, 4.0]), indices, starts), shape=(2, 2))
    operator = SparseOperator.from_scipy(matrix)
    expected = torch.tensor([[2.0, 5.0], [0.0, 0.0]], dtype=DOUBLE)
    assert torch.equal(operator.to_dense(), expected)
    assert matrix.data.tolist() == [1.0, 2.0, 4.0]
    assert matrix.indices.tolist() == [1, 0, 1]
    stored = stencil()
    kept = SparseOperator.from_scipy(stored)
    before = kept.to_dense()
    stored.data[:] = 0
    stored.indices[:] = 0
    assert torch.equal(kept.to_dense(), before)


def test_empty_matrix():
    operator = SparseOperator.from_scipy(scipy.sparse.csr_array((3, 4)))
    assert torch.equal(operator @ random(2, 4), torch.zeros(2, 3, dtype=DOUBLE))
    assert torch.equal(operator.T @ random(3), torch.zeros(4, dtype=DOUBLE))
