"""Solvers of linear systems side by side, on fixed pressure systems."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor

from sciml.linalg.lanczos import preconditioned_extremes
from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.solvers.base import LinearSolver
from sciml.linalg.solvers.cg import CG
from sciml.simulate.geometry import make_flags, right_hand_side
from sciml.solution import Status

Method: TypeAlias = Callable[
    [PoissonOperator, float], tuple[LinearSolver, LinearOperator | None]
]
"""The solver with a tolerance, and the preconditioner, for one operator; the set-up counts."""

TIMED_RTOL = 1e-6
"""Tolerance of the solve whose time is taken."""

TIMED_SOLVES, TIMED_SECONDS = 7, 0.5
"""Most solves whose shortest time counts, and seconds after which there are no more of them."""


@final
@dataclass(frozen=True)
class System:
    """One pressure system to compare on.

    Args:
        name: Kind of geometry and its size, e.g. ``"random_64x64"``.
        operator: A.
        b: Right-hand side in the range of A, float64.
    """

    name: str
    operator: PoissonOperator
    b: Tensor


@final
@dataclass(frozen=True)
class SystemResult:
    """What one method reached on one system.

    Args:
        method: Name of the method.
        system: Name of the system.
        steps: Steps to each tolerance; None where it was not reached.
        setup_seconds: Making solver and preconditioner.
        solve_seconds: The shortest of some solves to 1e-6, without the set-up.
        history: Residual norm over that of b, at the start and after each step.
        status: How the solve to the smallest tolerance ended.
        extremes: Least and largest eigenvalue of M A, where M is linear and named.
    """

    method: str
    system: str
    steps: Mapping[float, int | None]
    setup_seconds: float
    solve_seconds: float
    history: tuple[float, ...]
    status: Status
    extremes: tuple[float, float] | None

    def metrics(self) -> dict[str, float]:
        """Flat names below that of the system; a tolerance that was missed is infinite."""
        values = {
            f"iterations@{tolerance:.0e}".replace("e-0", "e-"): math.inf
            if count is None
            else float(count)
            for tolerance, count in self.steps.items()
        }
        values |= {"setup_seconds": self.setup_seconds, "solve_seconds": self.solve_seconds}
        if self.extremes is not None:
            values |= dict(
                zip(("eigenvalue_min", "eigenvalue_max"), self.extremes, strict=True)
            )
        return {f"{self.system}/{name}": value for name, value in values.items()}


def fixed_systems(
    kinds: Sequence[str], resolutions: Sequence[Sequence[int]], *, seed: int
) -> list[System]:
    """Systems of each kind at each resolution, the same for the same seed.

    Args:
        kinds: Kinds of `make_flags`.
        resolutions: Cells per axis, of each size.
        seed: Seed of geometries and right-hand sides.

    Raises:
        ValueError: If a kind or a resolution is none that `make_flags` takes.
    """
    systems = []
    for resolution in resolutions:
        for kind in kinds:
            flags = make_flags(kind, resolution, seed=seed)
            operator = PoissonOperator(torch.from_numpy(flags))
            b = torch.from_numpy(right_hand_side(flags, seed=seed + 1))
            name = f"{kind}_{'x'.join(map(str, resolution))}"
            systems.append(System(name, operator, operator.project(b)))
    return systems


def conjugate_gradients(
    operator: PoissonOperator, rtol: float
) -> tuple[LinearSolver, LinearOperator | None]:
    """Method: CG without a preconditioner."""
    return CG(rtol=rtol), None


def multigrid(
    operator: PoissonOperator, rtol: float
) -> tuple[LinearSolver, LinearOperator | None]:
    """Method: CG with the classical multigrid preconditioner, the default of this package."""
    return CG(rtol=rtol), CCMG(operator)


BASELINES: Mapping[str, Method] = {"cg": conjugate_gradients, "ccmg": multigrid}
"""What every method for pressure systems has to be compared with."""


def measure_method(
    name: str, method: Method, system: System, tolerances: Sequence[float]
) -> SystemResult:
    """Count and time one method on one system.

    Args:
        name: Name of the method.
        method: The method.
        system: The system.
        tolerances: Relative tolerances to count the steps to, in one solve to the smallest.
    """
    began = time.perf_counter()
    solver, preconditioner = method(system.operator, min(tolerances))
    setup_seconds = time.perf_counter() - began
    solution = solver.solve(system.operator, system.b, preconditioner=preconditioner)
    relative = (solution.history / system.b.norm()).tolist()
    # the history of CG is its recursion; only what ended with a true residual counts there
    reached = float(solution.stats["residual_norm"]) / float(system.b.norm())
    steps = {
        tolerance: next(
            (number for number, norm in enumerate(relative) if norm <= tolerance), None
        )
        if reached <= tolerance
        else None
        for tolerance in tolerances
    }
    timed, preconditioner = method(system.operator, TIMED_RTOL)
    seconds: list[float] = []
    while len(seconds) < TIMED_SOLVES and sum(seconds) < TIMED_SECONDS:
        began = time.perf_counter()
        timed.solve(system.operator, system.b, preconditioner=preconditioner)
        seconds.append(time.perf_counter() - began)
    linear = isinstance(solver, CG) and not solver.flexible
    extremes = (
        preconditioned_extremes(system.operator, preconditioner, system.b) if linear else None
    )
    return SystemResult(
        name,
        system.name,
        steps,
        setup_seconds,
        min(seconds),
        tuple(relative),
        solution.status,
        extremes,
    )
