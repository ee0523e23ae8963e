"""GP-HM's direct solver beside Chebyshev collocation: error, seconds, points per wavelength.

Every row solves one problem by both methods in this process on one thread, with the same number
of nodes per axis. Errors are relative 2-norms on 2000 random points and on uniform grids of 300
points per axis (91 in three dimensions). `best_of_sweep` is the least error of any pass, which
only the exact solution can know; the solver selects by residual. The published numbers are the
least test error over 20 checkpoints. Intervals (--coverage) and cost and memory against the
resolution (--scaling) stand in gp_hm_coverage.py and gp_hm_scaling.py.
"""

import argparse
import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from gp_hm_coverage import coverage
from gp_hm_scaling import scaling
from record import report

from sciml.domain import Box
from sciml.models.gp_hm.adam import AdamOptions
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_resolution import largest_frequency
from sciml.models.gp_hm.solver import GPHMSolver
from sciml.pde.conditions import Dirichlet, Neumann, Periodic
from sciml.pde.gallery.advection import advection
from sciml.pde.gallery.allen_cahn import allen_cahn_1d, allen_cahn_2d
from sciml.pde.gallery.poisson import laplacian, poisson_1d, poisson_2d, poisson_3d
from sciml.pde.jet import FunctionJet
from sciml.pde.points import Points
from sciml.pde.problem import Problem
from sciml.solvers.base import Field, solve
from sciml.solvers.collocation import ChebyshevCollocation

SEED = 4_200_019
TURN = 2.0 * math.pi
Function = Callable[[Points], torch.Tensor]


@dataclass(frozen=True)
class Row:
    """One problem at one resolution."""

    name: str
    problem: Callable[[], Problem]
    resolution: tuple[int, ...]
    goal: float
    published: float | None = None
    options: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", nargs="*", help="only rows whose name starts with one of these"
    )
    parser.add_argument("--coverage", action="store_true", help="also coverage of intervals")
    parser.add_argument("--seeds", type=int, default=12, help="draws of the noise in it")
    parser.add_argument("--adam-steps", type=int, default=1000, help="0 leaves the row out")
    parser.add_argument("--scaling", action="store_true", help="also cost against resolution")
    parser.add_argument("--quick", action="store_true", help="coverage and scaling in little")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    solve(poisson_2d("sin_add_cos", frequencies=(1.0, 2.0)), GPHMSolver(24))  # warm-up
    solve(poisson_1d("single_sin", frequencies=(2.0,)), ChebyshevCollocation(24))
    prefixes = tuple(options.rows or ("",))
    result: dict[str, Any] = {
        "options": {k: v for k, v in vars(options).items() if k != "output"},
        "rows": [_measure(row) for row in _rows() if row.name.startswith(prefixes)],
    }
    if options.coverage:
        result["coverage"] = coverage(options.seeds, quick=options.quick)
    if options.adam_steps:
        result["adam"] = _adam(options.adam_steps)
    if options.scaling:
        result["scaling"] = scaling(quick=options.quick)
    report(result, options.output)


def _rows() -> list[Row]:
    line: Callable[..., Problem] = poisson_1d
    strong = {"form": "strong"}
    both = functools.partial
    return [
        Row("P1", both(line, "single_sin"), (400,), 1e-9, 3.99e-7),
        Row("P2", both(line, "mix_sin"), (900,), 1e-9, 3.5e-4),
        Row("P2, cosine", both(line, "mix_sin", form="cosine"), (900,), 1e-9, 3.5e-4),
        Row("P3", both(line, "sin_cos"), (400,), 1e-9, 1.5e-6),
        Row("P4", both(line, "x_time_sinx"), (900,), 1e-9, 9.0e-7),
        Row("P5", both(line, "x2_add_sinx"), (400,), 1e-9, 4.2e-4),
        Row("A1", both(allen_cahn_1d, "single_sin"), (400,), 1e-9, 7.7e-7),
        Row("A2", both(allen_cahn_1d, "sin_cos"), (400,), 1e-9, 4.2e-6),
        Row("P6", both(poisson_2d, "sin_sin"), (400, 400), 1e-8, 6.5e-5),
        Row("P7", both(poisson_2d, "sin_add_cos"), (200, 200), 1e-8, 1.0e-3),
        Row("A3", both(allen_cahn_2d, "mix_sincos"), (200, 200), 1e-8, 2.6e-3),
        Row("V1, inflow", both(advection, "sin", sides="inflow"), (200, 200), 1e-7, 1.4e-4),
        Row("P1, few points", both(line, "single_sin"), (240,), 1e-10),
        Row("P3, few points", both(line, "sin_cos"), (240,), 1e-10),
        Row("P4, few points", both(line, "x_time_sinx"), (430,), 1e-9),
        Row("P5, few points", both(line, "x2_add_sinx"), (180,), 1e-10),
        Row("P6, few points", both(poisson_2d, "sin_sin"), (240, 240), 1e-10, None, strong),
        Row("P6, rectangle", both(poisson_2d, "sin_sin"), (240, 262), 1e-10, None, strong),
        Row("P7, few points", both(poisson_2d, "sin_add_cos"), (64, 64), 1e-9, None, strong),
        Row("P6 + EX", both(_poisson, _waves_and_exponential), (240, 240), 1e-8, None, strong),
        Row("EN", both(_poisson, _envelopes), (240, 240), 1e-7, None, strong),
        Row("CH", both(_poisson, _chirps), (240, 240), 5e-5, None, strong),
        Row("AM", both(_poisson, _modulated), (240, 240), 1e-5, None, strong),
        Row("EN, both forms", both(_poisson, _envelopes), (240, 240), 1e-7),
        Row("CH, both forms", both(_poisson, _chirps), (240, 240), 5e-5),
        Row("AM, both forms", both(_poisson, _modulated), (240, 240), 1e-5),
        Row(
            "3-D lattice",
            both(poisson_3d, "sin_add_exp"),
            (100, 100, 100),
            1e-7,
            None,
            {"form": "weak_uniform", "repair": False, "nyquist_fractions": (0.6,)},
        ),
        Row("3-D repaired", both(poisson_3d, "sin_add_exp"), (100,) * 3, 1e-10, None, strong),
        Row(
            "3-D repaired, few points",
            both(poisson_3d, "sin_add_exp"),
            (64, 64, 64),
            1e-10,
            None,
            {"form": "strong", "nyquist_fractions": (0.85,)},
        ),
        Row(
            "Neumann right and top",
            both(_poisson, _shifted, derivative=(("x", "high"), ("y", "high"))),
            (400, 400),
            1e-9,
        ),
        Row(
            "periodic along x",
            both(_poisson, _shifted_periodic, periodic=("x",)),
            (400, 400),
            1e-9,
        ),
    ]


def _measure(row: Row) -> dict[str, Any]:
    problem = row.problem()
    passes: list[tuple[float, Field]] = []
    start = time.perf_counter()

    def remember(_number: int, known: Any) -> None:
        passes.append((time.perf_counter() - start, known["field"]))

    solver = GPHMSolver(row.resolution, options=DirectOptions(**row.options))
    solution = solve(problem, solver, callback=remember, throw=False)
    seconds = time.perf_counter() - start
    scattered = _scattered(problem)
    swept = [_error(problem, candidate, scattered) for _, candidate in passes]
    reached = [at for (at, _), error in zip(passes, swept, strict=True) if error <= 1e-6]
    error = _error(problem, solution.value, scattered)
    waves = [largest_frequency(problem, k, 0.03) for k in range(problem.domain.ndim)]
    start = time.perf_counter()
    classical = solve(problem, ChebyshevCollocation(row.resolution), throw=False)
    classical_seconds = time.perf_counter() - start
    grid = _grid(problem)
    described = {
        "name": row.name,
        "resolution": row.resolution,
        "points_per_wavelength": [
            (count - 1) / (extent * wave) if wave else None
            for count, extent, wave in zip(
                row.resolution, problem.domain.extent, waves, strict=True
            )
        ],
        "goal": row.goal,
        "published": row.published,
        "error": error,
        "error_on_grid": _error(problem, solution.value, grid),
        "seconds": seconds,
        "seconds_to_1e-6": min(reached, default=None),
        "best_of_sweep": min(swept),
        "selected_over_best": error / min(swept),
        "residual_norm": solution.stats["residual_norm"],
        "boundary_misfit": solution.stats["boundary_misfit"],
        "form": solution.stats["form"],
        "repaired": solution.stats["repaired"],
        "num_passes_in_all": solution.num_steps,
        "collocation_error": _error(problem, classical.value, scattered),
        "collocation_error_on_grid": _error(problem, classical.value, grid),
        "collocation_seconds": classical_seconds,
    }
    print({k: described[k] for k in ("name", "error", "seconds", "collocation_error")})
    return described


def _error(problem: Problem, solution: Field, points: torch.Tensor) -> float:
    exact = problem.exact(points)
    return float((solution(points) - exact).norm() / exact.norm())


def _scattered(problem: Problem) -> torch.Tensor:
    generator = torch.Generator().manual_seed(SEED)
    unit = torch.rand(2000, problem.domain.ndim, dtype=torch.float64, generator=generator)
    low = torch.tensor(problem.domain.low, dtype=torch.float64)
    return low + unit * torch.tensor(problem.domain.extent, dtype=torch.float64)


def _grid(problem: Problem) -> torch.Tensor:
    count = 300 if problem.domain.ndim < 3 else 91
    return problem.domain.grid([count] * problem.domain.ndim).flatten(1).T.contiguous()


def _poisson(
    u: Function,
    *,
    derivative: Sequence[tuple[str, str]] = (),
    periodic: Sequence[str] = (),
) -> Problem:
    """Poisson's equation on [0, 2π]² with the solution u and some sides without values."""
    conditions: list[Any] = [Periodic(axis) for axis in periodic]
    for axis in ("x", "y"):
        for side in ("low", "high"):
            if axis in periodic:
                continue
            if (axis, side) in derivative:
                conditions.append(Neumann(axis, side, functools.partial(_slope, u, axis, side)))
            else:
                conditions.append(Dirichlet(axis, side, u))
    return Problem(
        Box(("x", "y"), (0.0, 0.0), (TURN, TURN)),
        lambda points, jet: laplacian(points, jet) - laplacian(points, FunctionJet(u, points)),
        conditions,
        exact=u,
    )


def _slope(u: Function, axis: str, side: str, points: Points) -> torch.Tensor:
    slope = FunctionJet(u, points).d(**{axis: 1})
    return slope if side == "high" else -slope


def _waves_and_exponential(points: Points) -> torch.Tensor:
    waves = torch.sin(100 * points.x) * torch.sin(100 * points.y)
    return waves + torch.exp(0.3 * points.x - 0.2 * points.y)


def _envelopes(points: Points) -> torch.Tensor:
    along_x = torch.exp(-((points.x - 3) ** 2) / 2) * torch.sin(93.7 * points.x)
    return along_x * torch.exp(-((points.y - 3) ** 2) / 2) * torch.sin(61.3 * points.y)


def _chirps(points: Points) -> torch.Tensor:
    along_x = torch.sin(60 * points.x + 2 * points.x**2)
    return along_x * torch.sin(60 * points.y + 2 * points.y**2)


def _modulated(points: Points) -> torch.Tensor:
    along_x = torch.sin(93.7 * points.x) / (1.5 + torch.cos(points.x))
    return along_x * torch.sin(93.7 * points.y) / (1.5 + torch.cos(points.y))


def _shifted(points: Points) -> torch.Tensor:
    waves = torch.sin(100 * points.x + 0.3) * torch.sin(93.7 * points.y + 0.2)
    return waves + torch.exp(0.3 * points.x - 0.2 * points.y)


def _shifted_periodic(points: Points) -> torch.Tensor:
    waves = torch.sin(100 * points.x + 0.3) * torch.sin(93.7 * points.y + 0.2)
    return waves + points.y * torch.exp(torch.cos(points.x))


def _adam(num_steps: int) -> dict[str, Any]:
    """The published method on P1: seconds of some steps, extrapolated to the published run."""
    options = AdamOptions(num_steps=num_steps)
    solver = GPHMSolver(400, inference="adam", options=options)
    solution = solve(poisson_1d("single_sin"), solver, throw=False)
    seconds = solution.stats["seconds"]
    return {
        "problem": "P1, 400 nodes",
        "steps": num_steps,
        "seconds": seconds,
        "final_error": solution.stats["error"],
        "best_checkpoint_error": solution.stats["best_checkpoint_error"],
        "extrapolated_seconds_of_100000_steps": seconds * 1e5 / num_steps,
    }


if __name__ == "__main__":
    main()
