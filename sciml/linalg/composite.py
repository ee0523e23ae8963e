"""Operators made of operators: sums, products, multiples, transposes."""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, final

import torch
from jaxtyping import Float, Num
from torch import Tensor
from typing_extensions import override

from sciml.linalg.dense import IdentityOperator, common_placement
from sciml.linalg.operator import LinearOperator, SolvableOperator, broadcast_shape


def _split(
    operators: Sequence[LinearOperator], tensors: Sequence[Tensor]
) -> list[LinearOperator]:
    """Each operator on its share of the tensors."""
    rebuilt, start = [], 0
    for operator in operators:
        stop = start + len(operator.tensors)
        rebuilt.append(operator.with_tensors(tensors[start:stop]))
        start = stop
    return rebuilt


@final
class SumOperator(LinearOperator):
    """A₁ + A₂ + … of operators between the same spaces.

    Args:
        terms: The summands, at least one.

    Raises:
        ValueError: If their shapes differ.
        TypeError: If their dtypes or devices differ.
    """

    def __init__(self, *terms: LinearOperator) -> None:
        shapes = {(term.in_shape, term.out_shape) for term in terms}
        if len(shapes) != 1:
            raise ValueError(
                f"SumOperator: expected terms between the same spaces, got {sorted(shapes)}; "
                "reshape their fields to common axes"
            )
        batch_shape = common_placement("SumOperator", terms)
        first = terms[0]
        super().__init__(
            first.in_shape,
            first.out_shape,
            dtype=first.dtype,
            device=first.device,
            batch_shape=batch_shape,
            symmetric=all(term.symmetric for term in terms),
            # semi-definite terms are welcome as long as one is strictly definite
            positive_definite=all(term.positive_definite for term in terms)
            and not all(term.singular for term in terms),
        )
        self.terms = terms

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(tensor for term in self.terms for tensor in term.tensors)

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "SumOperator":
        return SumOperator(*_split(self.terms, tensors))

    @property
    @override
    def T(self) -> "SumOperator":
        return SumOperator(*(term.T for term in self.terms))

    @override
    def _mv(self, x: Tensor) -> Tensor:
        image = self.terms[0]._mv(x)
        for term in self.terms[1:]:
            image = image + term._mv(x)
        return image

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """Sum of the diagonals."""
        self.check_square("diagonal")
        total = self.terms[0].diagonal()
        for term in self.terms[1:]:
            total = total + term.diagonal()
        return total


@final
class ProductOperator(LinearOperator):
    """The composition A B: first B, then A.

    Args:
        left: A.
        right: B.

    Raises:
        ValueError: If A does not take what B gives.
        TypeError: If their dtypes or devices differ.
    """

    def __init__(self, left: LinearOperator, right: LinearOperator) -> None:
        if left.in_shape != right.out_shape:
            raise ValueError(
                f"ProductOperator: expected a left operator on {right.out_shape}, got one on "
                f"{left.in_shape}; the right operator is applied first"
            )
        super().__init__(
            right.in_shape,
            left.out_shape,
            dtype=left.dtype,
            device=left.device,
            batch_shape=common_placement("ProductOperator", (left, right)),
        )
        self.left = left
        self.right = right

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return self.left.tensors + self.right.tensors

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "ProductOperator":
        left, right = _split((self.left, self.right), tensors)
        return ProductOperator(left, right)

    @property
    @override
    def T(self) -> "ProductOperator":
        return ProductOperator(self.right.T, self.left.T)

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return self.left._mv(self.right._mv(x))


@final
class ScaledOperator(SolvableOperator):
    """A number times an operator.

    Args:
        operator: A.
        factor: The number; a scalar tensor is differentiated.

    Raises:
        TypeError: If `factor` is neither a number nor a real scalar tensor.
    """

    def __init__(self, operator: LinearOperator, factor: float | Tensor) -> None:
        scale = _as_scale(factor, operator)
        super().__init__(
            operator.in_shape,
            operator.out_shape,
            dtype=operator.dtype,
            device=operator.device,
            batch_shape=operator.batch_shape,
            symmetric=operator.symmetric,
            positive_definite=operator.positive_definite and float(scale.detach()) > 0,
        )
        self.operator = operator
        self.factor = scale

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.factor, *self.operator.tensors)

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "ScaledOperator":
        return ScaledOperator(self.operator.with_tensors(tensors[1:]), tensors[0])

    @property
    @override
    def T(self) -> "ScaledOperator":
        return ScaledOperator(self.operator.T, self.factor)

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return self.factor * self.operator._mv(x)

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """The factor times the diagonal of A."""
        return self.factor * self.operator.diagonal()

    @property
    @override
    def singular(self) -> bool:
        return self.operator.singular

    @override
    def null_space(self) -> Float[Tensor, "k *shape"] | None:
        """That of A."""
        return self.operator.null_space()

    @override
    def range_projection(self) -> Callable[[Tensor], Tensor] | None:
        return self.operator.range_projection()

    @override
    def describe_outside(self, b: Num[Tensor, "*images"]) -> str:
        return self.operator.describe_outside(b)

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """A⁻¹ b over the factor, where A has a direct solve."""
        if not isinstance(self.operator, SolvableOperator):
            raise ValueError(
                f"ScaledOperator.solve: expected an operator with a direct solve, got "
                f"{type(self.operator).__name__}; use sciml.linear_solve"
            )
        if float(self.factor.detach()) == 0:
            raise ValueError("ScaledOperator.solve: expected a factor other than 0, got 0")
        return self.operator.solve(b) / self.factor


def _as_scale(factor: Any, operator: LinearOperator) -> Tensor:
    """A number or scalar tensor in the operator's dtype."""
    if isinstance(factor, Tensor) and not factor.ndim and not factor.is_complex():
        return factor.to(operator.dtype)
    if isinstance(factor, Real):
        return torch.tensor(float(factor), dtype=operator.dtype, device=operator.device)
    got = type(factor).__name__
    if isinstance(factor, Tensor):
        got = f"a {factor.dtype} tensor of shape {tuple(factor.shape)}"
    raise TypeError(
        f"ScaledOperator: expected a scalar factor, a real number or tensor, got {got}; use "
        "DiagonalOperator(values) @ A to scale points"
    )


def multiple_of_identity(operator: LinearOperator) -> Tensor | None:
    """The scalar s where the operator is s I by its construction, else None."""
    if isinstance(operator, IdentityOperator):
        return torch.ones((), dtype=operator.dtype, device=operator.device)
    if isinstance(operator, ScaledOperator):
        inner = multiple_of_identity(operator.operator)
        return None if inner is None else operator.factor * inner
    return None


@final
class TransposedOperator(LinearOperator):
    """The transpose of an operator that only knows its action, by automatic differentiation.

    ``Aᵀ y`` is the vector-Jacobian product of ``x ↦ A x``: one action of A forward and one
    backward. Operators with a closed form of their transpose do not use this.

    Args:
        operator: A.
    """

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(
            operator.out_shape,
            operator.in_shape,
            dtype=operator.dtype,
            device=operator.device,
            batch_shape=operator.batch_shape,
            symmetric=operator.symmetric,
            positive_definite=operator.positive_definite,
        )
        self.operator = operator

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return self.operator.tensors

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "TransposedOperator":
        return TransposedOperator(self.operator.with_tensors(tensors))

    @property
    @override
    def T(self) -> LinearOperator:
        return self.operator

    @override
    def _mv(self, x: Tensor) -> Tensor:
        fields = x.shape[: x.ndim - len(self.in_shape)]
        batch = broadcast_shape(fields, self.batch_shape)
        start = torch.zeros(
            *batch, *self.operator.in_shape, dtype=self.dtype, device=self.device
        )
        pullback = torch.func.vjp(self.operator._mv, start)[1]
        image: Tensor = pullback(x.expand(*batch, *self.in_shape))[0]
        return image
