"""What `linear_solve` takes from other libraries, and how it refuses the rest."""

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch

from sciml.linalg.convert import as_field, as_operator, check_finite, check_solver
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from tests.linalg.systems import definite_matrix, random

A = definite_matrix(6)
b = random(2, 6)


@pytest.mark.parametrize("container", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
@pytest.mark.parametrize("form", ["csr", "csc", "coo", "dia", "lil", "dok", "bsr"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_scipy_format(form, container, dtype):
    matrix = container(A.numpy()).asformat(form).astype(dtype)
    right = b.numpy().astype(dtype)
    value = linear_solve(matrix, right, rtol=1e-5).value
    assert isinstance(value, np.ndarray)
    assert value.dtype == right.dtype
    np.testing.assert_allclose(value @ A.numpy(), right, rtol=1e-3, atol=1e-3)


def test_foreign_byte_order_and_strides():
    matrix = np.asfortranarray(A.numpy()).astype(">f8")[::-1]
    value = linear_solve(matrix, b.numpy().astype(">f8")[:, ::-1], rtol=1e-12).value
    np.testing.assert_allclose(value @ A.numpy()[::-1].T, b.numpy()[:, ::-1], atol=1e-10)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (A.tolist(), r"expected A as LinearOperator, tensor, NumPy.*got list; convert it"),
        (None, r"expected A as LinearOperator.*got NoneType"),
        (scipy.sparse.linalg.aslinearoperator(A.numpy()), r"or write a LinearOperator"),
        (A.to_sparse(), r"dense tensor A, got layout torch\.sparse_coo; build a Sparse"),
        (A.numpy().astype(object), r"expected A in float32 or float64, got object; convert"),
        (A.numpy().astype(np.longdouble), r"expected A in float32 or float64, got float128"),
    ],
    ids=["list", "none", "scipy_operator", "torch_sparse", "object", "longdouble"],
)
def test_other_matrices_are_refused(matrix, message):
    with pytest.raises(TypeError, match="linear_solve: .*" + message):
        as_operator(matrix)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (b[0].tolist(), r"expected b as a dense tensor or NumPy array, got list; convert it"),
        (None, r"expected b as a dense tensor or NumPy array, got NoneType"),
        (scipy.sparse.csr_array(b.numpy()), r"got csr_array; convert it.*\.toarray\(\)"),
        (b[0].to_sparse(), r"got torch\.sparse_coo; convert"),
        (b.numpy().astype(object), r"expected b in float32 or float64, got object"),
    ],
    ids=["list", "none", "scipy_sparse", "torch_sparse", "object"],
)
def test_other_right_sides_are_refused(field, message):
    with pytest.raises(TypeError, match="linear_solve: .*" + message):
        as_field("b", field, as_operator(A))


def test_what_is_no_solver_is_refused():
    with pytest.raises(TypeError, match=r"such as CG\(rtol=1e-8\), got the class CG; make an"):
        check_solver(CG)
    with pytest.raises(TypeError, match=r"such as CG\(rtol=1e-8\), got 'cg'; make an instance"):
        check_solver("cg")


@pytest.mark.parametrize("kind", ["tensor", "numpy", "sparse"])
def test_preconditioner_may_be_a_matrix(kind):
    inverse = torch.linalg.inv(A)
    matrix = {
        "tensor": inverse,
        "numpy": inverse.numpy(),
        "sparse": scipy.sparse.csr_array(inverse.numpy()),
    }[kind]
    solution = linear_solve(A, b, CG(rtol=1e-10), preconditioner=matrix)
    assert solution.num_steps <= 2
    with pytest.raises(TypeError, match=r"expected preconditioner as LinearOperator.*got func"):
        as_operator(lambda r: r, "preconditioner")
    with pytest.raises(ValueError, match=r"finite entries in preconditioner, got 36 NaN"):
        as_operator(scipy.sparse.csr_array(A.numpy() * np.nan), "preconditioner")


def test_finite_entries_may_add_up_to_infinity():
    b = torch.tensor([3e38, 3e38, -3e38, 3e38], dtype=torch.float32)
    check_finite("b", b)
    check_finite("b", b.double() * 5e269)
    b[2] = torch.inf
    with pytest.raises(ValueError, match="finite entries in b, got 1 NaN or infinite"):
        check_finite("b", b)
