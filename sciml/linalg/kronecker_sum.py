"""Kronecker sums: separable operators, solved by diagonalising or triangularising each axis."""

from collections.abc import Sequence
from typing import final

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Num
from torch import Tensor
from typing_extensions import override

from sciml.linalg.composite import multiple_of_identity
from sciml.linalg.factorize import check_finite_matrix, symmetric_eigendecomposition
from sciml.linalg.implicit import implicit_solve
from sciml.linalg.kronecker import check_factors, kronecker_product
from sciml.linalg.modes import batched_mode_product, mode_product, outer_sum
from sciml.linalg.operator import LinearOperator, SolvableOperator, broadcast_shape


@final
class KroneckerSumOperator(SolvableOperator):
    """A₁ ⊗ I ⊗ … + I ⊗ A₂ ⊗ … + …: A_k acts along axis k of a field (*batch, n₁, …, n_d).

    Args:
        factors: The square matrices A_k; leading axes are a batch of operators.
        symmetric: Whether every factor is symmetric; then `solve` diagonalises them.
        positive_definite: Whether moreover the sum is positive definite.

    Raises:
        ValueError: If there is no factor or one is not square.
        TypeError: If the factors differ in dtype or device, or are not real floating point.
    """

    def __init__(
        self,
        factors: Sequence[Tensor],
        *,
        symmetric: bool = False,
        positive_definite: bool = False,
    ) -> None:
        factors = tuple(factors)
        check_factors("KroneckerSumOperator", factors, square=True)
        shape = [factor.shape[-1] for factor in factors]
        super().__init__(
            shape,
            shape,
            dtype=factors[0].dtype,
            device=factors[0].device,
            batch_shape=broadcast_shape(*(factor.shape[:-2] for factor in factors)),
            symmetric=symmetric,
            positive_definite=positive_definite,
        )
        self.factors = factors

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return self.factors

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "KroneckerSumOperator":
        return KroneckerSumOperator(
            tensors, symmetric=self.symmetric, positive_definite=self.positive_definite
        )

    @property
    @override
    def T(self) -> "KroneckerSumOperator":
        return self.with_tensors([factor.mT for factor in self.factors])

    @override
    def _mv(self, x: Tensor) -> Tensor:
        axes = len(self.factors)
        total: Tensor | None = None
        for k, factor in enumerate(self.factors):
            if self.batch_shape:
                term = batched_mode_product(factor, x, axes - 1 - k, axes)
            else:
                term = mode_product(factor, x, axes - 1 - k)
            total = term if total is None else total + term
        return x if total is None else total

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """Outer sum of the factors' diagonals."""
        return outer_sum([torch.diagonal(f, dim1=-2, dim2=-1) for f in self.factors])

    def eigenvalues(self) -> Float[Tensor, "*batch_and_shape"]:
        """Eigenvalues as a field, for symmetric factors (lower triangles are read).

        Raises:
            ValueError: If the operator was not declared symmetric.
        """
        if not self.symmetric:
            raise ValueError(
                "KroneckerSumOperator.eigenvalues: expected symmetric=True, got an operator "
                "without it; declare it where every factor is symmetric"
            )
        return outer_sum([torch.linalg.eigvalsh(factor) for factor in self.factors])

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """A⁻¹ b; gradients by one adjoint solve.

        Symmetric factors are diagonalised: fast diagonalisation, O(N Σ n_k) a right-hand side.
        Others are brought to complex Schur form on the CPU (any normality: no eigenvector is
        inverted) and back-substituted block by block along all axes but the last, on the
        operator's device, one operator of a batch after the other.

        Source: Lynch, Rice and Thomas, Numer. Math. 6 (1964); Bartels and Stewart, Comm. ACM
        15 (1972), Algorithm 432, here in complex Schur form and for any number of axes.

        Raises:
            ValueError: If an eigenvalue of the sum is zero to working precision, or a factor
                is not finite.
        """
        self._check_field("solve", b, self.out_shape)
        return implicit_solve(self, b, _solve_symmetric if self.symmetric else _solve_schur)

    @override
    def _structured_sum(self, other: LinearOperator) -> LinearOperator | None:
        """A + s I is a Kronecker sum, with s added to the first factor."""
        shift = multiple_of_identity(other)
        if shift is None or (other.in_shape, other.dtype) != (self.in_shape, self.dtype):
            return None
        first, *rest = self.factors
        identity = torch.eye(first.shape[-1], dtype=self.dtype, device=self.device)
        return KroneckerSumOperator(
            [first + shift * identity, *rest],
            symmetric=self.symmetric,
            positive_definite=self.positive_definite and bool(shift.detach() >= 0),
        )


def _solve_symmetric(operator: LinearOperator, b: Tensor) -> Tensor:
    name, axes = "KroneckerSumOperator.solve: factor", len(operator.tensors)
    pairs = [
        symmetric_eigendecomposition(f"{name} {k} of {axes}", factor)
        for k, factor in enumerate(operator.tensors)
    ]
    eigenvalues = outer_sum([values for values, _ in pairs])
    _check_nonzero(eigenvalues.flatten(-axes))
    vectors = [eigenvectors for _, eigenvectors in pairs]
    coefficients = kronecker_product([vector.mT for vector in vectors], b) / eigenvalues
    return kronecker_product(vectors, coefficients)


def _solve_schur(operator: LinearOperator, b: Tensor) -> Tensor:
    batch, axes = operator.batch_shape, len(operator.in_shape)
    factors = [factor.expand(*batch, *factor.shape[-2:]) for factor in operator.tensors]
    x = torch.empty_like(b)
    fields = (slice(None),) * axes
    for index in np.ndindex(*batch):  # the batch of the operator is the last of the field's
        own = (..., *index, *fields)
        x[own] = _solve_sylvester([factor[index] for factor in factors], b[own])
    return x


def _solve_sylvester(factors: Sequence[Tensor], b: Tensor) -> Tensor:
    """(A₁ ⊕ … ⊕ A_d)⁻¹ b for one operator; b has axes (*batch, n₁, …, n_d)."""
    triangles, unitaries = [], []
    for k, factor in enumerate(factors):
        check_finite_matrix(f"KroneckerSumOperator.solve: factor {k} of {len(factors)}", factor)
        triangle, unitary = scipy.linalg.schur(factor.cpu().numpy(), output="complex")
        triangles.append(torch.from_numpy(triangle).to(factor.device))
        unitaries.append(torch.from_numpy(unitary).to(factor.device))
    _check_nonzero(outer_sum([torch.diagonal(triangle) for triangle in triangles]).flatten())
    axes = len(triangles)
    right = kronecker_product([unitary.mH for unitary in unitaries], b.to(triangles[0].dtype))
    # the axis that is eliminated leads, batch axes are the last: columns of each small solve
    columns = right.reshape(-1, *right.shape[right.ndim - axes :]).movedim(0, -1)
    solved = _back_substitute(triangles, columns, torch.zeros_like(triangles[0][0, 0]))
    solution = solved.movedim(-1, 0).reshape(right.shape)
    return kronecker_product(unitaries, solution).real


def _back_substitute(triangles: Sequence[Tensor], b: Tensor, shift: Tensor) -> Tensor:
    """(⊕ T_k + shift) x = b for upper triangular T_k; b has axes (n₁, …, n_d, columns)."""
    triangle, *others = triangles
    size = triangle.shape[0]
    if not others:
        shifted = triangle + shift * torch.eye(size, dtype=b.dtype, device=b.device)
        last: Tensor = torch.linalg.solve_triangular(shifted, b, upper=True)
        return last
    x = torch.zeros_like(b)
    for i in range(size - 1, -1, -1):
        known = torch.tensordot(triangle[i, i + 1 :], x[i + 1 :], dims=1)
        x[i] = _back_substitute(others, b[i] - known, shift + triangle[i, i])
    return x


def _check_nonzero(eigenvalues: Tensor) -> None:
    """Refuse a zero among the eigenvalues (*batch, n) of any operator of a batch."""
    magnitudes = eigenvalues.abs()
    smallest, largest = magnitudes.amin(-1), magnitudes.amax(-1)
    singular = ~(smallest > torch.finfo(magnitudes.dtype).eps * largest)
    if bool(singular.any()):
        raise ValueError(
            "KroneckerSumOperator.solve: expected no zero eigenvalue, got one of magnitude "
            f"{float(smallest[singular][0]):.3g} beside {float(largest[singular][0]):.3g}; "
            "shift a factor by a multiple of the identity"
        )
