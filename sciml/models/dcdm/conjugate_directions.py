"""Exact line searches along given directions, each made conjugate to the few before it."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSystem, refuse_structure
from sciml.linalg.solvers.iteration import IterationState, IterativeSolver
from sciml.linalg.solvers.scalars import (
    Count,
    Scalar,
    choose,
    finite,
    magnitude,
    masked_quotient,
    negate,
)


@final
@dataclass
class DirectionsState(IterationState):
    """Iterate x, true residual r, and (p, A p, p · A p) of the last directions p."""

    x: Tensor
    r: Tensor
    window: tuple[tuple[Tensor, Tensor, Scalar], ...]


@final
@dataclass(frozen=True, kw_only=True)
class ConjugateDirections(IterativeSolver[DirectionsState]):
    r"""Directions q = M r made A-conjugate to the last `k_orth` ones, with exact line search.

    .. math::
        q &\gets M(r_k), \quad q \gets q - p \frac{q \cdot A p}{p \cdot A p}
            \text{ for each } p \text{ kept}, \\
        x_{k+1} &= x_k + \frac{q \cdot r_k}{q \cdot A q} q, \quad r_{k+1} = b - A x_{k+1}

    M may be any map of the residual; scale and sign of what it returns have no effect. The
    A-norm of the error never grows, while the 2-norm of the residual may:
    :math:`\|e_{k+1}\|_A^2 = \|e_k\|_A^2 - (q \cdot r_k)^2 / q \cdot A q`. If M is a fixed
    symmetric positive definite matrix, the iterates are those of preconditioned CG for every
    ``k_orth >= 1``; more directions pay only for others. ``k_orth=0`` is steepest descent.

    One application of M and two of A a step (the residual is always the true one), and storage
    for 2 `k_orth` fields.

    Args:
        k_orth: Number of earlier directions kept; 2 as published.

    Raises:
        ValueError: If `k_orth` is negative or a CUDA graph is asked for.

    Source: Kaneda, Akar, Chen, Kala, Hyde, Teran, ICML 2023, arXiv:2205.10763. Deviations:
    modified Gram-Schmidt for any k (the published code uses classical for two), and a guard
    against directions of no use.
    """

    k_orth: int = 2

    breakdown_reasons: ClassVar[tuple[str, ...]] = (
        "q · A q <= 0: the direction is zero or a null vector, or the operator is not positive "
        "definite",
        "q · r = 0: the direction makes no progress",
        "the direction is not finite",
    )
    restarts_per_column: ClassVar[bool] = False

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k_orth < 0:
            raise ValueError(
                f"ConjugateDirections: expected k_orth >= 0, got {self.k_orth}; 0 is steepest "
                "descent"
            )
        if self.cuda_graph:
            raise ValueError(
                "ConjugateDirections: expected cuda_graph=False, got True; its window grows "
                "from step to step, which no graph can record"
            )

    @override
    def check(self, operator: LinearOperator) -> None:
        if not operator.symmetric:
            raise refuse_structure(
                "ConjugateDirections",
                "a symmetric positive definite operator",
                operator,
                "use GMRES or BiCGStab",
            )

    @override
    def init(self, system: LinearSystem, x: Tensor, r: Tensor) -> DirectionsState:
        return DirectionsState(
            active=system.fill(True),
            residual_norm=system.norm(r),
            breakdown=system.fill(0),
            x=x,
            r=r,
            window=(),
        )

    @override
    def step(self, system: LinearSystem, state: DirectionsState) -> DirectionsState:
        q = system.precondition(state.r).clone()  # without M it is the residual itself
        for p, Ap, curvature in state.window:
            overlap = masked_quotient(system.dot(q, Ap), curvature, curvature > 0)
            system.add_scaled(q, -overlap, p)
        Aq = system.apply(q)
        curvature, progress = system.dot(q, Aq), system.dot(q, state.r)
        # of a null vector only rounding is left, of either sign
        least = torch.finfo(q.dtype).eps * system.norm(q) * system.norm(Aq)
        broken = _reason(curvature, progress, least)
        good = state.active & (broken == 0)
        # NaN times zero is NaN: a direction of no use is replaced, not only given no weight
        nothing = torch.zeros_like(q)
        q, Aq = system.select(good, q, nothing), system.select(good, Aq, nothing)
        system.add_scaled(state.x, masked_quotient(progress, curvature, good), q)
        state.r = system.select(good, system.residual(state.x), state.r)
        state.residual_norm = system.norm(state.r)
        state.breakdown = broken
        kept = (q, Aq, choose(good, curvature, 0.0 * state.residual_norm))
        state.window = (*state.window, kept)[-self.k_orth :] if self.k_orth else ()
        return state

    @override
    def iterate(self, system: LinearSystem, state: DirectionsState) -> Tensor:
        return state.x


def _reason(curvature: Scalar, progress: Scalar, least: Scalar) -> Count:
    """Number of the reason why a direction is of no use; 0 for one that is."""
    useless: Count = choose(curvature <= least, 1, choose(magnitude(progress) <= 0, 2, 0))
    return choose(negate(finite(curvature) & finite(progress)), 3, useless)
