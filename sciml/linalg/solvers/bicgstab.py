"""BiCGStab."""

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
class BiCGStabState(IterationState):
    """Iterate x, residual r, shadow residual r̂, direction p and ρ = r̂ · r."""

    x: Tensor
    r: Tensor
    shadow: Tensor
    p: Tensor
    rho: Tensor


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
            active=torch.ones_like(norm, dtype=torch.bool),
            residual_norm=norm,
            breakdown=torch.zeros_like(norm, dtype=torch.int64),
            x=x,
            r=r,
            shadow=r.clone(),
            p=r.clone(),
            rho=norm.square(),
        )

    @override
    def step(self, system: LinearSystem, state: BiCGStabState) -> BiCGStabState:
        active, spread = state.active, system.spread
        p_hat = system.precondition(state.p)
        v = system.apply(p_hat)
        projection = system.dot(state.shadow, v)
        alpha = masked_quotient(state.rho, projection, active)
        state.r.addcmul_(spread(alpha), v, value=-1.0)  # now s
        s_hat = system.precondition(state.r)
        t = system.apply(s_hat)
        along = system.dot(t, state.r)
        omega = masked_quotient(along, system.dot(t, t), active)
        state.x.addcmul_(spread(alpha), p_hat).addcmul_(spread(omega), s_hat)
        state.r.addcmul_(spread(omega), t, value=-1.0)
        rho = system.dot(state.shadow, state.r)
        ratio = masked_quotient(rho, state.rho, active)
        beta = ratio * masked_quotient(alpha, omega, active)
        state.p.addcmul_(spread(omega), v, value=-1.0)
        state.p.mul_(spread(beta)).add_(state.r)
        state.residual_norm = system.norm(state.r)
        tiny = torch.finfo(rho.dtype).eps ** 2 * system.norm(state.shadow) * state.residual_norm
        code = torch.where(rho.abs() <= tiny, 3, 0)
        code = torch.where(along == 0, 2, code)
        code = torch.where(projection == 0, 1, code)
        state.breakdown = torch.where(active, code, 0)
        state.rho = rho
        return state

    @override
    def iterate(self, system: LinearSystem, state: BiCGStabState) -> Tensor:
        return state.x
