"""Conjugate gradients."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSystem, refuse_structure
from sciml.linalg.solvers.iteration import IterationState, IterativeSolver
from sciml.linalg.solvers.scalars import Scalar, choose, masked_quotient


@final
@dataclass
class CGState(IterationState):
    """Iterate x, residual r, direction p, and of the step before ρ = r · M r and α = ρ / p · q.

    The flexible form also keeps its q = A p.
    """

    x: Tensor
    r: Tensor
    p: Tensor
    rho: Scalar
    alpha: Scalar
    q: Tensor | None


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

    Args:
        flexible: Whether the direction is updated by the formula of Polak and Ribière,
            :math:`\beta = z_{k+1} \cdot (r_{k+1} - r_k) / z_k \cdot r_k`, which keeps
            neighbouring directions conjugate when M changes from step to step (an inner
            iteration, a network, rounding to low precision). It costs one inner product more;
            off by default, because for a fixed M it changes nothing but rounding.

    Source: Hestenes and Stiefel, J. Res. Nat. Bur. Standards 49 (1952), 409; Saad, "Iterative
    Methods for Sparse Linear Systems", 2nd ed., Algorithm 9.1; flexible form: Golub and Ye,
    SIAM J. Sci. Comput. 21 (1999), 1305, eq. 2.3; Notay, SIAM J. Sci. Comput. 22 (2000), 1444.
    """

    flexible: bool = False

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
        return CGState(
            active=system.fill(True),
            residual_norm=system.norm(r),
            breakdown=system.fill(0),
            x=x,
            r=r,
            p=torch.zeros_like(r),
            rho=system.fill(math.inf),  # makes the first β zero
            alpha=system.fill(0.0),
            q=torch.zeros_like(r) if self.flexible else None,
        )

    @override
    def step(self, system: LinearSystem, state: CGState) -> CGState:
        # M comes first, so that none is spent on the residual that ends the iteration
        z = system.precondition(state.r)
        norm = state.residual_norm
        rho = norm * norm if z is state.r else system.dot(state.r, z)
        # z · (r - r of the step before) = -α z · q, and z · r where M is a fixed matrix
        ahead = rho if state.q is None else -state.alpha * system.dot(z, state.q)
        beta = masked_quotient(ahead, state.rho, state.active)
        system.scale_and_add(state.p, beta, z)
        q = system.apply(state.p)
        curvature = system.dot(state.p, q)
        good = state.active & (curvature > 0) & (rho > 0)
        alpha = masked_quotient(rho, curvature, good)
        system.add_scaled(state.x, alpha, state.p)
        system.add_scaled(state.r, -alpha, q)
        state.residual_norm = system.norm(state.r)
        state.breakdown = choose(rho <= 0, 2, choose(curvature <= 0, 1, 0))
        state.rho, state.alpha = rho, alpha
        state.q = None if state.q is None else q
        return state

    @override
    def iterate(self, system: LinearSystem, state: CGState) -> Tensor:
        return state.x
