"""MINRES."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSystem, refuse_structure
from sciml.linalg.solvers.iteration import IterationState, IterativeSolver
from sciml.linalg.solvers.scalars import (
    Scalar,
    at_least,
    choose,
    hypotenuse,
    masked_quotient,
    square_root,
)


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
    gamma: Scalar
    gamma_previous: Scalar
    eta: Scalar
    c: Scalar
    s: Scalar
    c_previous: Scalar
    s_previous: Scalar


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
        squared = system.dot(r, z)
        gamma = square_root(at_least(squared, 0.0))
        zero, one = system.fill(0.0), system.fill(1.0)
        return MINRESState(
            active=system.fill(True),
            residual_norm=system.norm(r),
            breakdown=choose(squared < 0, 1, 0),
            x=x,
            r=r,
            v=r.clone(),
            z=z.clone(memory_format=torch.contiguous_format),
            v_previous=torch.zeros_like(r),
            w=torch.zeros_like(r),
            Aw=torch.zeros_like(r),
            w_previous=torch.zeros_like(r),
            Aw_previous=torch.zeros_like(r),
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
        active, gamma, one = state.active, state.gamma, system.fill(1.0)
        z = state.z * system.spread(masked_quotient(one, gamma, active))
        Az = system.apply(z)
        delta = system.dot(Az, z)
        # the vector of two steps ago makes room for the next: A z - (δ v + γ v_previous) / γ'
        v = state.v_previous
        system.scale_and_add(v, -masked_quotient(gamma, state.gamma_previous, active), Az)
        system.add_scaled(v, -masked_quotient(delta, gamma, active), state.v)
        z_next = system.precondition(v)
        squared = system.dot(v, z_next)
        gamma_next = square_root(at_least(squared, 0.0))
        rotated = state.c * delta - state.c_previous * state.s * gamma
        pivot = hypotenuse(rotated, gamma_next)
        above = state.s * delta + state.c_previous * state.c * gamma
        far = state.s_previous * gamma
        c = masked_quotient(rotated, pivot, active)
        s = masked_quotient(gamma_next, pivot, active)
        scale = system.spread(masked_quotient(one, pivot, active))
        for new, old, image in (
            (state.w_previous, state.w, z),
            (state.Aw_previous, state.Aw, Az),
        ):
            system.scale_and_add(new, -far, image)
            system.add_scaled(new, -above, old).mul_(scale)
        state.w, state.w_previous = state.w_previous, state.w
        state.Aw, state.Aw_previous = state.Aw_previous, state.Aw
        move = c * state.eta
        system.add_scaled(state.x, move, state.w)
        system.add_scaled(state.r, -move, state.Aw)
        state.residual_norm = system.norm(state.r)
        indefinite = (squared < 0) | (state.breakdown == 1)
        state.breakdown = choose(indefinite, 1, choose(pivot == 0, 2, 0))
        state.v_previous, state.v, state.z = state.v, v, z_next
        state.gamma_previous, state.gamma = gamma, gamma_next
        state.eta = choose(active, -s * state.eta, state.eta)
        state.c_previous, state.c, state.s_previous, state.s = state.c, c, state.s, s
        return state

    @override
    def iterate(self, system: LinearSystem, state: MINRESState) -> Tensor:
        return state.x
