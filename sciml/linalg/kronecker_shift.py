"""A₁ ⊗ … ⊗ A_d + s I for symmetric factors: Gaussian-process Gram matrices with noise."""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from sciml.linalg.factorize import symmetric_eigendecomposition
from sciml.linalg.implicit import implicit_solve
from sciml.linalg.kronecker import check_factors, kronecker_product
from sciml.linalg.modes import outer_product
from sciml.linalg.operator import LinearOperator, SolvableOperator, broadcast_shape


@final
class ShiftedKroneckerOperator(SolvableOperator):
    """A₁ ⊗ … ⊗ A_d + s I, solved by the eigendecompositions of the factors.

    ``KroneckerOperator(factors, positive_definite=True) + s * IdentityOperator(shape)`` builds
    it. Gradients never differentiate an eigenvector, so repeated eigenvalues are harmless. With
    s > 0 it declares to be positive definite, with s ≤ 0 only to be symmetric.

    Args:
        factors: Symmetric positive semi-definite matrices A_k.
        shift: The scalar s, e.g. the noise variance σ².

    Raises:
        ValueError: If a factor is not square.
        TypeError: If dtypes or devices differ.
    """

    def __init__(self, factors: Sequence[Tensor], shift: Tensor) -> None:
        factors = tuple(factors)
        check_factors("ShiftedKroneckerOperator", factors, square=True)
        if shift.ndim or shift.dtype != factors[0].dtype or shift.device != factors[0].device:
            raise TypeError(
                "ShiftedKroneckerOperator: expected a scalar shift of the factors' dtype and "
                f"device, got shape {tuple(shift.shape)}, {shift.dtype} on {shift.device}; "
                "convert it with torch.as_tensor"
            )
        shape = [factor.shape[-1] for factor in factors]
        super().__init__(
            shape,
            shape,
            dtype=factors[0].dtype,
            device=factors[0].device,
            batch_shape=broadcast_shape(*(factor.shape[:-2] for factor in factors)),
            symmetric=True,
            positive_definite=bool(shift.detach() > 0),
        )
        self.factors = factors
        self.shift = shift

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.factors, self.shift)

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "ShiftedKroneckerOperator":
        return ShiftedKroneckerOperator(tensors[:-1], tensors[-1])

    @property
    @override
    def T(self) -> "ShiftedKroneckerOperator":
        return self

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return kronecker_product(self.factors, x) + self.shift * x

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """Outer product of the factors' diagonals, plus the shift."""
        diagonals = [torch.diagonal(factor, dim1=-2, dim2=-1) for factor in self.factors]
        return outer_product(diagonals) + self.shift

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """A⁻¹ b = Q (Λ + s)⁻¹ Qᵀ b, with gradients by one adjoint solve.

        Raises:
            ValueError: If an eigenvalue is not positive in spite of s > 0 (a factor is not
                positive semi-definite), or zero to working precision where s ≤ 0.
        """
        self._check_field("solve", b, self.out_shape)
        with torch.no_grad():
            eigenvalues, vectors = _eigendecomposition("solve", self.factors, self.shift)
        transposed = [vector.mT for vector in vectors]

        def by_eigenvectors(operator: LinearOperator, right: Tensor) -> Tensor:
            del operator  # the same for both: A is symmetric
            coefficients = kronecker_product(transposed, right) / eigenvalues
            return kronecker_product(vectors, coefficients)

        return implicit_solve(self, b, by_eigenvectors)

    def logdet(self) -> Float[Tensor, "*batch"]:
        """Log determinant Σ log |λ + s|, with gradients to factors and shift.

        Raises:
            ValueError: If the determinant is not positive.
        """
        value: Tensor = _LogDeterminant.apply(self.shift, *self.factors)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
        return value


def _eigendecomposition(
    function: str, factors: Sequence[Tensor], shift: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Shifted eigenvalues as a field, and the eigenvectors of each factor."""
    name, axes = f"ShiftedKroneckerOperator.{function}", len(factors)
    pairs = [
        symmetric_eigendecomposition(f"{name}: factor {k} of {axes}", factor)
        for k, factor in enumerate(factors)
    ]
    eigenvalues = outer_product([values for values, _ in pairs])
    shifted = eigenvalues + shift
    smallest = float(shifted.min())
    if float(shift) > 0 and not smallest > 0:
        raise ValueError(
            f"{name}: expected positive eigenvalues, got {smallest:.3g} at the least; enlarge "
            "the shift"
        )
    # a negative shift cancels against eigenvalues, and leaves rounding where they are equal
    nearest, largest = float(shifted.abs().min()), float(eigenvalues.abs().max())
    if float(shift) <= 0 and not nearest > torch.finfo(shift.dtype).eps * largest:
        raise ValueError(
            f"{name}: expected no zero eigenvalue, got one of magnitude {nearest:.3g} beside "
            f"{largest:.3g}; change the shift"
        )
    return shifted, [vectors for _, vectors in pairs]


class _LogDeterminant(torch.autograd.Function):
    """log det(⊗ A_k + s I); d = tr(A⁻¹ dA) is diagonal in the eigenvectors of each factor."""

    @staticmethod
    @override
    def forward(ctx: Any, shift: Tensor, *factors: Tensor) -> Tensor:
        shifted, vectors = _eigendecomposition("logdet", factors, shift)
        if bool((shifted.sign().flatten(-len(factors)).prod(-1) < 0).any()):
            raise ValueError(
                "ShiftedKroneckerOperator.logdet: expected a positive determinant, got a "
                "negative one; a log determinant exists only for positive ones"
            )
        ctx.save_for_backward(shift, shifted, *vectors, *factors)
        return shifted.abs().log().flatten(-len(factors)).sum(-1)

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _, shifted, *rest = ctx.saved_tensors
        axes = len(rest) // 2
        vectors, factors = rest[:axes], rest[axes:]
        weight = gradient.reshape(*gradient.shape, *(1,) * axes) / shifted
        spectra = [
            torch.diagonal(vector.mT @ factor @ vector, dim1=-2, dim2=-1)
            for vector, factor in zip(vectors, factors, strict=True)
        ]
        to_factors = []
        for k, (vector, factor) in enumerate(zip(vectors, factors, strict=True)):
            others = [*spectra]
            others[k] = torch.ones_like(spectra[k])
            summed = tuple(-axes + j for j in range(axes) if j != k)
            products = weight * outer_product(others)
            spectrum = products.sum(summed) if summed else products
            derivative = (vector * spectrum.unsqueeze(-2)) @ vector.mT
            to_factors.append(derivative.sum_to_size(factor.shape))
        return weight.sum(), *to_factors
