"""Pressure systems: our default solve against algebraic multigrid, one thread, side by side.

Parts, chosen by ``--part`` (all of them by default):

amg         setup and solve to 1e-6 against pyamg's Ruge-Stüben and smoothed-aggregation CG, on
            the test domains and on others of other seeds
variable    the same with variable coefficients (contrast 1e3) and anisotropic cells
baselines   steps to 1e-4, 1e-6 and 1e-10 and seconds of every method of the package, the
            published learned one included (``--dcdm RUN``, ``--learned RUN``)
resolution  steps and seconds from 64² to 1024² and from 32³ to 128³, memory per cell, slope
use         warm starts in a running simulation, batches of right-hand sides, bandwidth

Ours is timed from the flag array: operator, hierarchy, packing, solution and unpacking. pyamg
gets the assembled matrix of the fluid cells for nothing. Times are interleaved in one process;
the ratio is theirs over ours; every true residual is checked.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from poisson_baselines import baseline_rows
from poisson_use import resolution_rows, use_rows
from record import report
from scipy import sparse
from structured_algebra import compare

from sciml import CCMG, PoissonOperator, linear_solve
from sciml.linalg.preconditioners.multigrid.solver import MultigridCG
from sciml.simulate.geometry import make_flags, right_hand_side, smooth_coefficients

RTOL = 1e-6
DOMAINS_2D = ("random", "dense", "thin", "freesurf")
DOMAINS_3D = ("random", "sphere", "freesurf", "thin")
COEFFICIENTS = ("cb_a", "cb_s", "cb_8", "logn")
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class System:
    """One pressure system in the forms that both sides want.

    Args:
        name: Of the row.
        flags: Cells.
        spacing: Of each axis.
        coefficients: Cell values, None for ones.
        seed: Of the right-hand side.
    """

    name: str
    flags: Any
    spacing: tuple[float, ...]
    coefficients: Any
    seed: int

    def __post_init__(self) -> None:
        operator = self.operator()
        self.b = operator.project(torch.from_numpy(right_hand_side(self.flags, seed=self.seed)))
        self.fluid = np.flatnonzero(np.asarray(operator.fluid).ravel())
        matrix = sparse.csr_matrix(operator.to_csr())
        self.matrix = sparse.csr_matrix(matrix[self.fluid][:, self.fluid])
        self.right = self.b.numpy().ravel()[self.fluid]

    def operator(self) -> PoissonOperator:
        """The operator, made anew as for a new geometry."""
        return PoissonOperator(
            self.flags, self.spacing, coefficients=self.coefficients, dtype=torch.float64
        )

    def ours(self, compiled: bool = False) -> tuple[Array, int]:
        """Operator, setup and solve: what `linear_solve` chooses, with or without numba."""
        solver = MultigridCG(rtol=RTOL, compiled=compiled)
        solution = linear_solve(self.operator(), self.b, solver)
        return solution.value, solution.num_steps

    def amg(self, method: str) -> tuple[Array, int]:
        """Setup and solve by pyamg."""
        import pyamg

        steps: list[float] = []
        cycle = getattr(pyamg, f"{method}_solver")(self.matrix)
        x = cycle.solve(self.right, accel="cg", tol=RTOL, maxiter=200, residuals=steps)
        return x, len(steps) - 1

    def residual(self, x: Any) -> float:
        """True relative residual of a field, or of a vector of the fluid cells."""
        values = np.asarray(x).ravel()
        values = values if values.size == self.right.size else values[self.fluid]
        left = self.right - self.matrix @ values
        return float(np.linalg.norm(left) / np.linalg.norm(self.right))


def amg_row(
    system: System, methods: tuple[str, ...], budget: tuple[int, float]
) -> dict[str, Any]:
    """Times and steps of both sides, against each of pyamg's methods."""
    x, steps = system.ours()
    solution = linear_solve(system.operator(), system.b, rtol=RTOL)
    row: dict[str, Any] = {
        "name": system.name,
        "unknowns": int(system.fluid.size),
        "steps": {"sciml": steps},
        "relative_residual": {"sciml": system.residual(x)},
        "chosen": {
            key: solution.stats[key]
            for key in ("solver", "preconditioner", "reason", "operator_complexity")
            if key in solution.stats
        },
    }
    if solution.stats.get("preconditioner") != "CCMG":
        raise RuntimeError(f"{system.name}: expected CCMG to be chosen, got {row['chosen']}")
    for method in methods:

        def other(method: str = method) -> Any:
            return system.amg(method)

        x, steps = other()
        row["steps"][method] = steps
        row["relative_residual"][method] = system.residual(x)
        row[method] = compare(system.ours, other, method, budget)
    if methods == ("ruge_stuben",):
        return row
    row["ruge_stuben_numba"] = compare(
        lambda: system.ours(compiled=True),
        lambda: system.amg("ruge_stuben"),
        "ruge_stuben",
        budget,
    )
    row["setup_milliseconds"] = statistics.median(
        1e3 * CCMG(system.operator(), compiled=False).hierarchy.setup_seconds for _ in range(9)
    )
    return row


def amg_systems(quick: bool) -> Iterator[System]:
    """The test domains, and others of other seeds."""
    shapes = [(64, 64)] if quick else [(256, 256), (512, 512)]
    for seed in (20261,) if quick else (20261, 77023):
        for shape in shapes:
            for kind in DOMAINS_2D:
                yield domain(kind, shape, seed)
        for kind in DOMAINS_3D:
            yield domain(kind, (16, 16, 16) if quick else (64, 64, 64), seed)


def domain(kind: str, shape: tuple[int, ...], seed: int) -> System:
    """One test domain with unit cells."""
    label = "x".join(map(str, shape))
    flags = make_flags(kind, shape, seed=seed)
    return System(f"{kind} {label} seed {seed}", flags, (1.0,) * len(shape), None, seed + 2)


def variable_systems(quick: bool) -> Iterator[System]:
    """Contrast 1e3 and cells ten times longer along all axes but the first."""
    for shape in ((48, 48), (16, 16, 16)) if quick else ((256, 256), (48, 48, 48)):
        label = "x".join(map(str, shape))
        stretched = (0.1,) + (1.0,) * (len(shape) - 1)
        for kind in ("random", "freesurf"):
            flags = make_flags(kind, shape, seed=20261)
            for name in COEFFICIENTS:
                values = smooth_coefficients(name, shape, contrast=1e3, seed=20263)
                ones = (1.0,) * len(shape)
                yield System(f"{kind} {label} {name}", flags, ones, values, 20265)
            yield System(f"{kind} {label} aniso", flags, stretched, None, 20265)
            values = smooth_coefficients("logn", shape, contrast=1e3, seed=20263)
            yield System(f"{kind} {label} aniso logn", flags, stretched, values, 20265)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Ratios of the total time, by row."""
    return {
        row["name"]: {
            "ratio": round(row["ruge_stuben"]["ratio"]["median"], 2),
            "ratio_numba": round(
                row.get("ruge_stuben_numba", row["ruge_stuben"])["ratio"]["median"], 2
            ),
            "steps": f"{row['steps']['sciml']}/{row['steps']['ruge_stuben']}",
        }
        for row in rows
    }


def main() -> None:
    """Measure and report."""
    parts: dict[str, Callable[[argparse.Namespace, tuple[int, float]], Any]] = {
        "amg": lambda options, budget: [
            amg_row(s, ("ruge_stuben", "smoothed_aggregation"), budget)
            for s in amg_systems(options.quick)
        ],
        "variable": lambda options, budget: [
            amg_row(s, ("ruge_stuben",), budget) for s in variable_systems(options.quick)
        ],
        "baselines": lambda options, _: baseline_rows(
            options.quick, dcdm=options.dcdm, learned=options.learned
        ),
        "resolution": lambda options, _: resolution_rows(options.quick),
        "use": lambda options, _: use_rows(options.quick),
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=list(parts), action="append")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=12.0, help="budget of one comparison")
    parser.add_argument("--quick", action="store_true", help="small systems only")
    parser.add_argument("--dcdm", type=Path, help="run folder of a fitted DCDM network")
    parser.add_argument("--learned", type=Path, help="run folder of a fitted learned CCMG")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "options": {k: str(v) for k, v in vars(options).items() if k != "output"},
        "rtol": RTOL,
    }
    for part in options.part or list(parts):
        start = time.perf_counter()
        result[part] = parts[part](options, (options.repetitions, options.seconds))
        result[f"{part}_seconds"] = time.perf_counter() - start
        if part in ("amg", "variable"):
            result[f"{part}_ratios"] = summary(result[part])
    report(result, options.output)


if __name__ == "__main__":
    main()
