"""MINRES."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSystem, refuse_structure
from sciml.linalg.solvers.iteration import IterationState, IterativeSolver, masked_quotient


@final
@dataclass
class MINRESState(IterationState):
    """Iterate and residual, two Lanczos vectors, and two directions w with their A w.

    `previous` belongs to the step before; γ are the Lanczos norms, (c, s) the last two Givens
    rotations, η the component of the residual still to be removed.
    """

    x: Tensor
    r: Tensor
    v: Tensor
    z: Tensor
    v_previous: Tensor
    w: Tensor
    Aw: Tensor
    w_previous: Tensor
    Aw_previous: Tensor
    gamma: Tensor
    gamma_previous: Tensor
    eta: Tensor
    c: Tensor
    s: Tensor
    c_previous: Tensor
    s_previous: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class MINRES(IterativeSolver[MINRESState]):
    """Preconditioned MINRES for symmetric A, definite or not.

    Step k minimises ‖r‖ (in the norm of M, when there is a preconditioner, which has to be
    symmetric positive definite) over the Krylov space. One application of A and of M a step.
    Unlike the published form it also carries A w for its directions w, two vectors more, so
    that the 2-norm of the residual is known in every step with any preconditioner.

    Source: Paige and Saunders, SIAM J. Numer. Anal. 12 (1975), 617; preconditioned form:
    Elman, Silvester and Wathen, "Finite Elements and Fast Iterative Solvers", Algorithm 4.1.
    """

    breakdown_reasons: ClassVar[tuple[str, ...]] = (
        "v · M v < 0: the preconditioner is not positive definite",
        "the Krylov space is exhausted: the operator is singular and b outside its range",
    )

    @override
    def check(self, operator: LinearOperator) -> None:
        if not operator.symmetric:
            raise refuse_structure(
                "MINRES", "a symmetric operator", operator, "use GMRES or BiCGStab"
            )

    @override
    def init(self, system: LinearSystem, x: Tensor, r: Tensor) -> MINRESState:
        z = system.precondition(r)
        norm = system.norm(r)
        squared = system.dot(r, z)
        gamma = squared.clamp_min(0.0).sqrt()
        zero, one, field = torch.zeros_like(norm), torch.ones_like(norm), torch.zeros_like(r)
        return MINRESState(
            active=torch.ones_like(norm, dtype=torch.bool),
            residual_norm=norm,
            breakdown=torch.where(squared < 0, 1, 0),
            x=x,
            r=r,
            v=r.clone(),
            z=z.clone(),
            v_previous=field,
            w=field,
            Aw=field,
            w_previous=field,
            Aw_previous=field,
            gamma=gamma,
            gamma_previous=one,
            eta=gamma,
            c=one,
            s=zero,
            c_previous=one,
            s_previous=zero,
        )

    @override
    def step(self, system: LinearSystem, state: MINRESState) -> MINRESState:
        active, gamma, spread = state.active, state.gamma, system.spread
        z = state.z * spread(masked_quotient(torch.ones_like(gamma), gamma, active))
        Az = system.apply(z)
        delta = system.dot(Az, z)
        v = Az.clone()
        v.addcmul_(spread(masked_quotient(delta, gamma, active)), state.v, value=-1.0)
        ratio = masked_quotient(gamma, state.gamma_previous, active)
        v.addcmul_(spread(ratio), state.v_previous, value=-1.0)
        z_next = system.precondition(v)
        squared = system.dot(v, z_next)
        gamma_next = squared.clamp_min(0.0).sqrt()
        rotated = state.c * delta - state.c_previous * state.s * gamma
        pivot = torch.hypot(rotated, gamma_next)
        above = state.s * delta + state.c_previous * state.c * gamma
        far = state.s_previous * gamma
        scale = spread(masked_quotient(torch.ones_like(pivot), pivot, active))
        c = masked_quotient(rotated, pivot, active)
        s = masked_quotient(gamma_next, pivot, active)
        w = (z - spread(far) * state.w_previous - spread(above) * state.w) * scale
        Aw = (Az - spread(far) * state.Aw_previous - spread(above) * state.Aw) * scale
        move = spread(c * state.eta)
        state.x.addcmul_(move, w)
        state.r.addcmul_(move, Aw, value=-1.0)
        state.residual_norm = system.norm(state.r)
        code = torch.where(pivot == 0, 2, 0)
        code = torch.where((squared < 0) | (state.breakdown == 1), 1, code)
        state.breakdown = torch.where(active, code, 0)
        state.v_previous, state.v, state.z = state.v, v, z_next
        state.w_previous, state.w = state.w, w
        state.Aw_previous, state.Aw = state.Aw, Aw
        state.gamma_previous, state.gamma = gamma, gamma_next
        state.eta = torch.where(active, -s * state.eta, state.eta)
        state.c_previous, state.c, state.s_previous, state.s = state.c, c, state.s, s
        return state

    @override
    def iterate(self, system: LinearSystem, state: MINRESState) -> Tensor:
        return state.x
