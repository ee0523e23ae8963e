"""BiCGStab."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSystem
from sciml.linalg.solvers.iteration import IterationState, IterativeSolver
from sciml.linalg.solvers.scalars import Scalar, choose, magnitude, masked_quotient


@final
@dataclass
class BiCGStabState(IterationState):
    """Iterate x, residual r, shadow residual r̂ and its norm, direction p and ρ = r̂ · r."""

    x: Tensor
    r: Tensor
    shadow: Tensor
    shadow_norm: Scalar
    p: Tensor
    rho: Scalar


@final
@dataclass(frozen=True, kw_only=True)
class BiCGStab(IterativeSolver[BiCGStabState]):
    """Stabilised bi-conjugate gradients for any square A, preconditioned from the right.

    Two applications of A and of M a step and seven vectors whatever the number of steps, where
    GMRES keeps its whole basis; in return the residual is not monotone and the method can break
    down, upon which it restarts with a new shadow residual.

    Source: van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992), 631; Saad, "Iterative Methods
    for Sparse Linear Systems", 2nd ed., Algorithm 7.7.
    """

    breakdown_reasons: ClassVar[tuple[str, ...]] = (
        "shadow residual · A M p = 0: the two-sided recurrence cannot go on",
        "A M s · s = 0: the stabilising step cannot reduce the residual",
        "shadow residual · r = 0: the two-sided recurrence cannot go on",
    )

    @override
    def check(self, operator: LinearOperator) -> None:
        """Any square operator will do."""

    @override
    def init(self, system: LinearSystem, x: Tensor, r: Tensor) -> BiCGStabState:
        norm = system.norm(r)
        return BiCGStabState(
            active=system.fill(True),
            residual_norm=norm,
            breakdown=system.fill(0),
            x=x,
            r=r,
            shadow=r.clone(),
            shadow_norm=norm,
            p=r.clone(),
            rho=norm * norm,
        )

    @override
    def step(self, system: LinearSystem, state: BiCGStabState) -> BiCGStabState:
        active, x, r, p = state.active, state.x, state.r, state.p
        p_hat = system.precondition(p)
        v = system.apply(p_hat)
        projection = system.dot(state.shadow, v)
        alpha = masked_quotient(state.rho, projection, active)
        system.add_scaled(x, alpha, p_hat)
        system.add_scaled(r, -alpha, v)  # now s
        s_hat = system.precondition(r)
        t = system.apply(s_hat)
        along = system.dot(t, r)
        omega = masked_quotient(along, system.dot(t, t), active)
        system.add_scaled(x, omega, s_hat)
        system.add_scaled(r, -omega, t)
        rho = system.dot(state.shadow, r)
        ratio = masked_quotient(rho, state.rho, active)
        beta = ratio * masked_quotient(alpha, omega, active)
        system.add_scaled(p, -omega, v)
        system.scale_and_add(p, beta, r)
        state.residual_norm = system.norm(r)
        tiny = torch.finfo(r.dtype).eps ** 2 * state.shadow_norm * state.residual_norm
        state.breakdown = choose(
            projection == 0, 1, choose(along == 0, 2, choose(magnitude(rho) <= tiny, 3, 0))
        )
        state.rho = rho
        return state

    @override
    def iterate(self, system: LinearSystem, state: BiCGStabState) -> Tensor:
        return state.x
