"""Conjugate gradients."""

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
class CGState(IterationState):
    """Iterate x, residual r, direction p and ρ = r · M r."""

    x: Tensor
    r: Tensor
    p: Tensor
    rho: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class CG(IterativeSolver[CGState]):
    r"""Preconditioned conjugate gradients for symmetric positive (semi-)definite A.

    Step k minimises the A-norm of the error over the Krylov space of M A, so that
    :math:`\|e_k\|_A \le 2 (\sqrt\kappa - 1)^k / (\sqrt\kappa + 1)^k \|e_0\|_A` with κ the
    condition number of M A. One application of A and of M a step. On a semi-definite A the
    right-hand side has to lie in its range.

    The preconditioner has to be symmetric positive definite as well. Differences to textbook
    form: true residuals every `refresh_every` steps, restarts where they disagree, and any
    number of right-hand sides that freeze one by one.

    Source: Hestenes and Stiefel, J. Res. Nat. Bur. Standards 49 (1952), 409; Saad, "Iterative
    Methods for Sparse Linear Systems", 2nd ed., Algorithm 9.1.
    """

    breakdown_reasons: ClassVar[tuple[str, ...]] = (
        "p · A p <= 0: the operator is not positive definite",
        "r · M r <= 0: the preconditioner is not positive definite",
    )

    @override
    def check(self, operator: LinearOperator) -> None:
        if not operator.symmetric:
            raise refuse_structure(
                "CG",
                "a symmetric positive definite operator",
                operator,
                "use GMRES or BiCGStab",
            )

    @override
    def init(self, system: LinearSystem, x: Tensor, r: Tensor) -> CGState:
        z = system.precondition(r)
        norm = system.norm(r)
        return CGState(
            active=torch.ones_like(norm, dtype=torch.bool),
            residual_norm=norm,
            breakdown=torch.zeros_like(norm, dtype=torch.int64),
            x=x,
            r=r,
            p=z.clone(),
            rho=system.dot(r, z),
        )

    @override
    def step(self, system: LinearSystem, state: CGState) -> CGState:
        q = system.apply(state.p)
        curvature = system.dot(state.p, q)
        good = state.active & (curvature > 0)
        alpha = system.spread(masked_quotient(state.rho, curvature, good))
        state.x.addcmul_(alpha, state.p)
        state.r.addcmul_(alpha, q, value=-1.0)
        z = system.precondition(state.r)
        state.residual_norm = system.norm(state.r)
        rho = state.residual_norm.square() if z is state.r else system.dot(state.r, z)
        beta = masked_quotient(rho, state.rho, good)
        state.p.mul_(system.spread(beta)).add_(z)
        code = torch.where(curvature <= 0, 1, torch.where(rho <= 0, 2, 0))
        state.breakdown = torch.where(state.active, code, 0)
        state.rho = rho
        return state

    @override
    def iterate(self, system: LinearSystem, state: CGState) -> Tensor:
        return state.x
