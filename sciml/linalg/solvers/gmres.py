"""Restarted GMRES."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSystem
from sciml.linalg.solvers.iteration import IterationState, IterativeSolver
from sciml.linalg.solvers.scalars import choose

_CANCELLATION = 0.1
"""Fraction of a vector's norm left by Gram-Schmidt below which a second pass is due.

Above it a direction has a relative error of some ten roundings, below it cancels further.
"""


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
    which allows M in lower precision). Orthogonalised by classical Gram-Schmidt, a second
    time where the first cancels.

    Args:
        restart: Length m of a cycle; 30 by default, longer converges in fewer steps and takes
            more memory and time a step.

    Source: Saad and Schultz, SIAM J. Sci. Stat. Comput. 7 (1986), 856; flexible form: Saad,
    SIAM J. Sci. Comput. 14 (1993), 461; two passes suffice: Giraud, Langou and Rozloznik,
    Comput. Math. Appl. 50 (2005), 1069; when: Rutishauser, Description of ALGOL 60 (1967).
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
        batch, flat = system.batch_shape, system.flatten(r)
        remainder: Tensor = torch.linalg.vector_norm(flat, dim=-1)
        m = min(self.restart, flat.shape[-1])
        basis = flat.new_empty(*batch, m + 1, flat.shape[-1])
        start = torch.where(remainder > 0, 1.0 / remainder, 0.0)
        torch.mul(flat, start.unsqueeze(-1), out=basis[..., 0, :])
        identity = torch.eye(m + 1, dtype=r.dtype, device=r.device)
        return GMRESState(
            active=system.fill(True),
            residual_norm=remainder.item() if system.single else remainder,
            breakdown=system.fill(0),
            x=x,
            basis=basis,
            preconditioned=basis
            if system.preconditioner is None
            else torch.empty_like(basis[..., :m, :]),
            rotations=identity.expand(*batch, -1, -1).clone(),
            triangle=flat.new_zeros(*batch, m, m),
            rotated=flat.new_zeros(*batch, m),
            remainder=remainder,
            column=0,
        )

    @override
    def step(self, system: LinearSystem, state: GMRESState) -> GMRESState:
        if state.column == state.triangle.shape[-1]:
            active = state.active
            x = self.iterate(system, state)
            state = self.init(system, x, system.residual(x))
            state.active = active
        j = state.column
        v = state.basis[..., j, :].reshape(system.b.shape)
        z = system.precondition(v)
        if system.preconditioner is not None:
            state.preconditioned[..., j, :] = system.flatten(z)
        w = system.flatten(system.apply(z))
        size = torch.linalg.vector_norm(w, dim=-1)
        w, h, below = _orthogonalize(state.basis[..., : j + 1, :], w, size)
        # what is left after cancellation to rounding is no direction
        below = torch.where(below > 10 * torch.finfo(w.dtype).eps * size, below, 0.0)
        inverse = torch.where(state.active & (below > 0), 1.0 / below, 0.0)
        torch.mul(w, inverse.unsqueeze(-1), out=state.basis[..., j + 1, :])
        pivot = _rotate(state, h, below)
        # the comparisons above turn NaN into "nothing to do": say what happened
        norm = torch.where(torch.isfinite(size), state.remainder.abs(), size)
        state.residual_norm = norm.item() if system.single else norm
        # a zero pivot: A maps the new direction into the span of the old, it cannot help
        state.breakdown = choose((pivot.item() if system.single else pivot) == 0, 1, 0)
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


def _orthogonalize(basis: Tensor, w: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`w` of norm `size` without its part along the basis; that part, and the norm left."""
    part = _inner(basis, w)
    w = w - _combine(part, basis)
    below = torch.linalg.vector_norm(w, dim=-1)
    # a second pass where the first cancelled; an accelerator is not asked, it always gets one
    if w.device.type != "cpu" or bool((below < _CANCELLATION * size).any()):
        correction = _inner(basis, w)
        w = w - _combine(correction, basis)
        part = part + correction
        below = torch.linalg.vector_norm(w, dim=-1)
    return w, part, below


def _inner(basis: Tensor, w: Tensor) -> Tensor:
    return basis @ w if w.ndim == 1 else (basis @ w.unsqueeze(-1)).squeeze(-1)


def _combine(weights: Tensor, basis: Tensor) -> Tensor:
    if weights.ndim == 1:
        return weights @ basis
    return (weights.unsqueeze(-2) @ basis).squeeze(-2)


def _rotate(state: GMRESState, h: Tensor, below: Tensor) -> Tensor:
    """Append the column (h, below) to the triangle and give back its pivot.

    Finished columns, and those whose pivot is zero, append a unit pivot and stand still.
    """
    j = state.column
    column = _inner(state.rotations[..., : j + 1, : j + 1], h)
    diagonal = column[..., j]
    pivot = torch.hypot(diagonal, below)
    moving = state.active & (pivot > 0)
    c = torch.where(moving, diagonal / pivot, 1.0)
    s = torch.where(moving, below / pivot, 0.0)
    state.triangle[..., :j, j] = column[..., :j] * moving.unsqueeze(-1)
    state.triangle[..., j, j] = torch.where(moving, pivot, 1.0)
    turn = torch.stack([torch.stack([c, s], -1), torch.stack([-s, c], -1)], -2)
    pair = state.rotations[..., j : j + 2, :]
    pair.copy_(turn @ pair)
    state.rotated[..., j] = torch.where(moving, c * state.remainder, 0.0)
    state.remainder = torch.where(moving, -s * state.remainder, state.remainder)
    return pivot
