"""Conjugate gradients with CCMG for pressure systems that the fast solver gives up on."""

import dataclasses
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.preconditioners.multigrid.cycle import CycleType
from sciml.linalg.preconditioners.multigrid.hierarchy import check_geometry
from sciml.linalg.solvers.base import LinearSolver, refuse_structure
from sciml.linalg.solvers.cg import CG
from sciml.solution import Solution


@final
@dataclass(frozen=True, kw_only=True)
class RobustMultigridCG(LinearSolver):
    """CG on grid fields with the cycle of `CCMG` in float64 and null vectors projected out.

    `MultigridCG` saves both and takes less than half the time. Where weights differ by more
    than float32 resolves, its cycle ceases to be positive definite, and constants that it
    leaves in the directions cost digits (measured: checkerboards of contrast 1e6 end at 2e-6
    there and at 4e-8, which is all that float64 allows, here).

    Args:
        max_steps: Largest number of steps.
        stagnation_steps: As in `CG`.
        cycle: As in `CCMG`.
    """

    max_steps: int = 2000
    stagnation_steps: int = 500
    cycle: CycleType = "W"

    @override
    def check(self, operator: LinearOperator) -> None:
        check_geometry("RobustMultigridCG", _as_pressure(operator))

    @override
    def solve(
        self,
        operator: LinearOperator,
        b: Tensor,
        *,
        x0: Tensor | None = None,
        preconditioner: LinearOperator | None = None,
    ) -> Solution[Tensor]:
        """Solve A x = b; of a preconditioner only that it fits is looked at."""
        self.check(operator)
        if isinstance(preconditioner, CCMG):
            preconditioner.check_operator(operator)
        solver = CG(
            rtol=self.rtol,
            atol=self.atol,
            max_steps=self.max_steps,
            stagnation_steps=self.stagnation_steps,
        )
        inverse = CCMG(_as_pressure(operator), cycle=self.cycle, dtype=torch.float64)
        solution = solver.solve(operator, b, x0=x0, preconditioner=inverse)
        return dataclasses.replace(
            solution, stats={**solution.stats, "preconditioner": "CCMG in float64"}
        )


def _as_pressure(operator: LinearOperator) -> PoissonOperator:
    if not isinstance(operator, PoissonOperator):
        raise refuse_structure(
            "RobustMultigridCG",
            "a PoissonOperator",
            operator,
            "use CG with AlgebraicMultigrid",
        )
    return operator
