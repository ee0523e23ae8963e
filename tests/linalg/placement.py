"""Operators of the test lists on another device."""

import scipy.sparse
import torch

from sciml.linalg.dense import IdentityOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.sparse import SparseOperator


def placed(operator: LinearOperator, device: str) -> LinearOperator:
    """The operator on another device; those with more than tensors are built there anew."""
    where = torch.empty(0, device=device).device
    if isinstance(operator, LaplacianOperator):
        there = LaplacianOperator(
            operator.in_shape,
            [axis.spacing for axis in operator.axes],
            boundary=[axis.boundary for axis in operator.axes],
            grid=[axis.grid for axis in operator.axes],
            dtype=operator.dtype,
            device=where,
        )
        return there.T if operator._transposed else there
    if isinstance(operator, IdentityOperator):
        return IdentityOperator(operator.in_shape, dtype=operator.dtype, device=where)
    if isinstance(operator, PoissonOperator):
        tensors = [tensor.numpy() for tensor in operator.tensors]
        return PoissonOperator(
            operator.flags,
            operator.spacing,
            coefficients=None if operator.coefficients is None else tensors.pop(0),
            face_fraction=tensors or None,
            num_axes=len(operator.in_shape),
            dtype=operator.dtype,
            device=where,
        )
    if isinstance(operator, SparseOperator):
        return SparseOperator.from_scipy(
            scipy.sparse.csr_array(operator.to_dense().numpy()),
            operator.in_shape,
            operator.out_shape,
            symmetric=operator.symmetric,
            positive_definite=operator.positive_definite,
            device=where,
        )
    return operator.with_tensors([tensor.to(device) for tensor in operator.tensors])
