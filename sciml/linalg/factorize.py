"""Factorisations of small dense matrices that fail in words."""

import torch
from jaxtyping import Float, Num
from torch import Tensor


def cholesky(name: str, matrix: Num[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Lower Cholesky factor L with L Lᵀ = `matrix`; `name` opens the error message.

    Raises:
        ValueError: If the matrix is not positive definite in its precision (the message holds
            its smallest eigenvalue), or not finite.
    """
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(matrix)
    if bool(info.any()):
        check_finite_matrix(name, matrix)
        with torch.no_grad():
            smallest = float(torch.linalg.eigvalsh(matrix)[..., 0].min())
        raise ValueError(
            f"{name}: expected a positive definite matrix, got smallest eigenvalue "
            f"{smallest:.3g}; add a multiple of the identity to it, or drop "
            "positive_definite=True"
        )
    return factor


def check_finite_matrix(name: str, matrix: Num[Tensor, "*batch n m"]) -> None:
    """Say that NaN or infinity is why a factorisation failed; called only when one has.

    Raises:
        ValueError: If an entry is not finite.
    """
    bad = int((~torch.isfinite(matrix)).sum())
    if bad:
        raise ValueError(
            f"{name}: expected finite entries, got {bad} NaN or infinite; find where they "
            "come from"
        )


def symmetric_eigendecomposition(
    name: str, matrix: Num[Tensor, "*batch n n"]
) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch n n"]]:
    """Ascending eigenvalues and orthonormal eigenvectors; the lower triangle is read.

    Raises:
        ValueError: If the matrix is not finite.
    """
    try:
        eigenvalues, eigenvectors = torch.linalg.eigh(matrix)
    except RuntimeError:
        check_finite_matrix(name, matrix)
        raise
    if not bool(torch.isfinite(eigenvalues).all()):
        check_finite_matrix(name, matrix)
    return eigenvalues, eigenvectors


def cholesky_logdet(factor: Num[Tensor, "*batch n n"]) -> Float[Tensor, "*batch"]:
    """Log determinant of L Lᵀ."""
    return 2.0 * torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)


def lu_solve(
    name: str, matrix: Num[Tensor, "*batch n n"], right: Num[Tensor, "*batch2 n k"]
) -> Float[Tensor, "*batch3 n k"]:
    """Solution of a dense square system by LU with partial pivoting.

    Raises:
        ValueError: If a pivot is exactly zero.
    """
    solution: Tensor
    solution, info = torch.linalg.solve_ex(matrix, right)
    if bool(info.any()):
        raise ValueError(
            f"{name}: expected an invertible matrix, got an exactly singular one; regularise "
            "it, or solve the least-squares problem instead"
        )
    return solution
