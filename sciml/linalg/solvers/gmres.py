"""Restarted GMRES."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSystem
from sciml.linalg.solvers.iteration import IterationState, IterativeSolver, masked_quotient


@final
@dataclass
class GMRESState(IterationState):
    """Arnoldi basis of the running cycle and its triangular factor.

    Args:
        x: Start of the cycle.
        basis: Orthonormal vectors, (*batch, m + 1, n).
        preconditioned: M applied to them, (*batch, m, n); the basis itself without M.
        rotations: Product of all Givens rotations, (*batch, m + 1, m + 1).
        triangle: Rotated Hessenberg matrix R, (*batch, m, m).
        rotated: Rotated right-hand side of the small least-squares problem, (*batch, m).
        remainder: Its last component, whose magnitude is the residual norm.
        column: Steps taken in this cycle.
    """

    x: Tensor
    basis: Tensor
    preconditioned: Tensor
    rotations: Tensor
    triangle: Tensor
    rotated: Tensor
    remainder: Tensor
    column: int


@final
@dataclass(frozen=True, kw_only=True)
class GMRES(IterativeSolver[GMRESState]):
    """GMRES(m) for any square A, flexibly preconditioned from the right.

    Each step minimises ‖b - A x‖ over the Krylov space of the cycle; one application of A and
    of M a step. It keeps m + 1 vectors, twice as many with a preconditioner (the flexible form,
    which allows M in lower precision). Orthogonalised by classical Gram-Schmidt, twice.

    Args:
        restart: Length m of a cycle; 30 by default, longer converges in fewer steps and takes
            more memory and time a step.

    Source: Saad and Schultz, SIAM J. Sci. Stat. Comput. 7 (1986), 856; flexible form: Saad,
    SIAM J. Sci. Comput. 14 (1993), 461; two passes suffice: Giraud, Langou and Rozloznik,
    Comput. Math. Appl. 50 (2005), 1069.
    """

    restart: int = 30

    breakdown_reasons: ClassVar[tuple[str, ...]] = (
        "the Krylov space is exhausted: the operator is singular and b outside its range",
    )
    restarts_per_column: ClassVar[bool] = False  # all columns share the length of the basis

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restart < 1:
            raise ValueError(
                f"GMRES: expected restart >= 1, got {self.restart}; it is the length of a cycle"
            )

    @override
    def check(self, operator: LinearOperator) -> None:
        """Any square operator will do."""

    @override
    def init(self, system: LinearSystem, x: Tensor, r: Tensor) -> GMRESState:
        norm = system.norm(r)
        flat = system.flatten(r)
        m = min(self.restart, flat.shape[-1])
        basis = flat.new_zeros(*norm.shape, m + 1, flat.shape[-1])
        reciprocal = masked_quotient(torch.ones_like(norm), norm, norm > 0)
        basis[..., 0, :] = flat * reciprocal.unsqueeze(-1)
        identity = torch.eye(m + 1, dtype=r.dtype, device=r.device)
        return GMRESState(
            active=torch.ones_like(norm, dtype=torch.bool),
            residual_norm=norm,
            breakdown=torch.zeros_like(norm, dtype=torch.int64),
            x=x,
            basis=basis,
            preconditioned=basis
            if system.preconditioner is None
            else basis[..., :m, :].clone(),
            rotations=identity.expand(*norm.shape, -1, -1).clone(),
            triangle=flat.new_zeros(*norm.shape, m, m),
            rotated=flat.new_zeros(*norm.shape, m),
            remainder=norm.clone(),
            column=0,
        )

    @override
    def step(self, system: LinearSystem, state: GMRESState) -> GMRESState:
        if state.column == state.triangle.shape[-1]:
            active = state.active
            x = self.iterate(system, state)
            state = self.init(system, x, system.residual(x))
            state.active = active
        j, active = state.column, state.active
        v = state.basis[..., j, :].reshape(system.b.shape)
        z = system.precondition(v)
        if system.preconditioner is not None:
            state.preconditioned[..., j, :] = system.flatten(z)
        w = system.flatten(system.apply(z))
        size = torch.linalg.vector_norm(w, dim=-1)
        w, h = _orthogonalize(state.basis[..., : j + 1, :], w)
        below = torch.linalg.vector_norm(w, dim=-1)
        # what is left after cancellation to rounding is no direction
        below = torch.where(below > 10 * torch.finfo(w.dtype).eps * size, below, 0.0)
        inverse = masked_quotient(torch.ones_like(below), below, active)
        state.basis[..., j + 1, :] = w * inverse.unsqueeze(-1)
        _rotate(state, h, below)
        # the comparisons above turn NaN into "nothing to do": say what happened
        state.residual_norm = torch.where(torch.isfinite(size), state.remainder.abs(), size)
        state.column = j + 1
        return state

    @override
    def iterate(self, system: LinearSystem, state: GMRESState) -> Tensor:
        j = state.column
        if j == 0:
            return state.x
        weights = torch.linalg.solve_triangular(
            state.triangle[..., :j, :j], state.rotated[..., :j].unsqueeze(-1), upper=True
        )
        update: Tensor = weights.mT @ state.preconditioned[..., :j, :]
        return state.x + update.reshape(state.x.shape)


def _orthogonalize(basis: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """`w` orthogonal to the rows of `basis`, and the coefficients removed."""
    first = (basis @ w.unsqueeze(-1)).squeeze(-1)
    w = w - (first.unsqueeze(-2) @ basis).squeeze(-2)
    second = (basis @ w.unsqueeze(-1)).squeeze(-1)
    return w - (second.unsqueeze(-2) @ basis).squeeze(-2), first + second


def _rotate(state: GMRESState, h: Tensor, below: Tensor) -> None:
    """Append the column (h, below) to the triangle; finished columns append a unit pivot."""
    j, active = state.column, state.active
    column = (state.rotations[..., : j + 1, : j + 1] @ h.unsqueeze(-1)).squeeze(-1)
    diagonal = column[..., j]
    pivot = torch.hypot(diagonal, below)
    # a zero pivot: A maps the new direction into the span of the old, it cannot help
    state.breakdown = torch.where(active & (pivot == 0), 1, 0)
    moving = active & (pivot > 0)
    c = torch.where(moving, diagonal / torch.where(moving, pivot, 1.0), 1.0)
    s = masked_quotient(below, pivot, moving)
    state.triangle[..., :j, j] = column[..., :j] * moving.unsqueeze(-1)
    state.triangle[..., j, j] = torch.where(moving, pivot, 1.0)
    upper = state.rotations[..., j, :].clone()
    lower = state.rotations[..., j + 1, :].clone()
    state.rotations[..., j, :] = c.unsqueeze(-1) * upper + s.unsqueeze(-1) * lower
    state.rotations[..., j + 1, :] = c.unsqueeze(-1) * lower - s.unsqueeze(-1) * upper
    state.rotated[..., j] = torch.where(moving, c * state.remainder, 0.0)
    state.remainder = torch.where(moving, -s * state.remainder, state.remainder)
