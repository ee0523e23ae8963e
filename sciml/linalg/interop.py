"""To and from the operators of linear_operator, which gpytorch works with.

Importing this module imports linear_operator; the rest of `sciml.linalg` does not.
"""

import math
from collections.abc import Sequence
from typing import Any, final

import linear_operator.operators as external
import torch
from jaxtyping import Num
from torch import Tensor
from typing_extensions import override

from sciml.linalg.composite import ProductOperator, ScaledOperator, SumOperator
from sciml.linalg.dense import DenseOperator, DiagonalOperator, IdentityOperator
from sciml.linalg.kronecker import KroneckerOperator
from sciml.linalg.kronecker_shift import ShiftedKroneckerOperator
from sciml.linalg.operator import LinearOperator
from sciml.linalg.toeplitz import ToeplitzOperator


def to_linear_operator(operator: LinearOperator) -> external.LinearOperator:
    """The same operator in linear_operator's classes, where it has one, else wrapped.

    Fields are flattened in C order. Gradients reach the same tensors.
    """
    size = math.prod(operator.in_shape)
    match operator:
        case DenseOperator():
            return external.to_linear_operator(operator.matrix)
        case DiagonalOperator():
            return external.DiagLinearOperator(operator.values.flatten(-len(operator.in_shape)))
        case IdentityOperator():
            return external.IdentityLinearOperator(
                size, dtype=operator.dtype, device=operator.device
            )
        case KroneckerOperator():
            return external.KroneckerProductLinearOperator(*operator.factors)
        case ShiftedKroneckerOperator():
            product = external.KroneckerProductLinearOperator(*operator.factors)
            return product.add_diagonal(operator.shift)
        case ToeplitzOperator(row=None):
            return external.ToeplitzLinearOperator(operator.column)
        case ScaledOperator():
            return to_linear_operator(operator.operator) * operator.factor
        case SumOperator():
            return external.SumLinearOperator(*map(to_linear_operator, operator.terms))
        case ProductOperator():
            return external.MatmulLinearOperator(
                to_linear_operator(operator.left), to_linear_operator(operator.right)
            )
        case _:
            return _Wrapped(*operator.tensors, operator=operator)


def from_linear_operator(
    operator: external.LinearOperator,
    *,
    symmetric: bool = False,
    positive_definite: bool = False,
) -> LinearOperator:
    """An operator of linear_operator as one of ours, on fields with one axis.

    Dense, diagonal and symmetric Toeplitz operators keep their structure; a Kronecker product
    of dense factors becomes a `KroneckerOperator`, one field axis a factor. Anything else is
    wrapped: products and transposes are delegated.

    Args:
        operator: The operator.
        symmetric: Whether it is symmetric.
        positive_definite: Whether it is symmetric positive definite.
    """
    if isinstance(operator, external.DiagLinearOperator):
        values = operator.diagonal(dim1=-2, dim2=-1)
        return DiagonalOperator(values, 1, positive_definite=positive_definite)
    if isinstance(operator, external.ToeplitzLinearOperator):
        return ToeplitzOperator(operator.column, positive_definite=positive_definite)
    if isinstance(operator, external.KroneckerProductLinearOperator):
        factors = [factor.to_dense() for factor in operator.linear_ops]
        return KroneckerOperator(factors, positive_definite=positive_definite)
    if isinstance(operator, external.DenseLinearOperator):
        return DenseOperator(
            operator.to_dense(), symmetric=symmetric, positive_definite=positive_definite
        )
    return ExternalOperator(operator, symmetric=symmetric, positive_definite=positive_definite)


@final
class ExternalOperator(LinearOperator):
    """Any operator of linear_operator, by its products.

    Args:
        operator: The operator.
        symmetric: Whether it is symmetric.
        positive_definite: Whether it is symmetric positive definite.
    """

    def __init__(
        self,
        operator: external.LinearOperator,
        *,
        symmetric: bool = False,
        positive_definite: bool = False,
    ) -> None:
        super().__init__(
            (operator.shape[-1],),
            (operator.shape[-2],),
            dtype=operator.dtype,
            # some of theirs do not say where they are
            device=operator.device or operator.representation()[0].device,
            batch_shape=operator.batch_shape,
            symmetric=symmetric,
            positive_definite=positive_definite,
        )
        self.operator = operator

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(self.operator.representation())

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "ExternalOperator":
        return self._like(self.operator.representation_tree()(*tensors))

    @property
    @override
    def T(self) -> "ExternalOperator":
        return self._like(self.operator.mT)

    def _like(self, operator: external.LinearOperator) -> "ExternalOperator":
        return ExternalOperator(
            operator, symmetric=self.symmetric, positive_definite=self.positive_definite
        )

    @override
    def _mv(self, x: Tensor) -> Tensor:
        if self.batch_shape:
            return self._product(x.unsqueeze(-1)).squeeze(-1)
        image = self._product(x.reshape(-1, x.shape[-1]).mT).mT
        return image.reshape(*x.shape[:-1], *self.out_shape)

    def _product(self, columns: Tensor) -> Tensor:
        product = self.operator.matmul(columns)
        # a zero operator gives another one
        dense: Tensor = product if isinstance(product, Tensor) else product.to_dense()
        return dense


@final
class _Wrapped(external.LinearOperator):  # type: ignore[misc]  # linear_operator is untyped
    """One of our operators with linear_operator's interface."""

    def __init__(self, *tensors: Tensor, operator: LinearOperator) -> None:
        super().__init__(*tensors, operator=operator)
        self.operator = operator.with_tensors(tensors)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the entries."""
        return self.operator.dtype

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return self.operator.device

    def _matmul(self, rhs: Num[Tensor, "*fields"]) -> Tensor:
        columns = rhs.unsqueeze(-1) if rhs.ndim == 1 else rhs
        missing = len(self.operator.batch_shape) - (columns.ndim - 2)
        columns = columns.reshape((1,) * max(0, missing) + columns.shape)
        fields = columns.mT.movedim(-2, 0)  # one field a column, columns leading the batch
        image = self.operator.mv(fields.reshape(*fields.shape[:-1], *self.operator.in_shape))
        flat = image.flatten(image.ndim - len(self.operator.out_shape))
        product = flat.movedim(0, -1)
        return product.squeeze(-1) if rhs.ndim == 1 else product

    def _diagonal(self) -> Tensor:
        return self.operator.diagonal().flatten(-len(self.operator.in_shape))

    # entries are looked up in the dense matrix: the general way batches the tensors that an
    # operator depends on, whose axes mean what only the operator knows
    def _getitem(self, row_index: Any, col_index: Any, *batch_indices: Any) -> Any:
        index = (*batch_indices, row_index, col_index)
        return external.to_linear_operator(self.operator.to_dense()[index])

    def _get_indices(self, row_index: Any, col_index: Any, *batch_indices: Any) -> Tensor:
        entries: Tensor = self.operator.to_dense()[(*batch_indices, row_index, col_index)]
        return entries

    def _size(self) -> torch.Size:
        rows, columns = math.prod(self.operator.out_shape), math.prod(self.operator.in_shape)
        return torch.Size((*self.operator.batch_shape, rows, columns))

    def _transpose_nonbatch(self) -> Any:
        transposed = self.operator.T
        return _Wrapped(*transposed.tensors, operator=transposed)
