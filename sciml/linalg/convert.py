"""Matrices and arrays of other libraries as operators and fields; refused where unfit."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from sciml.linalg.dense import DenseOperator
from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSolver
from sciml.linalg.sparse import SparseOperator

SUPPORTED = (torch.float32, torch.float64)


def as_operator(A: Any, name: str = "A") -> LinearOperator:
    """A dense tensor, NumPy array or scipy.sparse matrix as an operator; others unchanged.

    Symmetry of a stored matrix is found by comparison with its transpose; whether it is
    positive definite is not looked into. Errors call it `name`.

    Raises:
        TypeError: If A is of another type, complex, an integer, or of half precision.
        ValueError: If a matrix is not square.
    """
    if isinstance(A, LinearOperator):
        return A
    if sparse.issparse(A):
        _check_matrix(name, A.shape, A.dtype)
        compressed = sparse.csr_array(A)
        check_finite(name, torch.from_numpy(compressed.data))
        return SparseOperator.from_scipy(compressed, symmetric=is_symmetric(compressed))
    matrix = _from_numpy(name, A) if isinstance(A, np.ndarray) else A
    if not isinstance(matrix, Tensor):
        raise TypeError(
            f"linear_solve: expected {name} as LinearOperator, tensor, NumPy array or "
            f"scipy.sparse matrix, got {type(A).__name__}; convert it (torch.tensor, "
            "sciml.linalg.interop.from_linear_operator), or write a LinearOperator"
        )
    if matrix.layout != torch.strided:
        raise TypeError(
            f"linear_solve: expected a dense tensor {name}, got layout {matrix.layout}; build "
            "a SparseOperator of its entries, or pass a scipy.sparse matrix"
        )
    _check_matrix(name, matrix.shape, matrix.dtype)
    with torch.no_grad():
        difference = (
            (matrix - matrix.mT).abs().amax() if matrix.numel() else matrix.new_zeros(())
        )
        bound = 10 * torch.finfo(matrix.dtype).eps * matrix.abs().max()
    return DenseOperator(matrix, symmetric=bool(difference <= bound))


def is_symmetric(matrix: sparse.spmatrix | sparse.sparray) -> bool:
    """Whether a sparse matrix equals its transpose to rounding."""
    difference = abs(matrix - matrix.T)
    largest = abs(matrix).max() if matrix.nnz else 0.0
    bound = 10 * np.finfo(matrix.dtype).eps * largest
    return not difference.nnz or bool(difference.max() <= bound)


def _from_numpy(name: str, array: NDArray[Any]) -> Tensor:
    """A copy in native byte order; torch takes no negative strides and no read-only arrays."""
    try:
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
    except TypeError as error:
        raise TypeError(
            f"linear_solve: expected {name} in float32 or float64, got {array.dtype}; convert "
            "it with .astype()"
        ) from error


def _check_matrix(name: str, shape: tuple[int, ...], dtype: Any) -> None:
    got = str(dtype).removeprefix("torch.")
    if got.startswith("complex"):
        raise TypeError(
            f"linear_solve: expected a real matrix {name}, got {got}; solve the real system of "
            "real and imaginary parts"
        )
    if got not in ("float32", "float64"):
        raise TypeError(
            f"linear_solve: expected a float32 or float64 matrix {name}, got {got}; convert it"
        )
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] == 0:
        raise ValueError(
            f"linear_solve: expected a square matrix {name}, got shape {tuple(shape)}; use "
            "torch.linalg.lstsq for least squares, or DenseOperator for fields of several axes"
        )


def as_field(name: str, value: Any, operator: LinearOperator) -> Tensor:
    """A right-hand side or start as a tensor that `operator` takes.

    Raises:
        TypeError: If it is complex, an integer, or of another dtype or device than A.
        ValueError: If its shape does not fit, a batch is empty, or it is not finite.
    """
    field = _from_numpy(name, value) if isinstance(value, np.ndarray) else value
    if not isinstance(field, Tensor) or field.layout != torch.strided:
        got = type(value).__name__ if not isinstance(field, Tensor) else field.layout
        raise TypeError(
            f"linear_solve: expected {name} as a dense tensor or NumPy array, got {got}; "
            "convert it, e.g. torch.tensor(...) or .toarray()"
        )
    if field.is_complex():
        raise TypeError(
            f"linear_solve: expected a real {name}, got {field.dtype}; solve for real and "
            "imaginary parts as a batch of two"
        )
    if field.dtype != operator.dtype or operator.dtype not in SUPPORTED:
        raise TypeError(
            f"linear_solve: expected {name} of the operator's dtype, float32 or float64, got "
            f"{field.dtype} for an operator of {operator.dtype}; convert one of them"
        )
    if field.device != operator.device:
        raise TypeError(
            f"linear_solve: expected {name} on {operator.device}, got {field.device}; move one "
            "of them with .to()"
        )
    shape, ndim = operator.out_shape, len(operator.out_shape)
    if field.ndim < ndim or tuple(field.shape[field.ndim - ndim :]) != shape:
        raise ValueError(
            f"linear_solve: expected {name} of shape (*batch, {', '.join(map(str, shape))}), "
            f"got {tuple(field.shape)}; batch axes lead, so columns of right-hand sides are "
            f"{name}.T"
        )
    if field.numel() == 0:
        raise ValueError(
            f"linear_solve: expected at least one right-hand side, got {name} of shape "
            f"{tuple(field.shape)}; skip the solve of an empty batch"
        )
    check_finite(name, field)
    return field


def check_solver(solver: Any) -> None:
    """Refuse what is not a solver.

    Raises:
        TypeError: With an example of one.
    """
    if not isinstance(solver, LinearSolver):
        got = f"the class {solver.__name__}" if isinstance(solver, type) else repr(solver)
        raise TypeError(
            f"linear_solve: expected a solver such as CG(rtol=1e-8), got {got}; make an "
            "instance, or leave it out and one is chosen"
        )


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        ValueError: With the number of bad entries.
    """
    values = tensor.detach()
    values = values if values.layout == torch.strided else values.values()
    if values.dtype.is_floating_point and math.isfinite(float(values.sum())):
        return  # one pass instead of four; a sum that overflows is looked into
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        raise ValueError(
            f"linear_solve: expected finite entries in {name}, got {int((~finite).sum())} NaN "
            "or infinite; find where they come from"
        )
