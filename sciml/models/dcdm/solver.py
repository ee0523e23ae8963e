"""The deep conjugate direction method as a solver of linear systems."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.solvers.base import LinearSolver
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.conjugate_directions import ConjugateDirections
from sciml.models.dcdm.direction import Direction, as_direction
from sciml.solution import Solution, Status
from sciml.training.surrogate import Surrogate


@final
@dataclass(frozen=True)
class DCDM(LinearSolver):
    """Conjugate directions from a network; where it fails, conjugate gradients go on.

    The iteration is `ConjugateDirections` in the precision of the system, with the network in
    its own: a step costs one network call and two products with A. Right-hand sides of a batch
    share the network call, have scalars of their own and freeze one by one.

    Where the direction is zero, a null vector or not finite, or the residual stops falling, the
    iterate is kept, and CG takes over with the multigrid preconditioner (Jacobi where the
    operator is no `PoissonOperator`, or not on the CPU; none where its diagonal has zeros). As
    the A-norm of the error never grows, nothing is lost; ``stats["fallback"]`` says that it
    happened, and why.

    Args:
        direction: The net, as `sciml.load` gives it or bare; or any map of residuals, linear or
            not, of arbitrary scale and sign.
        k_orth: Earlier directions that each one is made conjugate to; 2 as published.
        max_steps: Largest number of steps of the network; the published runs stop at 100.
        stagnation_steps: Steps without 1 % decrease of the best residual after which the
            network is given up.
        fallback: Whether CG takes over; else the solution tells how the method failed.

    Raises:
        ValueError: If a tolerance or a count is out of range.
        TypeError: If `direction` cannot be called.

    Source: Kaneda, Akar, Chen, Kala, Hyde, Teran, "A Deep Conjugate Direction Method for
    Iteratively Solving Linear Systems", ICML 2023, arXiv:2205.10763. Deviations: tolerance
    relative to b, true residuals, guards and fallback.
    """

    direction: Direction
    k_orth: int = dataclasses.field(default=2, kw_only=True)
    max_steps: int = dataclasses.field(default=100, kw_only=True)
    stagnation_steps: int = dataclasses.field(default=20, kw_only=True)
    fallback: bool = dataclasses.field(default=True, kw_only=True)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.direction) and not isinstance(self.direction, LinearOperator):
            raise TypeError(
                "DCDM: expected a surrogate, a network or a map of residuals, got "
                f"{type(self.direction).__name__}; pass what sciml.load returns"
            )
        self._directions()

    def _directions(self) -> ConjugateDirections:
        """The iteration; it checks the counts."""
        return ConjugateDirections(
            rtol=self.rtol,
            atol=self.atol,
            k_orth=self.k_orth,
            max_steps=self.max_steps,
            refresh_every=max(1, min(10, self.stagnation_steps)),
            stagnation_steps=self.stagnation_steps,
        )

    @override
    def check(self, operator: LinearOperator) -> None:
        self._directions().check(operator)
        as_direction(self.direction, operator)

    @override
    def solve(
        self,
        operator: LinearOperator,
        b: Tensor,
        *,
        x0: Tensor | None = None,
        preconditioner: LinearOperator | None = None,
    ) -> Solution[Tensor]:
        """Solve A x = b; a preconditioner, if there is one, is that of the fallback."""
        directions = self._directions()
        directions.check(operator)
        solution = directions.solve(
            operator, b, x0=x0, preconditioner=as_direction(self.direction, operator)
        )
        stats = {**solution.stats, "solver": "DCDM"}
        failed = solution.status not in (Status.CONVERGED, Status.MAX_STEPS)
        if not (self.fallback and failed):
            return dataclasses.replace(solution, stats=stats)
        return self._continued(operator, b, solution, stats, preconditioner)

    def _continued(
        self,
        operator: LinearOperator,
        b: Tensor,
        first: Solution[Tensor],
        stats: dict[str, Any],
        preconditioner: LinearOperator | None,
    ) -> Solution[Tensor]:
        """CG from where the network got, and one account of both."""
        if preconditioner is None:
            preconditioner = _fallback_preconditioner(operator)
        second = CG(rtol=self.rtol, atol=self.atol).solve(
            operator, b, x0=first.value, preconditioner=preconditioner
        )
        because = stats.pop("detail", first.status.name.lower())
        name = "CG" if preconditioner is None else f"CG with {type(preconditioner).__name__}"
        stats |= {
            "fallback": f"{name} after {first.num_steps} steps: {because}",
            "residual_norm": second.stats["residual_norm"],
            "column_steps": stats["column_steps"] + second.stats["column_steps"],
        }
        for count in ("num_applications", "num_preconditionings", "num_restarts"):
            stats[count] += second.stats[count]
        return dataclasses.replace(
            second,
            num_steps=first.num_steps + second.num_steps,
            history=torch.cat([first.history, second.history[1:]]),
            stats=stats,
        )


def _fallback_preconditioner(operator: LinearOperator) -> LinearOperator | None:
    if isinstance(operator, PoissonOperator):
        alone = not operator.batch_shape and operator.device.type == "cpu"
        return CCMG(operator) if alone else Jacobi(operator)
    # zero rows, as solids have them in a full-grid matrix, leave no diagonal to divide by
    scalable = operator.positive_definite or bool((operator.diagonal() != 0).all())
    return Jacobi(operator) if scalable else None


def methods(
    surrogate: Surrogate, *, k_orth: int = 2, max_steps: int = 100
) -> dict[str, Callable[[PoissonOperator, float], tuple[LinearSolver, None]]]:
    """The method of a fitted net without fallback, for a comparison of solvers.

    Args:
        surrogate: The net.
        k_orth: Earlier directions kept.
        max_steps: Largest number of steps.
    """

    def dcdm(operator: PoissonOperator, rtol: float) -> tuple[LinearSolver, None]:
        del operator
        options: dict[str, Any] = {"k_orth": k_orth, "max_steps": max_steps, "rtol": rtol}
        return DCDM(surrogate, fallback=False, **options), None

    return {"dcdm": dcdm}
