"""Solves with a sum of one small matrix per axis, factorised once and used for many sides."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.factorize import symmetric_eigendecomposition
from sciml.linalg.kronecker import kronecker_product
from sciml.linalg.kronecker_sum import KroneckerSumOperator
from sciml.linalg.modes import outer_sum

LARGEST_CONDITION = 1e10  # of the eigenvectors; beyond, rounding eats what refinement gains


@final
class SeparableInverse:
    """(A₁ ⊕ … ⊕ A_d + c)⁻¹ for any shift c, from the eigenvectors of each matrix.

    Symmetric matrices have orthonormal eigenvectors. Others are diagonalised too, and where the
    eigenvectors of one are too badly conditioned the Schur form of
    `sciml.linalg.kronecker_sum.KroneckerSumOperator` takes over.

    Args:
        matrices: One square matrix per axis.
        symmetric: Whether each is symmetric.
        free_constant: Whether the sum without a shift is singular, with one function that it
            maps to zero; its inverse then leaves that function out.

    Attributes:
        eigenvalues: Those of each matrix.
        eigenvectors: The columns that belong to them.
        condition: The largest condition number of eigenvectors, 1 where all are symmetric.
    """

    def __init__(
        self,
        matrices: Sequence[Float[Tensor, "_ _"]],
        symmetric: Sequence[bool],
        *,
        free_constant: bool = False,
    ) -> None:
        self.matrices = list(matrices)
        self.eigenvalues: list[Tensor] = []
        self.condition = 1.0
        forward, backward = [], []
        for matrix, is_symmetric in zip(matrices, symmetric, strict=True):
            if is_symmetric:
                values, vectors = symmetric_eigendecomposition("SeparableInverse", matrix)
                inverse = vectors.T
            else:
                values, vectors = torch.linalg.eig(matrix)
                # well conditioned or not, the vectors are invertible to rounding
                inverse, info = torch.linalg.inv_ex(vectors)
                spread = float(torch.linalg.matrix_norm(vectors)) * float(
                    torch.linalg.matrix_norm(inverse)
                )
                self.condition = max(self.condition, spread if int(info) == 0 else float("inf"))
            self.eigenvalues.append(values)
            forward.append(inverse)
            backward.append(vectors)
        dtype = torch.complex128 if not all(symmetric) else torch.float64
        self._forward = [matrix.to(dtype) for matrix in forward]
        self.eigenvectors = [matrix.to(dtype) for matrix in backward]
        self._sum = outer_sum([values.to(dtype) for values in self.eigenvalues])
        self._null: int | None = None
        if free_constant:
            flat = self._sum.view(-1)
            self._null = int(flat.abs().argmin())
            # any other number: what is divided by it is not used
            flat[self._null] = flat.abs().max()

    def __call__(self, right: Float[Tensor, "*shape"], shift: float) -> Float[Tensor, "*shape"]:
        """Solution X of A₁ X + X A₂ᵀ + … + c X = right.

        Raises:
            ValueError: If the sum is singular to rounding.
        """
        if not self.condition < LARGEST_CONDITION:
            first, *rest = self.matrices
            shifted = first + shift * torch.eye(first.shape[0], dtype=first.dtype)
            return KroneckerSumOperator([shifted, *rest]).solve(right)
        shifted_sum = self._sum + shift
        smallest, largest = float(shifted_sum.abs().min()), float(shifted_sum.abs().max())
        if not smallest > self._sum.numel() * torch.finfo(torch.float64).eps * largest:
            raise ValueError(
                "GPHMSolver: expected conditions that single out one solution, got an operator "
                f"with an eigenvalue of magnitude {smallest:.3g} beside {largest:.3g}; give "
                "values on a side (derivatives on all sides leave a constant free)"
            )
        coefficients = kronecker_product(self._forward, right.to(self._sum.dtype))
        coefficients = coefficients / shifted_sum
        if self._null is not None:
            coefficients.view(-1)[self._null] = 0.0
        solution = kronecker_product(self.eigenvectors, coefficients)
        return solution.real if solution.is_complex() else solution
