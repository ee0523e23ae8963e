"""Chebyshev collocation: the classical baseline for every problem on a box."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.pde.conditions import FaceCondition
from sciml.pde.points import interior_points
from sciml.pde.problem import Problem
from sciml.solution import Solution, Status
from sciml.solvers.base import Callback, Field, PDESolver
from sciml.solvers.discretisation import Discretisation, Equation
from sciml.solvers.misfit import boundary_misfit, residual_norm
from sciml.solvers.needed_conditions import (
    check_determined,
    check_supported,
    needed_conditions,
)
from sciml.solvers.newton_step import check_size, newton_step
from sciml.solvers.spectral_axis import spectral_axes
from sciml.solvers.spectral_field import SpectralField

FIRST_RESOLUTION = {1: 32, 2: 24, 3: 16}
LARGEST_RESOLUTION = {1: 2048, 2: 512, 3: 128}
SMALLEST_RESOLUTION = 4
# rounding leaves a plateau of coefficients; more nodes would only raise it
PLATEAU_TAIL, PLATEAU_GAIN = 1e-6, 0.1
# an axis that is resolved shows part of the roughness of another that is not
WORST_SHARE = 1e-3
# of the largest term of the equation, at points between the nodes
LARGEST_RESIDUAL = 1e-4
SMALLEST_DAMPING = 2.0**-10
NUM_TEST_POINTS, TEST_SEED = 1024, 3_407_119


@final
@dataclass(frozen=True)
class ChebyshevCollocation(PDESolver):
    """Collocation at the nodes of a tensor grid, in 1, 2 or 3 dimensions.

    Chebyshev nodes on bounded axes, Fourier nodes on periodic ones. Conditions on faces are
    imposed exactly by eliminating the nodes at the ends. A linear equation whose operator is a
    sum over the axes is solved by diagonalising each of them, or by Bartels and Stewart's
    method where the eigenvectors are ill-conditioned (first order in time); other linear
    equations by LU or, above 1024 unknowns, GMRES preconditioned by the part that separates;
    nonlinear ones by damped Newton steps. Several equations are solved by least squares.

    It needs about π nodes per wavelength and then converges faster than any power of the
    resolution; with fewer it gives numbers that mean nothing, which
    ``stats["residual_norm"]`` (at points between the nodes, relative to the largest term of
    the equation) and ``stats["coefficient_tail"]`` show.

    Args:
        resolution: Nodes per axis, or one number for all. None doubles those of the axes whose
            highest coefficients are not small, until they are.
        tolerance: Relative size of the highest coefficients below which ``resolution=None``
            stops, and of the last Newton step (which converges quadratically).
        max_steps: Largest number of Newton steps.

    Raises:
        ValueError: If a resolution is below 4, the tolerance not in (0, 1), or `max_steps`
            below 1.

    Source: Trefethen, Spectral Methods in MATLAB (2000), chapters 6-9; Haidvogel and Zang, J.
    Comput. Phys. 30 (1979), 167 (diagonalisation of each axis).
    """

    resolution: int | Sequence[int] | None = None
    tolerance: float = 1e-9
    max_steps: int = 30

    def __post_init__(self) -> None:
        given = () if self.resolution is None else _as_tuple(self.resolution, 1)
        if any(count < SMALLEST_RESOLUTION for count in given):
            raise ValueError(
                f"ChebyshevCollocation: expected at least {SMALLEST_RESOLUTION} nodes an axis, "
                f"got {self.resolution}; raise the resolution"
            )
        if not (0 < self.tolerance < 1 and self.max_steps >= 1):
            raise ValueError(
                "ChebyshevCollocation: expected 0 < tolerance < 1 and max_steps >= 1, got "
                f"{self.tolerance} and {self.max_steps}; the tolerance is relative"
            )

    @override
    def solve(self, problem: Problem, *, callback: Callback | None = None) -> Solution[Field]:
        began = time.perf_counter()
        check_supported(problem)
        check_determined(problem)
        conditions = needed_conditions(problem)
        if self.resolution is None:
            found = self._with_own_resolution(problem, conditions, callback)
        else:
            resolution = _as_tuple(self.resolution, problem.domain.ndim)
            found = self._newton(problem, conditions, resolution, callback)
        stats = {
            **found.stats,
            "residual_norm": residual_norm(problem, found.value, _test_points(problem)),
            "boundary_misfit": boundary_misfit(problem, found.value),
            "seconds": time.perf_counter() - began,
        }
        return replace(found, stats=stats)

    def _with_own_resolution(
        self,
        problem: Problem,
        conditions: Mapping[str, Sequence[Sequence[FaceCondition]]],
        callback: Callback | None,
    ) -> Solution[Field]:
        """Double the nodes of the axes that need it until the coefficients have decayed."""
        ndim = problem.domain.ndim
        resolution, largest = (FIRST_RESOLUTION[ndim],) * ndim, LARGEST_RESOLUTION[ndim]
        last = (math.inf,) * ndim
        while True:
            found = self._newton(problem, conditions, resolution, callback)
            tails: tuple[float, ...] = found.stats["coefficient_tail"]
            if not found and max(tails) < PLATEAU_TAIL:  # it failed, not for want of resolution
                return found
            rough = [
                tail > max(self.tolerance, WORST_SHARE * max(tails))
                and not (tail < PLATEAU_TAIL and tail > PLATEAU_GAIN * before)
                for tail, before in zip(tails, last, strict=True)
            ]
            if not any(rough):
                # an alias may look resolved: between the nodes the equation does not hold then
                left = residual_norm(problem, found.value, _test_points(problem))
                rough = [not left <= LARGEST_RESIDUAL] * ndim
            if not any(rough):
                return found
            if all(n >= largest for n, more in zip(resolution, rough, strict=True) if more):
                detail = (
                    f"{resolution} nodes do not resolve the solution: the highest coefficients "
                    f"are {max(tails):.1e} of the largest; pass a higher resolution"
                )
                return replace(
                    found,
                    status=Status.MAX_STEPS,
                    converged=torch.tensor(False),
                    stats={**found.stats, "detail": detail},
                )
            resolution = tuple(
                min(2 * n, largest) if more else n
                for n, more in zip(resolution, rough, strict=True)
            )
            last = tuple(
                tail if more else math.inf for tail, more in zip(tails, rough, strict=True)
            )

    def _newton(
        self,
        problem: Problem,
        conditions: Mapping[str, Sequence[Sequence[FaceCondition]]],
        resolution: tuple[int, ...],
        callback: Callback | None,
    ) -> Solution[Field]:
        axes = spectral_axes(problem.domain, resolution)
        system = Discretisation(problem, axes, conditions)
        check_size(system)
        fields = system.start()
        equations = system.equations(fields)
        history = [_norm(system, equations)]
        status, method, detail, steps = Status.MAX_STEPS, "", "", 0
        while steps < self.max_steps:
            if not math.isfinite(history[-1]):
                status = Status.NONFINITE
                break
            try:
                correction, method = newton_step(system, equations)
            except ValueError as error:
                if problem.linear:
                    raise
                status, detail = Status.BREAKDOWN, f"{error} (at step {steps + 1} of Newton)"
                break
            steps += 1
            if not bool(correction.isfinite().all()):
                status = Status.NONFINITE
                break
            fields, equations, damping = _damped(
                system, fields, correction, history[-1], linear=problem.linear
            )
            history.append(_norm(system, equations))
            if callback is not None:
                left = residual_norm(
                    problem, SpectralField(problem, axes, fields), _test_points(problem)
                )
                callback(steps, {"residual_norm": left, "resolution": resolution})
            small = float(correction.norm()) <= self.tolerance * float(fields.norm())
            if problem.linear or (small and damping == 1.0):
                finite = math.isfinite(history[-1])
                status = Status.CONVERGED if finite else Status.NONFINITE
                break
            if damping < SMALLEST_DAMPING:
                status = Status.STAGNATION
                break
        field = SpectralField(problem, axes, fields)
        stats: dict[str, Any] = {
            "solver": "ChebyshevCollocation",
            "resolution": resolution,
            "method": method,
            "coefficient_tail": field.coefficient_tail(),
        }
        if status is not Status.CONVERGED:
            stats["detail"] = detail or (
                f"Newton's method left a residual of {history[-1]:.1e}, from "
                f"{history[0]:.1e}; the value is its last iterate"
            )
        return Solution(
            value=field,
            status=status,
            converged=torch.tensor(status is Status.CONVERGED),
            num_steps=steps,
            history=torch.tensor(history, dtype=torch.float64),
            stats=stats,
        )


def _damped(
    system: Discretisation, fields: Tensor, correction: Tensor, before: float, *, linear: bool
) -> tuple[Tensor, list[Equation], float]:
    """Halve a Newton step until the residual falls; rounding may raise that of a tiny one."""
    damping = 1.0
    while True:
        moved = fields + damping * correction
        equations = system.equations(moved)
        after = _norm(system, equations)
        tiny = float(correction.norm()) <= 1e-6 * float(moved.norm())
        if linear or tiny or after < before or damping < SMALLEST_DAMPING:
            return moved, equations, damping
        damping *= 0.5


def _norm(system: Discretisation, equations: Sequence[Equation]) -> float:
    """2-norm of the residuals where they are collocated."""
    if system.square:
        return float(system.collocated(equations[0][0]).norm())
    return math.sqrt(sum(float(residual.square().sum()) for residual, _ in equations))


def _test_points(problem: Problem) -> Tensor:
    """Points inside the box that are no nodes."""
    generator = torch.Generator().manual_seed(TEST_SEED)
    return interior_points(problem.domain, NUM_TEST_POINTS, generator)


def _as_tuple(resolution: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    own = (resolution,) * ndim if isinstance(resolution, int) else tuple(resolution)
    if not isinstance(resolution, int) and ndim > 1 and len(own) != ndim:
        raise ValueError(
            f"ChebyshevCollocation: expected one resolution per axis ({ndim}), got {own}; give "
            "one number for all, or as many as axes"
        )
    return own
