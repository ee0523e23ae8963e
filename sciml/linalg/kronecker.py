"""Kronecker products of any number of factors, acting on fields with one axis a factor.

With fields in C order, ``(A₁ ⊗ … ⊗ A_d) vec(X)`` is the product of X with A_k along axis k:
nothing of size Π n_k × Π m_k is ever formed.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float, Num
from torch import Tensor
from typing_extensions import override

from sciml.linalg.composite import multiple_of_identity
from sciml.linalg.factorize import (
    check_finite_matrix,
    cholesky,
    cholesky_logdet,
    lu_solve,
    symmetric_eigendecomposition,
)
from sciml.linalg.modes import batched_mode_product, mode_product, mode_solve, outer_product
from sciml.linalg.operator import LinearOperator, SolvableOperator, broadcast_shape


@final
class KroneckerOperator(SolvableOperator):
    """A₁ ⊗ A₂ ⊗ … ⊗ A_d on fields (*batch, n₁, …, n_d).

    Args:
        factors: The matrices A_k, square or not; leading axes are a batch of operators.
        positive_definite: Whether every factor is symmetric positive definite. Then solves and
            log determinants use Cholesky factors; otherwise LU with partial pivoting.

    Raises:
        ValueError: If there is no factor, or one has fewer than two axes.
        TypeError: If the factors differ in dtype or device, or are not real floating point.

    Source: Van Loan, J. Comput. Appl. Math. 123 (2000); mode products as in Kolda and Bader,
    SIAM Review 51 (2009), §2.5.
    """

    def __init__(self, factors: Sequence[Tensor], *, positive_definite: bool = False) -> None:
        factors = tuple(factors)
        check_factors("KroneckerOperator", factors)
        super().__init__(
            [factor.shape[-1] for factor in factors],
            [factor.shape[-2] for factor in factors],
            dtype=factors[0].dtype,
            device=factors[0].device,
            batch_shape=broadcast_shape(*(factor.shape[:-2] for factor in factors)),
            positive_definite=positive_definite,
        )
        self.factors = factors

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return self.factors

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "KroneckerOperator":
        return KroneckerOperator(tensors, positive_definite=self.positive_definite)

    @property
    @override
    def T(self) -> "KroneckerOperator":
        return self.with_tensors([factor.mT for factor in self.factors])

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return kronecker_product(self.factors, x)

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """Outer product of the factors' diagonals."""
        self._check_square_factors("diagonal")
        return outer_product([torch.diagonal(f, dim1=-2, dim2=-1) for f in self.factors])

    @override
    def trace(self) -> Float[Tensor, "*batch"]:
        """Product of the factors' traces."""
        self._check_square_factors("trace")
        total = torch.ones((), dtype=self.dtype, device=self.device)
        for factor in self.factors:
            total = total * torch.diagonal(factor, dim1=-2, dim2=-1).sum(-1)
        return total

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """A⁻¹ b, one factor after another; differentiable in `b` and in the factors.

        Raises:
            ValueError: If a factor is not square, not positive definite where that was
                promised (the message names it and its smallest eigenvalue), or singular.
        """
        self._check_square_factors("solve")
        self._check_field("solve", b, self.out_shape)
        x, axes, batched = b, len(self.in_shape), bool(self.batch_shape)
        for k, factor in enumerate(self.factors):
            name = f"KroneckerOperator.solve: factor {k} of {axes}"
            along: Callable[[Tensor], Tensor]
            if self.positive_definite:
                along = partial(_cholesky_solve, cholesky(name, factor))
            else:
                along = partial(lu_solve, name, factor)
            x = mode_solve(along, x, axes - 1 - k, axes, batched=batched)
        return x

    def logdet(self) -> Float[Tensor, "*batch"]:
        """Log determinant Σ_k (N / n_k) log det A_k, never clamped.

        Each pivot of a Cholesky factor has a relative error of about n_k ε κ_k, with κ_k the
        condition number of the factor and ε the unit roundoff of its dtype, so the result is
        off by at most about Σ_k N n_k ε κ_k: in float64, 1e-10 of its size and better up to
        κ_k of 1e10 or so. Factors with κ_k > 1/ε are refused as not positive definite.

        Raises:
            ValueError: If a factor is not square, not positive definite where that was
                promised, or the determinant is not positive.
        """
        self._check_square_factors("logdet")
        size = math.prod(self.in_shape)
        axes = len(self.factors)
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        sign = torch.ones((), dtype=self.dtype, device=self.device)
        for k, factor in enumerate(self.factors):
            power = size // factor.shape[-1]
            if self.positive_definite:
                root = cholesky(f"KroneckerOperator.logdet: factor {k} of {axes}", factor)
                total = total + power * cholesky_logdet(root)
            else:
                factor_sign, log_magnitude = torch.linalg.slogdet(factor)
                sign = sign * factor_sign**power
                total = total + power * log_magnitude
        if not self.positive_definite and not bool((sign > 0).all()):
            for k, factor in enumerate(self.factors):
                check_finite_matrix(f"KroneckerOperator.logdet: factor {k} of {axes}", factor)
            raise ValueError(
                "KroneckerOperator.logdet: expected a positive determinant, got one of sign "
                f"{float(sign.min()):g}; a log determinant exists only for positive ones"
            )
        return total

    def eigh(self) -> tuple[Float[Tensor, "*batch_and_shape"], "KroneckerOperator"]:
        """Eigenvalues as a field (not sorted) and the orthogonal operator Q of eigenvectors.

        ``A = Q Λ Qᵀ`` for symmetric factors, of which only the lower triangles are read.
        Gradients of eigenvectors do not exist where a factor has a repeated eigenvalue.
        """
        self._check_square_factors("eigh")
        name, axes = "KroneckerOperator.eigh: factor", len(self.factors)
        pairs = [
            symmetric_eigendecomposition(f"{name} {k} of {axes}", factor)
            for k, factor in enumerate(self.factors)
        ]
        vectors = KroneckerOperator([eigenvectors for _, eigenvectors in pairs])
        return outer_product([eigenvalues for eigenvalues, _ in pairs]), vectors

    def cholesky(self) -> "KroneckerOperator":
        """The lower triangular operator L with L Lᵀ = A.

        Raises:
            ValueError: If a factor is not square or not positive definite.
        """
        self._check_square_factors("cholesky")
        name, axes = "KroneckerOperator.cholesky: factor", len(self.factors)
        return KroneckerOperator(
            [cholesky(f"{name} {k} of {axes}", f) for k, f in enumerate(self.factors)]
        )

    def sample(
        self, num_samples: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "num_samples *fields"]:
        """Draws from the Gaussian of mean 0 and covariance A, differentiable in the factors."""
        noise = torch.randn(
            (num_samples, *self.batch_shape, *self.in_shape),
            dtype=self.dtype,
            device=self.device,
            generator=generator,
        )
        return self.cholesky().mv(noise)

    def _check_square_factors(self, function: str) -> None:
        for k, factor in enumerate(self.factors):
            if factor.shape[-1] != factor.shape[-2]:
                raise ValueError(
                    f"KroneckerOperator.{function}: expected square factors, got factor {k} of "
                    f"shape {tuple(factor.shape)}; use A.T @ A for least squares"
                )

    @override
    def _structured_sum(self, other: LinearOperator) -> LinearOperator | None:
        """A + s I for a symmetric A keeps its eigenvectors."""
        from sciml.linalg.kronecker_shift import ShiftedKroneckerOperator

        fits = (other.in_shape, other.dtype) == (self.in_shape, self.dtype)
        shift = multiple_of_identity(other)
        if shift is None or not (fits and self.symmetric):
            return None
        return ShiftedKroneckerOperator(self.factors, shift)


def _cholesky_solve(root: Tensor, columns: Tensor) -> Tensor:
    return torch.cholesky_solve(columns, root)


def kronecker_product(factors: Sequence[Tensor], x: Tensor) -> Tensor:
    """(A₁ ⊗ … ⊗ A_d) x by one mode product a factor, cheapest order first.

    For rectangular factors m_k × n_k the number of operations is least when the axes are
    contracted by increasing ``1/n_k − 1/m_k``: exchanging two neighbours shows it.
    """
    axes = len(factors)
    batched = any(factor.ndim > 2 for factor in factors)
    order = sorted(
        range(axes), key=lambda k: 1 / factors[k].shape[-1] - 1 / max(factors[k].shape[-2], 1)
    )
    for k in order:
        if batched:
            x = batched_mode_product(factors[k], x, axes - 1 - k, axes)
        else:
            x = mode_product(factors[k], x, axes - 1 - k)
    return x


def check_factors(name: str, factors: Sequence[Any], *, square: bool = False) -> None:
    """Refuse factors that cannot make a Kronecker product or sum; `name` opens the message."""
    if not factors:
        raise ValueError(f"{name}: expected at least one factor, got none; pass a list")
    for k, factor in enumerate(factors):
        if not isinstance(factor, Tensor):
            raise TypeError(
                f"{name}: expected tensors, got factor {k} of type {type(factor).__name__}; "
                "convert it, e.g. torch.tensor(factor)"
            )
        if factor.ndim < 2 or 0 in factor.shape[-2:]:
            raise ValueError(
                f"{name}: expected matrices, got factor {k} of shape {tuple(factor.shape)}; "
                "a factor has rows and columns as its last two axes"
            )
        if square and factor.shape[-1] != factor.shape[-2]:
            raise ValueError(
                f"{name}: expected square factors, got factor {k} of shape "
                f"{tuple(factor.shape)}; a Kronecker sum adds A_k to identities"
            )
    places = {(factor.dtype, str(factor.device)) for factor in factors}
    if len(places) != 1 or not factors[0].is_floating_point():
        raise TypeError(
            f"{name}: expected factors of one real floating-point dtype and one device, got "
            f"{sorted(map(str, places))}; convert them with .to()"
        )
