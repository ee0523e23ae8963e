"""How often GP-HM's intervals hold the solution, over problems, noise levels and draws.

Noise of a given level (standard deviation over the root mean square of the right-hand side) is
drawn for every node; an interval of 50, 90 or 99 % covers where the exact solution lies within
0.674, 1.645 or 2.576 posterior standard deviations of the mean. Level 0 has no noise: then only
that the deviation is not below the error is expected.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.evidence import EvidenceOptions
from sciml.models.gp_hm.solver import GPHMSolver
from sciml.pde.gallery.allen_cahn import allen_cahn_1d
from sciml.pde.gallery.poisson import poisson_1d, poisson_2d
from sciml.pde.points import Points
from sciml.pde.problem import Problem
from sciml.solvers.base import solve

SEED = 1_000_003
BOUNDS = {"50 %": 0.67449, "90 %": 1.64485, "99 %": 2.57583, "2 sd": 2.0}
LEVELS = (0.0, 1e-3, 1e-2, 5e-2)


@dataclass(frozen=True)
class Case:
    """One problem, its nodes per axis, and who solves it."""

    name: str
    problem: Callable[[], Problem]
    resolution: int
    solvers: tuple[str, ...]


def coverage(num_seeds: int, *, quick: bool = False) -> list[dict[str, Any]]:
    """Coverage of every case by every solver at every level.

    Args:
        num_seeds: Draws of the noise for the direct solver on one axis; half as many on two,
            a quarter for the evidence, whose search takes seconds.
        quick: Two levels and two draws.
    """
    found = []
    for case in _cases():
        for name in case.solvers:
            shares = {"direct": 1 if case.problem().domain.ndim == 1 else 2}
            seeds = 2 if quick else max(1, num_seeds // shares.get(name, 4))
            for level in (1e-2, 5e-2) if quick else LEVELS:
                row = _covered(case, name, level, seeds if level else 1)
                print({k: row[k] for k in ("name", "solver", "level", *BOUNDS, "error")})
                found.append(row)
    return found


def _cases() -> list[Case]:
    everyone = ("direct", "evidence gm", "evidence stm")
    fast = ("direct",)
    return [
        Case("P1", lambda: poisson_1d("single_sin", frequencies=(50.0,)), 200, everyone),
        Case("P3", lambda: poisson_1d("sin_cos", frequencies=(6.0, 50.0)), 200, everyone),
        Case("P4", lambda: poisson_1d("x_time_sinx", frequencies=(50.0,)), 200, everyone),
        Case("P5", lambda: poisson_1d("x2_add_sinx", frequencies=(250.0,)), 200, everyone),
        Case("A1", lambda: allen_cahn_1d("single_sin", frequencies=(20.0,)), 90, everyone[1:]),
        Case("P3, 400 nodes", lambda: poisson_1d("sin_cos"), 400, fast),
        Case("P5, 400 nodes", lambda: poisson_1d("x2_add_sinx"), 400, fast),
        Case("P6", lambda: poisson_2d("sin_sin", frequencies=(25.0, 25.0)), 100, fast),
        Case("P7", lambda: poisson_2d("sin_add_cos", frequencies=(6.0, 20.0)), 80, fast),
    ]


def _covered(case: Case, solver: str, level: float, num_seeds: int) -> dict[str, Any]:
    clean = case.problem()
    domain, count = clean.domain, case.resolution
    grid = domain.grid([count] * domain.ndim).flatten(1).T.contiguous()
    (right,) = clean.residuals(grid, clean.zero_jets(len(grid)))
    deviation = level * float(right.square().mean().sqrt())
    generator = torch.Generator().manual_seed(SEED)
    unit = torch.rand(400, domain.ndim, dtype=torch.float64, generator=generator)
    low = torch.tensor(domain.low, dtype=torch.float64)
    points = low + unit * torch.tensor(domain.extent, dtype=torch.float64)
    exact = clean.exact(points)
    found: dict[str, list[float]] = {key: [] for key in (*BOUNDS, "error", "seconds", "noise")}
    for draw in range(num_seeds):
        problem = _noisy(clean, count, deviation, SEED + 2 * draw)
        solution = solve(problem, _solver(solver, count), throw=False)
        gap = (solution.value(points) - exact).abs()
        inside = gap / solution.value.std(points).clamp_min(1e-300)
        for key, bound in BOUNDS.items():
            found[key].append(float((inside < bound).double().mean()))
        found["error"].append(float(gap.norm() / exact.norm()))
        found["seconds"].append(solution.stats["seconds"])
        if deviation and "noise" in solution.stats:
            found["noise"].append(solution.stats["noise"] / deviation)
        elif deviation:
            learned = solution.stats["equation_noise"] * float(right.abs().max())
            found["noise"].append(learned / deviation)
    means = {key: statistics.mean(values) for key, values in found.items() if values}
    described = {"name": case.name, "solver": solver, "resolution": count, "level": level}
    return described | {"seeds": num_seeds, **means, "worst 2 sd": min(found["2 sd"])}


def _solver(name: str, count: int) -> GPHMSolver:
    if name == "direct":
        return GPHMSolver(count, options=DirectOptions(posterior=True))
    kernel = name.removeprefix("evidence ")
    options = EvidenceOptions(max_steps=60, max_newton=8)
    return GPHMSolver(count, kernel=kernel, inference="evidence", options=options)


def _noisy(clean: Problem, count: int, deviation: float, seed: int) -> Problem:
    """The problem with one number of noise on the right-hand side for every node."""
    domain = clean.domain
    generator = torch.Generator().manual_seed(seed)
    shape = (count,) * domain.ndim
    noise = deviation * torch.randn(shape, dtype=torch.float64, generator=generator)
    low = torch.tensor(domain.low, dtype=torch.float64)
    step = torch.tensor(domain.extent, dtype=torch.float64) / (count - 1)

    def residual(points: Points, u: Any) -> torch.Tensor:
        nearest = ((points.coordinates - low) / step).round().long().clamp(0, count - 1)
        (value,) = clean.residuals(points.coordinates, [u])
        return value - noise[tuple(nearest.unbind(1))]

    return Problem(domain, residual, clean.conditions)
