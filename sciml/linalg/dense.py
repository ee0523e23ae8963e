"""Dense, diagonal and identity operators."""

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Num
from torch import Tensor
from typing_extensions import override

from sciml.linalg.factorize import cholesky, cholesky_logdet, lu_solve
from sciml.linalg.operator import LinearOperator, SolvableOperator, broadcast_shape


@final
class DenseOperator(SolvableOperator):
    """A stored matrix, acting on fields flattened in C order.

    Args:
        matrix: The matrix, with leading axes for a batch of operators.
        in_shape: Axes of the input fields; one axis by default.
        out_shape: Axes of the output fields; `in_shape` for a square matrix by default.
        symmetric: Whether the matrix is symmetric.
        positive_definite: Whether it is symmetric positive definite (solves by Cholesky).

    Raises:
        ValueError: If the shapes do not multiply to the sizes of the matrix.
        TypeError: If the matrix is not real floating point.
    """

    def __init__(
        self,
        matrix: Num[Tensor, "*batch_and_matrix"],
        in_shape: Sequence[int] | None = None,
        out_shape: Sequence[int] | None = None,
        *,
        symmetric: bool = False,
        positive_definite: bool = False,
    ) -> None:
        if matrix.ndim < 2 or 0 in matrix.shape[-2:]:
            raise ValueError(
                f"DenseOperator: expected a matrix, got shape {tuple(matrix.shape)}; rows and "
                "columns are the last two axes (DiagonalOperator takes a diagonal)"
            )
        rows, columns = matrix.shape[-2:]
        in_shape = (columns,) if in_shape is None else tuple(in_shape)
        if out_shape is None:
            out_shape = in_shape if rows == columns else (rows,)
        if math.prod(in_shape) != columns or math.prod(out_shape) != rows:
            raise ValueError(
                f"DenseOperator: expected shapes that hold {columns} inputs and {rows} "
                f"outputs, got {tuple(in_shape)} -> {tuple(out_shape)}; give the axes "
                "of the fields"
            )
        super().__init__(
            in_shape,
            out_shape,
            dtype=matrix.dtype,
            device=matrix.device,
            batch_shape=matrix.shape[:-2],
            symmetric=symmetric,
            positive_definite=positive_definite,
        )
        self.matrix = matrix

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.matrix,)

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "DenseOperator":
        return self._like(tensors[0], self.in_shape, self.out_shape)

    @property
    @override
    def T(self) -> "DenseOperator":
        return self._like(self.matrix.mT, self.out_shape, self.in_shape)

    def _like(
        self, matrix: Tensor, in_shape: Sequence[int], out_shape: Sequence[int]
    ) -> "DenseOperator":
        return DenseOperator(
            matrix,
            in_shape,
            out_shape,
            symmetric=self.symmetric,
            positive_definite=self.positive_definite,
        )

    @override
    def _mv(self, x: Tensor) -> Tensor:
        flat = self._flat(x)
        if self.batch_shape:
            image = (self.matrix @ flat.unsqueeze(-1)).squeeze(-1)
        else:
            image = flat @ self.matrix.T
        return image.reshape(*image.shape[:-1], *self.out_shape)

    @override
    def to_dense(self) -> Float[Tensor, "*batch rows columns"]:
        """The matrix itself."""
        return self.matrix

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """A⁻¹ b by Cholesky or LU."""
        self.check_square("solve")
        self._check_field("solve", b, self.out_shape)
        flat = self._flat(b)
        columns = flat.unsqueeze(-1) if self.batch_shape else flat.reshape(-1, flat.shape[-1]).T
        if self.positive_definite:
            factor = cholesky("DenseOperator.solve", self.matrix)
            x = torch.cholesky_solve(columns, factor)
        else:
            x = lu_solve("DenseOperator.solve", self.matrix, columns)
        x = x.squeeze(-1) if self.batch_shape else x.T
        batch = x.shape[:-1] if self.batch_shape else b.shape[: b.ndim - len(self.in_shape)]
        return x.reshape(*batch, *self.in_shape)

    def logdet(self) -> Float[Tensor, "*batch"]:
        """Log determinant.

        Raises:
            ValueError: If A is not square or its determinant is not positive.
        """
        self.check_square("logdet")
        if self.positive_definite:
            return cholesky_logdet(cholesky("DenseOperator.logdet", self.matrix))
        log_magnitude: Tensor
        sign, log_magnitude = torch.linalg.slogdet(self.matrix)
        if bool((sign <= 0).any()):
            raise ValueError(
                "DenseOperator.logdet: expected a positive determinant, got sign "
                f"{float(sign.min()):g}; use torch.linalg.slogdet for signed determinants"
            )
        return log_magnitude


@final
class DiagonalOperator(SolvableOperator):
    """Pointwise multiplication by a field.

    Args:
        values: The diagonal, as a field.
        num_axes: How many trailing axes of `values` belong to the field; all by default, any
            axes before them are a batch of operators.
        positive_definite: Whether all values are positive.
    """

    def __init__(
        self,
        values: Num[Tensor, "*shape"],
        num_axes: int | None = None,
        *,
        positive_definite: bool = False,
    ) -> None:
        axes = values.ndim if num_axes is None else num_axes
        if not 1 <= axes <= values.ndim:
            raise ValueError(
                f"DiagonalOperator: expected between 1 and {values.ndim} field axes, got "
                f"{axes}; a number times the identity is number * IdentityOperator(shape)"
            )
        shape = values.shape[values.ndim - axes :]
        super().__init__(
            shape,
            shape,
            dtype=values.dtype,
            device=values.device,
            batch_shape=values.shape[: values.ndim - axes],
            symmetric=True,
            positive_definite=positive_definite,
        )
        self.values = values
        self._known_invertible = False

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.values,)

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "DiagonalOperator":
        return DiagonalOperator(
            tensors[0], len(self.in_shape), positive_definite=self.positive_definite
        )

    @property
    @override
    def T(self) -> "DiagonalOperator":
        return self

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return self.values * x

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """The values themselves."""
        return self.values

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """`b` divided by the diagonal."""
        self._check_field("solve", b, self.out_shape)
        # looked up once: a preconditioner that asks the device in every step would stall it
        if not self._known_invertible and bool((self.values == 0).any()):
            raise ValueError(
                "DiagonalOperator.solve: expected no zero on the diagonal, got at least one; "
                "leave those points out of the system"
            )
        self._known_invertible = True
        return b / self.values

    def logdet(self) -> Float[Tensor, "*batch"]:
        """Log determinant.

        Raises:
            ValueError: If the determinant is not positive.
        """
        values = self._flat(self.values)
        if bool((values.sign().prod(-1) <= 0).any()):
            raise ValueError(
                "DiagonalOperator.logdet: expected a positive determinant, got one that is "
                "not; check the signs of the diagonal"
            )
        return values.abs().log().sum(-1)


@final
class IdentityOperator(SolvableOperator):
    """The identity on fields of one shape.

    Args:
        shape: Axes of the fields.
        dtype: Floating dtype of the fields; float64 by default, as for `LaplacianOperator`.
        device: Where the fields live; the CPU by default.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        where = torch.device("cpu") if device is None else device
        super().__init__(shape, shape, dtype=dtype, device=where, positive_definite=True)

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return ()

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "IdentityOperator":
        return self

    @property
    @override
    def T(self) -> "IdentityOperator":
        return self

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return x

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """A field of ones."""
        return torch.ones(self.in_shape, dtype=self.dtype, device=self.device)

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """`b` itself."""
        self._check_field("solve", b, self.out_shape)
        return b


def common_placement(name: str, operators: Sequence[LinearOperator]) -> tuple[int, ...]:
    """Refuse operators of unlike dtype or device; the batch shape that they broadcast to.

    Raises:
        TypeError: If dtypes or devices differ; `name` opens the message.
    """
    places = {(operator.dtype, str(operator.device)) for operator in operators}
    if len(places) != 1:
        raise TypeError(
            f"{name}: expected operators of one dtype and device, got "
            f"{sorted(map(str, places))}; convert their tensors first"
        )
    return broadcast_shape(*(operator.batch_shape for operator in operators))
