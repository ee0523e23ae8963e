"""The linear operator that every structured matrix, solver and preconditioner agrees on.

An operator maps fields to fields: inputs keep their axes (``in_shape``), batch axes lead, and
nothing is flattened except by `LinearOperator.to_dense`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Num
from torch import Tensor
from typing_extensions import override

if TYPE_CHECKING:
    from linear_operator import LinearOperator as ExternalLinearOperator


class LinearOperator(ABC):
    """A real linear map A from fields of `in_shape` to fields of `out_shape`.

    Subclasses are final; they give `tensors`, `with_tensors`, `T` and `_mv`. Operators add,
    subtract and compose (``A + B``, ``A - B``, ``A @ B``) and take scalar factors (``2 * A``,
    ``A / 2``).

    Args:
        in_shape: Axes of the fields that A acts on.
        out_shape: Axes of the fields that it returns.
        dtype: Real floating-point dtype of inputs and outputs.
        device: Where inputs, outputs and `tensors` live.
        batch_shape: Leading axes of a batch of operators; they broadcast against those of the
            input. Most operators have none.
        symmetric: Whether A equals its transpose.
        positive_definite: Whether A is symmetric and ``x · A x > 0`` for every x ≠ 0 orthogonal
            to the null space (which is trivial for most operators); it is the caller's promise.
    """

    __array_ufunc__ = None  # NumPy leaves its products with an operator to the operator

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        batch_shape: Sequence[int] = (),
        symmetric: bool = False,
        positive_definite: bool = False,
    ) -> None:
        self.in_shape = tuple(in_shape)
        self.out_shape = tuple(out_shape)
        self.batch_shape = tuple(batch_shape)
        self.dtype = dtype
        # "cuda" without a number means the current device, which tensors name by its number
        self.device = torch.empty(0, device=device).device
        self.symmetric = symmetric or positive_definite
        self.positive_definite = positive_definite
        name = type(self).__name__
        if not dtype.is_floating_point:
            raise TypeError(
                f"{name}: expected a real floating-point dtype, got {dtype}; convert the data "
                "first (a complex system is solved as real and imaginary parts)"
            )
        if self.symmetric and not self.is_square:
            raise ValueError(
                f"{name}: expected a square operator where symmetric or positive definite is "
                f"claimed, got {self.in_shape} -> {self.out_shape}; drop the claim"
            )

    @property
    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that A depends on, in the order that `with_tensors` takes."""

    @abstractmethod
    def with_tensors(self, tensors: Sequence[Tensor]) -> "LinearOperator":
        """The same operator on other tensors of the same shapes (implicit differentiation)."""

    @property
    @abstractmethod
    def T(self) -> "LinearOperator":  # noqa: N802  the field's name for the transpose
        """The transposed operator."""

    @abstractmethod
    def _mv(self, x: Tensor) -> Tensor:
        """A x for an input that `mv` has checked."""

    def mv(self, x: Num[Tensor, "*fields"]) -> Float[Tensor, "*images"]:
        """A x, with axes (*batch, *in_shape) -> (*batch, *out_shape).

        Raises:
            ValueError: If the trailing axes of `x` are not `in_shape`, or its batch axes do
                not broadcast against those of the operator.
            TypeError: If dtype or device differ from the operator's.
        """
        self._check_field("mv", x, self.in_shape)
        return self._mv(x)

    def to_dense(self) -> Float[Tensor, "*batch rows columns"]:
        """A as a matrix over fields flattened in C order."""
        size = math.prod(self.in_shape)
        identity = torch.eye(size, dtype=self.dtype, device=self.device)
        ones = (1,) * len(self.batch_shape)
        columns = self._mv(identity.reshape(size, *ones, *self.in_shape))
        columns = columns.reshape(*columns.shape[: 1 + len(ones)], math.prod(self.out_shape))
        return columns.movedim(0, -1).expand(*self.batch_shape, -1, -1)

    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """The diagonal of a square A, as a field."""
        self.check_square("diagonal")
        flat = torch.diagonal(self.to_dense(), dim1=-2, dim2=-1)
        return flat.reshape(*self.batch_shape, *self.in_shape)

    def trace(self) -> Float[Tensor, "*batch"]:
        """Sum of the diagonal of a square A."""
        return self._flat(self.diagonal()).sum(-1)

    def quadratic_form(self, x: Num[Tensor, "*fields"]) -> Float[Tensor, "*batch"]:
        """The inner product x · A x of each field, A square."""
        self.check_square("quadratic_form")
        return self._flat(x * self.mv(x)).sum(-1)

    @property
    def singular(self) -> bool:
        """Whether A has a null space that is known and not trivial."""
        return self.null_space() is not None

    def null_space(self) -> Float[Tensor, "k *shape"] | None:
        """Orthonormal basis of {x : A x = 0} where it is known and not trivial, else None.

        As a dense array; an operator with many null vectors gives a `range_projection` of its
        own instead, and this for small sizes.
        """
        return None

    def project(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*images"]:
        """`b` without its part in the null space of Aᵀ: the nearest consistent right side."""
        self._check_field("project", b, self.out_shape)
        projection = self.range_projection()
        return b if projection is None else projection(b)

    def range_projection(self) -> Callable[[Tensor], Tensor] | None:
        """What `project` does, prepared once for many fields; None where it does nothing."""
        basis = self.T.null_space()
        if basis is None:
            return None
        axes = len(self.out_shape)
        rows = basis.reshape(basis.shape[0], -1)

        def projection(b: Tensor) -> Tensor:
            flat = b.reshape(*b.shape[: b.ndim - axes], -1)
            return (flat - (flat @ rows.T) @ rows).reshape(b.shape)

        return projection

    def describe_outside(self, b: Num[Tensor, "*images"]) -> str:
        """In words, what of `b` lies outside of the range of A; for an error message."""
        del b
        return ""

    def to_linear_operator(self) -> "ExternalLinearOperator":
        """This operator for gpytorch and linear_operator; axes are flattened in C order."""
        from sciml.linalg.interop import to_linear_operator

        return to_linear_operator(self)

    @property
    def is_square(self) -> bool:
        """Whether inputs and outputs have the same axes."""
        return self.in_shape == self.out_shape

    def check_square(self, function: str) -> None:
        """Raise ValueError, in words, unless the operator is square."""
        if not self.is_square:
            raise ValueError(
                f"{type(self).__name__}.{function}: expected a square operator, got "
                f"{self.in_shape} -> {self.out_shape}; use A.T @ A for least squares"
            )

    def _check_field(self, function: str, x: Tensor, shape: tuple[int, ...]) -> None:
        name = f"{type(self).__name__}.{function}"
        if x.ndim < len(shape) or tuple(x.shape[x.ndim - len(shape) :]) != shape:
            raise ValueError(
                f"{name}: expected a field of shape (*batch, {', '.join(map(str, shape))}), "
                f"got {tuple(x.shape)}; batch axes lead, field axes are not flattened"
            )
        if self.batch_shape:
            _check_batch(name, tuple(x.shape[: x.ndim - len(shape)]), self.batch_shape)
        if x.dtype != self.dtype:
            raise TypeError(
                f"{name}: expected dtype {self.dtype}, got {x.dtype}; convert one with .to()"
            )
        if x.device != self.device:
            raise TypeError(
                f"{name}: expected a field on {self.device}, got {x.device}; "
                "move one with .to()"
            )

    def _flat(self, field: Tensor) -> Tensor:
        """The field axes of an input merged into one."""
        return field.reshape(*field.shape[: field.ndim - len(self.in_shape)], -1)

    def _structured_sum(self, other: "LinearOperator") -> "LinearOperator | None":
        """A + B in a form that keeps its structure; None where there is none."""
        del other
        return None

    def __matmul__(self, other: Any) -> Any:
        """A x for a tensor, the product A B for an operator."""
        if isinstance(other, LinearOperator):
            from sciml.linalg.composite import ProductOperator

            return ProductOperator(self, other)
        return self.mv(other) if isinstance(other, Tensor) else NotImplemented

    def __add__(self, other: "LinearOperator") -> "LinearOperator":
        """A + B."""
        from sciml.linalg.composite import SumOperator

        if not isinstance(other, LinearOperator):
            return NotImplemented
        structured = self._structured_sum(other)
        if structured is None:
            structured = other._structured_sum(self)
        return SumOperator(self, other) if structured is None else structured

    def __mul__(self, factor: float | Tensor) -> "LinearOperator":
        """The operator times a number or a differentiable scalar tensor."""
        from sciml.linalg.composite import ScaledOperator

        return ScaledOperator(self, factor)

    def __rmul__(self, factor: float | Tensor) -> "LinearOperator":
        return self * factor

    def __truediv__(self, divisor: float | Tensor) -> "LinearOperator":
        """The operator divided by a number or a differentiable scalar tensor."""
        return self * (1 / divisor)

    def __neg__(self) -> "LinearOperator":
        return self * -1.0

    def __sub__(self, other: "LinearOperator") -> "LinearOperator":
        return self + (-other)

    @override
    def __repr__(self) -> str:
        batch = f", batch={self.batch_shape}" if self.batch_shape else ""
        shapes = f"{self.in_shape} -> {self.out_shape}"
        return f"{type(self).__name__}({shapes}{batch}, {self.dtype}, {self.device})"


class SolvableOperator(LinearOperator):
    """A square operator whose structure gives A⁻¹ b without iterating on the caller's side."""

    @abstractmethod
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """A⁻¹ b, differentiable in `b` and in `tensors`.

        On a singular A whose `null_space` is known: the least-norm solution for `project(b)`.

        Raises:
            ValueError: If A is not square or is found singular.
        """

    def inverse_quadratic_form(self, x: Num[Tensor, "*fields"]) -> Float[Tensor, "*batch"]:
        """The inner product x · A⁻¹ x of each field: the exponent of a Gaussian, times −2.

        Raises:
            ValueError: As `solve`.
        """
        return self._flat(x * self.solve(x)).sum(-1)


def _check_batch(name: str, batch: tuple[int, ...], own: tuple[int, ...]) -> None:
    try:
        broadcast_shape(batch, own)
    except ValueError as error:
        raise ValueError(
            f"{name}: expected batch axes that broadcast against {own}, the batch of the "
            f"operator, got {batch}; insert axes of length one"
        ) from error


def broadcast_shape(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The common batch shape of several.

    Raises:
        ValueError: If there is none.
    """
    try:
        return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]  # torch leaves it untyped
    except RuntimeError as error:
        raise ValueError(
            "broadcast_shape: expected batch shapes that broadcast, got "
            f"{', '.join(str(tuple(shape)) for shape in shapes)}; insert axes of length one"
        ) from error
