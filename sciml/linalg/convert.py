"""Matrices and arrays of other libraries as operators and fields; refused where unfit."""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from sciml.linalg.dense import DenseOperator
from sciml.linalg.operator import LinearOperator
from sciml.linalg.sparse import SparseOperator

SUPPORTED = (torch.float32, torch.float64)


def as_operator(A: Any) -> LinearOperator:
    """A dense tensor, NumPy array or scipy.sparse matrix as an operator; others unchanged.

    Symmetry of a stored matrix is found by comparison with its transpose; whether it is
    positive definite is not looked into.

    Raises:
        TypeError: If A is of another type, complex, an integer, or of half precision.
        ValueError: If a matrix is not square.
    """
    if isinstance(A, LinearOperator):
        return A
    if sparse.issparse(A):
        _check_matrix(A.shape, A.dtype)
        compressed = sparse.csr_array(A)
        check_finite("A", torch.from_numpy(compressed.data))
        return SparseOperator.from_scipy(compressed, symmetric=is_symmetric(compressed))
    matrix = torch.from_numpy(np.array(A)) if isinstance(A, np.ndarray) else A
    if not isinstance(matrix, Tensor):
        raise TypeError(
            "linear_solve: expected A as LinearOperator, tensor, NumPy array or scipy.sparse "
            f"matrix, got {type(A).__name__}; convert it, e.g. torch.tensor(A)"
        )
    _check_matrix(matrix.shape, matrix.dtype)
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


def _check_matrix(shape: tuple[int, ...], dtype: Any) -> None:
    name = str(dtype).removeprefix("torch.")
    if name.startswith("complex"):
        raise TypeError(
            f"linear_solve: expected a real matrix, got {name}; solve the real system of real "
            "and imaginary parts"
        )
    if name not in ("float32", "float64"):
        raise TypeError(
            f"linear_solve: expected a float32 or float64 matrix, got {name}; convert it"
        )
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] == 0:
        raise ValueError(
            f"linear_solve: expected a square matrix, got shape {tuple(shape)}; use "
            "torch.linalg.lstsq for least squares, or DenseOperator for fields of several axes"
        )


def as_field(name: str, value: Any, operator: LinearOperator) -> Tensor:
    """A right-hand side or start as a tensor that `operator` takes.

    Raises:
        TypeError: If it is complex, an integer, or of another dtype or device than A.
        ValueError: If its shape does not fit, a batch is empty, or it is not finite.
    """
    # a copy, because torch takes neither negative strides nor read-only arrays
    field = torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
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


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        ValueError: With the number of bad entries.
    """
    values = tensor.detach()
    values = values if values.layout == torch.strided else values.values()
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        raise ValueError(
            f"linear_solve: expected finite entries in {name}, got {int((~finite).sum())} NaN "
            "or infinite; find where they come from"
        )
