"""Which solver a system gets where the caller does not say."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from sciml.linalg.composite import ScaledOperator
from sciml.linalg.dense import DenseOperator
from sciml.linalg.kronecker_sum import KroneckerSumOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.operator import LinearOperator, SolvableOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.fft import NearbySolve
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.preconditioners.multigrid.robust import RobustMultigridCG
from sciml.linalg.preconditioners.multigrid.solver import MultigridCG
from sciml.linalg.scaling import solve_scaled
from sciml.linalg.solvers.base import LinearSolver
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.direct import LU, Cholesky, Structured
from sciml.linalg.solvers.fast_diagonalization import FastDiagonalization
from sciml.linalg.solvers.gmres import GMRES
from sciml.linalg.solvers.iteration import IterativeSolver
from sciml.linalg.solvers.minres import MINRES
from sciml.linalg.solvers.pseudo_inverse import PseudoInverse
from sciml.solution import Solution, Status

LOOSEST_ADJOINT = 1e-3  # relative; a gradient of a solution that met a very loose atol
DENSE_LIMIT = 1024  # unknowns; factoring takes some 20 ms and 8 MB there in float64


@final
@dataclass(frozen=True)
class Choice:
    """A solver and why it was taken.

    Args:
        solver: Tried first.
        reason: In words, for the statistics.
        fallbacks: Tried in turn for the right-hand sides on which those before broke down (or
            stagnated, if they iterate).
        preconditioner: M for all of them, None for nothing.
    """

    solver: LinearSolver
    reason: str
    fallbacks: tuple[LinearSolver, ...] = ()
    preconditioner: LinearOperator | None = None

    def solve(
        self,
        operator: LinearOperator,
        b: Tensor,
        start: Tensor | None,
        preconditioner: LinearOperator | None,
    ) -> Solution[Tensor]:
        """Solve by the first solver that can, and name those that could not."""
        solver, failed = self.solver, list[str]()
        solution = solve_scaled(solver, operator, b, start, preconditioner)
        for fallback in self.fallbacks:
            if not _calls_for_another(solver, solution.status):
                break
            failed.append(type(solver).__name__)
            start = _next_start(operator, solution, start)
            solver, before = fallback, solution
            solution = solve_scaled(solver, operator, b, start, preconditioner)
            solution = dataclasses.replace(
                solution,
                num_steps=before.num_steps + solution.num_steps,
                history=torch.cat([before.history, solution.history[1:]]),
            )
        own = {"reason": self.reason} if self.reason else {}
        if preconditioner is not None:
            own["preconditioner"] = type(preconditioner).__name__
        if failed:
            own["fallback_from"] = ", ".join(failed)
        return dataclasses.replace(solution, stats={**solution.stats, **own})

    def relative(self, b: Tensor) -> "Choice":
        """The same solvers for the gradient of a solve of `b`, as accurate in proportion.

        An absolute tolerance has the unit of b. A gradient has another one and may be smaller
        than that tolerance altogether.
        """
        if self.solver.atol == 0:
            return self
        largest = float(b.abs().max())  # before squaring, which may overflow
        norm = largest * float((b / largest).norm()) if largest else 0.0
        fraction = self.solver.atol / norm if norm else LOOSEST_ADJOINT
        rtol = max(self.solver.rtol, min(fraction, LOOSEST_ADJOINT), torch.finfo(b.dtype).eps)
        first, *others = (
            dataclasses.replace(solver, rtol=rtol, atol=0.0)
            for solver in (self.solver, *self.fallbacks)
        )
        return dataclasses.replace(self, solver=first, fallbacks=tuple(others))


def _calls_for_another(solver: LinearSolver, status: Status) -> bool:
    """Whether the next method may do what this one could not."""
    if isinstance(solver, MultigridCG):  # its directions keep null vectors, which cost digits
        return status is not Status.CONVERGED
    # a direct method stagnates at the precision that its dtype allows
    stagnated = status is Status.STAGNATION and isinstance(solver, IterativeSolver)
    return stagnated or status is Status.BREAKDOWN


def _next_start(
    operator: LinearOperator, solution: Solution[Tensor], start: Tensor | None
) -> Tensor:
    """Solutions, and else the best iterates, unless these may hold a large null vector.

    What broke down on a singular operator gathers one, which loses digits. A known null space
    is projected out; where none is known, only solutions are kept.
    """
    value = solution.value
    if operator.singular:
        projection = operator.T.range_projection()
        value = value if projection is None else projection(value)
        usable = torch.isfinite(value)
    else:
        axes = (1,) * len(operator.in_shape)
        usable = solution.converged.reshape(*solution.converged.shape, *axes)
    return torch.where(usable, value, 0.0 if start is None else start)


def choose_solver(
    operator: LinearOperator, preconditioner: LinearOperator | None, rtol: float, atol: float
) -> Choice:
    """The solver for an operator's structure: its own solve, else dense, else Krylov.

    A pressure operator has a solver of its own, whatever its size. A preconditioner asks for an
    iterative method. Without one, operators whose own solve is exact and fast use it, small
    ones are factored, and others iterate: CG where A is symmetric (then MINRES, should A turn
    out to be indefinite), GMRES where it is not, both with the diagonal as preconditioner where
    A knows it without being made dense.
    """
    tolerances: dict[str, Any] = {"rtol": rtol, "atol": atol}
    if isinstance(operator, PoissonOperator) and isinstance(preconditioner, CCMG | None):
        return _pressure(operator, preconditioner, tolerances)
    if preconditioner is None:
        direct = _direct(operator, tolerances)
        if direct is not None:
            return direct
        preconditioner = _jacobi(operator)
    if operator.positive_definite:
        return Choice(CG(**tolerances), "positive definite", (), preconditioner)
    if operator.symmetric:
        fallbacks = (MINRES(**tolerances),)
        reason = "symmetric; MINRES takes over if it is not positive definite"
        return Choice(CG(**tolerances), reason, fallbacks, preconditioner)
    return Choice(GMRES(**tolerances), "not declared symmetric", (), preconditioner)


def _pressure(
    operator: PoissonOperator, given: CCMG | None, tolerances: dict[str, Any]
) -> Choice:
    """Transforms where the fluid fills a box, else multigrid where there is one.

    Transforms of the whole box as a preconditioner are for the rest. Where multigrid works they
    take 1.4 to 2.2 times its time even around compact obstacles in three dimensions (measured).
    """
    fallbacks = (RobustMultigridCG(**tolerances),)
    if given is not None:
        reason = "pressure, with a multigrid cycle"
        return Choice(MultigridCG(**tolerances), reason, fallbacks, given)
    if operator.fluid_box is not None:
        return Choice(FastDiagonalization(**tolerances), "pressure of fluid that fills a box")
    if operator.batch_shape or operator.device.type != "cpu":
        box = LaplacianOperator(
            operator.in_shape,
            operator.spacing,
            boundary="neumann",
            dtype=torch.float32,
            device=operator.device,
        )
        reason = "pressure of several geometries, or not on the CPU: no multigrid"
        return Choice(CG(**tolerances), reason, (), NearbySolve(box))
    reason = "pressure around obstacles, below a free surface or with weights"
    return Choice(MultigridCG(**tolerances), reason, fallbacks)


def _direct(operator: LinearOperator, tolerances: dict[str, Any]) -> Choice | None:
    """A direct method, None where the operator is large and without structure.

    Should a factorisation find A singular, a consistent system is still solved: by the pseudo-
    inverse of a small A, by an iteration that tolerates null vectors otherwise.
    """
    separable = isinstance(operator, LaplacianOperator) or (
        isinstance(operator, KroneckerSumOperator) and operator.symmetric
    )
    if separable:
        return Choice(FastDiagonalization(**tolerances), "separable")
    size = math.prod(operator.in_shape)
    singular: LinearSolver = MINRES(**tolerances) if operator.symmetric else GMRES(**tolerances)
    if size <= DENSE_LIMIT:
        singular = PseudoInverse(**tolerances)
    if isinstance(operator, DenseOperator) or (
        size <= DENSE_LIMIT and not isinstance(operator, SolvableOperator)
    ):
        what = "stored dense" if isinstance(operator, DenseOperator) else f"{size} unknowns"
        if operator.positive_definite:
            return Choice(Cholesky(**tolerances), f"positive definite, {what}", (singular,))
        return Choice(LU(**tolerances), what, (singular,))
    if _has_own_solve(operator):
        name = type(operator).__name__
        reason = f"{name} has a solve of its own"
        return Choice(Structured(**tolerances), reason, (singular,))
    return None


def _has_own_solve(operator: LinearOperator) -> bool:
    if isinstance(operator, ScaledOperator):
        return _has_own_solve(operator.operator)
    return isinstance(operator, SolvableOperator)


def _jacobi(operator: LinearOperator) -> LinearOperator | None:
    """Diagonal scaling, where the diagonal costs less than the matrix."""
    if type(operator).diagonal is LinearOperator.diagonal:
        return None
    diagonal = operator.diagonal()
    if bool((diagonal == 0).any()) and not operator.positive_definite:
        return None
    return Jacobi(operator)
