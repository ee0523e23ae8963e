"""Kronecker sums: separable operators, solved by diagonalising or triangularising each axis."""

from collections.abc import Sequence
from typing import final

import scipy.linalg
import torch
from jaxtyping import Float, Num
from torch import Tensor
from typing_extensions import override

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
        operator's device.

        Source: Lynch, Rice and Thomas, Numer. Math. 6 (1964); Bartels and Stewart, Comm. ACM
        15 (1972), Algorithm 432, here in complex Schur form and for any number of axes.

        Raises:
            ValueError: If an eigenvalue of the sum is zero to working precision, or if a batch
                of operators is not symmetric.
        """
        self._check_field("solve", b, self.out_shape)
        if not self.symmetric and self.batch_shape:
            raise ValueError(
                "KroneckerSumOperator.solve: expected symmetric factors or no batch of "
                f"operators, got batch shape {self.batch_shape}; solve them one by one"
            )
        return implicit_solve(self, b, _solve_symmetric if self.symmetric else _solve_schur)


def _solve_symmetric(operator: LinearOperator, b: Tensor) -> Tensor:
    pairs = [torch.linalg.eigh(factor) for factor in operator.tensors]
    eigenvalues = outer_sum([pair.eigenvalues for pair in pairs])
    _check_nonzero(eigenvalues)
    vectors = [pair.eigenvectors for pair in pairs]
    coefficients = kronecker_product([vector.mT for vector in vectors], b) / eigenvalues
    return kronecker_product(vectors, coefficients)


def _solve_schur(operator: LinearOperator, b: Tensor) -> Tensor:
    triangles, unitaries = [], []
    for factor in operator.tensors:
        triangle, unitary = scipy.linalg.schur(factor.cpu().numpy(), output="complex")
        triangles.append(torch.from_numpy(triangle).to(factor.device))
        unitaries.append(torch.from_numpy(unitary).to(factor.device))
    _check_nonzero(outer_sum([torch.diagonal(triangle) for triangle in triangles]))
    axes = len(triangles)
    right = kronecker_product([unitary.mH for unitary in unitaries], b.to(triangles[0].dtype))
    # the axis that is eliminated leads, batch axes are the last: columns of each small solve
    batch = right.shape[: right.ndim - axes]
    columns = right.reshape(-1, *right.shape[right.ndim - axes :]).movedim(0, -1)
    solved = _back_substitute(triangles, columns, torch.zeros_like(triangles[0][0, 0]))
    solution = solved.movedim(-1, 0).reshape(*batch, *operator.in_shape)
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
    magnitudes = eigenvalues.abs()
    smallest, largest = float(magnitudes.min()), float(magnitudes.max())
    if not smallest > torch.finfo(magnitudes.dtype).eps * largest:
        raise ValueError(
            f"KroneckerSumOperator.solve: expected no zero eigenvalue, got one of magnitude "
            f"{smallest:.3g} beside {largest:.3g}; shift a factor by a multiple of the identity"
        )
