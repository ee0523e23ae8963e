"""The Lanczos process: Ritz vectors of an operator, and the ends of a spectrum."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSystem

_EXHAUSTED = 1e-10
"""Of the largest coefficient: what is left of a vector that adds no new direction."""


def lanczos(
    operator: LinearOperator, start: Float[Tensor, "*space"], num_steps: int
) -> tuple[Float[Tensor, "m *space"], Float[Tensor, " m"], Float[Tensor, " m1"]]:
    r"""Orthonormal basis W of a Krylov space in which A is tridiagonal, :math:`W A W^T = T`.

    Args:
        operator: Symmetric A.
        start: First vector; the space holds nothing that is orthogonal to all of its
            eigenvectors, so choose it in the range of a singular A.
        num_steps: Most basis vectors m; fewer are found where the space is exhausted.

    Returns:
        W, the diagonal of T, and its off-diagonal.

    Raises:
        ValueError: If A is not symmetric, `start` has no norm, or `num_steps` is below one.

    Source: Golub and Van Loan, "Matrix Computations", 4th ed., Section 10.3.1; every vector is
    orthogonalised twice against all earlier ones, so rounding does not repeat Ritz values.
    """
    norm = float(start.norm())
    if not operator.symmetric or not 0 < norm < float("inf") or num_steps < 1:
        raise ValueError(
            "lanczos: expected a symmetric operator, a start of positive norm and num_steps >= "
            f"1, got {operator!r}, norm {norm} and {num_steps}; correct them"
        )
    count = min(num_steps, start.numel())
    basis = torch.empty(count, start.numel(), dtype=start.dtype, device=start.device)
    basis[0] = start.reshape(-1) / norm
    diagonal: list[float] = []
    offdiagonal: list[float] = []
    for step in range(count):
        known = basis[: step + 1]
        image = operator.mv(basis[step].reshape(start.shape)).reshape(-1)
        diagonal.append(float(image @ basis[step]))
        for _ in range(2):
            image = image - known.T @ (known @ image)
        rest = float(image.norm())
        largest = max(map(abs, (*diagonal, *offdiagonal)))
        if step + 1 == count or rest <= _EXHAUSTED * largest:
            break
        offdiagonal.append(rest)
        basis[step + 1] = image / rest
    found = basis[: len(diagonal)].reshape(-1, *start.shape)
    return found, start.new_tensor(diagonal), start.new_tensor(offdiagonal)


def ritz_vectors(
    operator: LinearOperator,
    start: Float[Tensor, "*space"],
    num_steps: int,
    *,
    least: float = 1e-8,
) -> tuple[Float[Tensor, " r"], Float[Tensor, "r *space"]]:
    """Ritz values in ascending order and their orthonormal vectors.

    Args:
        operator: Symmetric A.
        start: First vector of the Lanczos process.
        num_steps: Most steps of it.
        least: Smallest value that is kept; null vectors fall below.

    Raises:
        ValueError: As `lanczos`.
    """
    basis, diagonal, offdiagonal = lanczos(operator, start, num_steps)
    tridiagonal = (
        torch.diag(diagonal) + torch.diag(offdiagonal, 1) + torch.diag(offdiagonal, -1)
    )
    values, vectors = torch.linalg.eigh(tridiagonal)
    kept = values >= least
    fields = vectors[:, kept].T @ basis.reshape(len(basis), -1)
    return values[kept], fields.reshape(-1, *start.shape)


def preconditioned_extremes(
    operator: LinearOperator,
    preconditioner: LinearOperator | None,
    b: Float[Tensor, "*space"],
    *,
    num_steps: int = 60,
) -> tuple[float, float]:
    r"""Least and largest eigenvalue of M A that a right-hand side excites.

    The coefficients α, β of preconditioned CG are those of the Lanczos process for M A, which
    finds the ends of the spectrum first: T has the diagonal
    :math:`1 / \alpha_k + \beta_k / \alpha_{k-1}` and beside it :math:`\sqrt{\beta_k} /
    \alpha_{k-1}`.

    Args:
        operator: Symmetric positive (semi-)definite A.
        preconditioner: Symmetric positive definite M, or None for the identity.
        b: Right-hand side in the range of A.
        num_steps: Most steps; fewer where the residual falls to 1e-12.

    Raises:
        ValueError: If A is not symmetric or `b` is zero.

    Source: Golub and Van Loan, "Matrix Computations", 4th ed., Section 11.3.6.
    """
    if not operator.symmetric or not float(b.norm()) > 0:
        raise ValueError(
            "preconditioned_extremes: expected a symmetric operator and b of positive norm, "
            f"got {operator!r} and {float(b.norm())}; correct them"
        )
    system = LinearSystem(operator, operator.project(b), preconditioner)
    r, least = system.b.clone(), 1e-12 * float(system.b.norm())
    p = torch.zeros_like(r)
    diagonal: list[float] = []
    offdiagonal: list[float] = []
    rho_before, alpha = math.inf, math.inf
    for _ in range(num_steps):
        z = system.precondition(r)
        rho = float((r * z).sum())
        beta = rho / rho_before
        p = z + beta * p
        q = system.apply(p)
        curvature = float((p * q).sum())
        if not (rho > 0 and curvature > 0):
            break  # rounding, or an M that is not positive definite
        if diagonal:
            offdiagonal.append(math.sqrt(beta) / alpha)
        diagonal.append(curvature / rho + beta / alpha)
        alpha, rho_before = rho / curvature, rho
        r = r - alpha * q
        if float(r.norm()) <= least:
            break
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    beside = torch.tensor(offdiagonal, dtype=torch.float64)
    values = torch.linalg.eigvalsh(tridiagonal + torch.diag(beside, 1) + torch.diag(beside, -1))
    return float(values[0]), float(values[-1])
