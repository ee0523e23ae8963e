"""Conjugate gradients with CCMG for pressure systems that the fast solver gives up on."""

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
    than float32 resolves, its cycle ceases to be positive definite (measured: checkerboards of
    contrast 1e6, cells of aspect 1000), and constants that it leaves in the directions cost
    digits; this one then goes on to what float64 allows.

    Args:
        max_steps: Largest number of steps.
        stagnation_steps: As in `CG`.
        cycle: As in `CCMG`.
    """

    max_steps: int = 1000
    stagnation_steps: int = 100
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
        return solver.solve(operator, b, x0=x0, preconditioner=inverse)


def _as_pressure(operator: LinearOperator) -> PoissonOperator:
    if not isinstance(operator, PoissonOperator):
        raise refuse_structure(
            "RobustMultigridCG",
            "a PoissonOperator",
            operator,
            "use CG with AlgebraicMultigrid",
        )
    return operator
