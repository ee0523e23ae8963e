"""Deflation: a few slow directions are solved for exactly, the rest is left to another M."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.preconditioners.base import FixedPreconditioner


@final
class Deflation(FixedPreconditioner):
    r"""M with the span of W treated exactly: what deflated conjugate gradients do.

    .. math:: M = P^T M_0 P + W E^{-1} W^T, \quad E = W^T A W, \quad P = I - A W E^{-1} W^T

    The eigenvalues that belong to W become one, the others are those of M₀ A on the rest. In
    this form M is symmetric positive definite, so that `CG` takes it like any other, from any
    start; the steps are those of the classical deflated iteration.

    Args:
        operator: Symmetric positive (semi-)definite A.
        vectors: W, k linearly independent fields whose span holds no null vector of A; see
            `ritz_vectors`.
        inner: M₀ ≈ A⁻¹, the identity by default.

    Raises:
        ValueError: If the vectors do not fit A, or E is singular.

    Source: Nicolaides, SIAM J. Numer. Anal. 24 (1987), 355; the symmetric form and its
    equivalence: Tang, Nabben, Vuik and Erlangga, J. Sci. Comput. 39 (2009), 340, "A-DEF2/BNN".
    """

    def __init__(
        self,
        operator: LinearOperator,
        vectors: Float[Tensor, "k *shape"],
        inner: LinearOperator | None = None,
    ) -> None:
        super().__init__(operator.in_shape, dtype=operator.dtype, device=operator.device)
        if vectors.shape[1:] != operator.in_shape or operator.batch_shape:
            raise ValueError(
                f"Deflation: expected vectors (k, {', '.join(map(str, operator.in_shape))}) "
                f"for one operator, got {tuple(vectors.shape)} for {operator!r}; give fields "
                "of the shape of its unknowns"
            )
        self.inner = inner
        count = vectors.shape[0]
        self._rows = torch.linalg.qr(vectors.reshape(count, -1).T)[0].T
        orthonormal = self._rows.reshape(vectors.shape)
        self._images = operator.mv(orthonormal).reshape(count, -1)
        coarse = self._rows @ self._images.T
        factor, failed = torch.linalg.cholesky_ex(0.5 * (coarse + coarse.T))
        pivots = factor.diagonal()
        if bool(failed) or float(pivots.min()) <= 1e-7 * float(pivots.max()):
            raise ValueError(
                f"Deflation: expected {count} independent vectors outside the null space of "
                f"{operator!r}, got vectors whose span A maps to fewer dimensions; pass fewer, "
                "or project them"
            )
        self._factor = factor

    @override
    def _mv(self, x: Tensor) -> Tensor:
        flat = x.reshape(*x.shape[: x.ndim - len(self.in_shape)], -1)
        coarse = self._coarse(flat @ self._rows.T)
        rest: Tensor = (flat - coarse @ self._images).reshape(x.shape)
        if self.inner is not None:
            rest = self.inner.mv(rest.to(self.inner.dtype)).to(x.dtype)
        rest = rest.reshape(flat.shape)
        back = self._coarse(rest @ self._images.T)
        corrected: Tensor = rest + (coarse - back) @ self._rows
        return corrected.reshape(x.shape)

    def _coarse(self, values: Tensor) -> Tensor:
        """E⁻¹ for coordinates (*batch, k)."""
        rows = values.reshape(-1, values.shape[-1])
        solved: Tensor = torch.cholesky_solve(rows.T, self._factor).T.reshape(values.shape)
        return solved


def ritz_vectors(
    operator: LinearOperator,
    start: Float[Tensor, "*shape"],
    count: int,
    *,
    num_steps: int | None = None,
) -> Float[Tensor, "k *shape"]:
    """Ritz vectors of the `count` smallest Ritz values above zero, from one Lanczos run.

    Args:
        operator: Symmetric positive (semi-)definite A.
        start: First Lanczos vector, usually the right-hand side; A's null space is taken out.
        count: Vectors k.
        num_steps: Lanczos steps, with full re-orthogonalisation; 4 k + 20 by default, fewer
            where the Krylov space ends.

    Raises:
        ValueError: If the Krylov space of `start` has fewer than `count` dimensions.

    Source: Parlett, The Symmetric Eigenvalue Problem (1998), chapters 12 and 13.
    """
    size = start.numel()
    steps = min(4 * count + 20 if num_steps is None else num_steps, size)
    basis = start.new_zeros(steps, size)
    diagonal, off = [], list[Tensor]()
    vector = operator.project(start).reshape(-1)
    vector = vector / vector.norm()
    scale = start.new_zeros(())
    for step in range(steps):
        basis[step] = vector
        image = operator.mv(vector.reshape(start.shape)).reshape(-1)
        diagonal.append(image @ vector)
        done = basis[: step + 1]
        for _ in range(2):  # twice is enough (Parlett, section 6.9)
            image = image - (done @ image) @ done
        norm = image.norm()
        scale = torch.maximum(scale, image.new_tensor(diagonal).abs().max())
        if bool(norm <= 1e-10 * scale):
            break
        off.append(norm)
        vector = image / norm
    kept = len(diagonal)
    ends = torch.stack(off[: kept - 1]) if kept > 1 else start.new_zeros(0)
    tridiagonal = torch.diag(torch.stack(diagonal)) + torch.diag(ends, 1) + torch.diag(ends, -1)
    values, coordinates = torch.linalg.eigh(tridiagonal)
    positive = torch.nonzero(values > 1e-10 * values[-1])[:, 0]
    if positive.numel() < count:
        raise ValueError(
            f"ritz_vectors: expected a start with at least {count} directions, got one whose "
            f"Krylov space has {positive.numel()}; ask for fewer vectors, or take another start"
        )
    chosen: Tensor = coordinates[:, positive[:count]].T @ basis[:kept]
    return chosen.reshape(count, *start.shape)
