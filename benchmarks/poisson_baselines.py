"""Every method of the package on the same pressure systems: the baseline table."""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml import CG, PoissonOperator, linear_solve, load
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.operator import LinearOperator
from sciml.linalg.preconditioners.algebraic import AlgebraicMultigrid
from sciml.linalg.preconditioners.deflation import Deflation, ritz_vectors
from sciml.linalg.preconditioners.fft import NearbySolve
from sciml.linalg.preconditioners.incomplete import IncompleteCholesky
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.solvers.base import LinearSolver
from sciml.models.dcdm.learned_ccmg import LearnedCCMG
from sciml.models.dcdm.model import DCDMNet
from sciml.models.dcdm.solver import DCDM
from sciml.simulate.geometry import make_flags, right_hand_side

TOLERANCES = (1e-4, 1e-6, 1e-10)
RITZ_VECTORS = 16
REPETITIONS = 3
Setup = Callable[[PoissonOperator, Tensor], LinearOperator | None]


def baseline_rows(
    quick: bool, dcdm: Path | None = None, learned: Path | None = None
) -> list[dict[str, Any]]:
    """Steps and seconds of every method on every system of the table."""
    rows = [network_call(quick)]
    direction, cycle = (None if run is None else load(run) for run in (dcdm, learned))
    for name, operator, b in systems(quick):
        methods = classical(operator)
        if cycle is not None and cycle.model.network.ndim == b.ndim:
            methods["learned CCMG"] = lambda A, _: LearnedCCMG(cycle, A)
        for method, setup in methods.items():
            rows.append({"system": name, "method": method} | measure(operator, b, setup))
        rows.append({"system": name, "method": "chosen"} | default(operator, b))
        # the networks read no masks: other domains they do not solve, as their runs tell
        domain_fits = name.split()[0] in ("box", "random")
        if direction is not None and direction.model.network.ndim == b.ndim and domain_fits:
            solver = DCDM(direction, rtol=1e-10, max_steps=150, fallback=False)
            rows.append({"system": name, "method": "DCDM"} | measure(operator, b, None, solver))
    return rows


def network_call(quick: bool) -> dict[str, Any]:
    """Seconds of one application of the published network, of which DCDM needs one a step."""
    space = (16, 16, 16) if quick else (64, 64, 64)
    network = DCDMNet(3).eval()
    residual = torch.randn(1, 1, *space, generator=torch.Generator().manual_seed(20267))
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        with torch.no_grad():
            network(residual / residual.norm())
        seconds.append(time.perf_counter() - start)
    return {
        "system": "x".join(map(str, space)),
        "method": "one call of DCDM-64",
        "solve_seconds": statistics.median(seconds),
    }


def systems(quick: bool) -> Iterator[tuple[str, PoissonOperator, Tensor]]:
    """Obstacles, baffles and a free surface in two dimensions, obstacles in three."""
    flat, solid = ((64, 64), (16, 16, 16)) if quick else ((256, 256), (64, 64, 64))
    table = [(kind, flat) for kind in ("box", "random", "dense", "thin", "freesurf")]
    table += [(kind, solid) for kind in ("box", "sphere", "random", "thin", "freesurf")]
    for kind, shape in table:
        flags = make_flags(kind, shape, seed=20261)
        operator = PoissonOperator(flags)
        b = operator.project(torch.from_numpy(right_hand_side(flags, seed=20263)))
        yield f"{kind} {'x'.join(map(str, shape))}", operator, b


def classical(operator: PoissonOperator) -> dict[str, Setup]:
    """Preconditioners of conjugate gradients, by name."""

    def box(A: PoissonOperator, _: Tensor) -> LinearOperator:
        return NearbySolve(LaplacianOperator(A.in_shape, A.spacing, boundary="neumann"))

    def deflated(A: PoissonOperator, b: Tensor) -> LinearOperator:
        return Deflation(A, ritz_vectors(A, b, RITZ_VECTORS), Jacobi(A))

    return {
        "CG": lambda A, b: None,
        "Jacobi": lambda A, b: Jacobi(A),
        "deflated, Jacobi": deflated,
        "IC(0)": lambda A, b: IncompleteCholesky(A.to_csr(), A.in_shape),
        "MIC(0)": lambda A, b: IncompleteCholesky(A.to_csr(), A.in_shape, modified=0.97),
        "DCT of the box": box,
        "pyamg Ruge-Stueben": lambda A, b: AlgebraicMultigrid(A.to_csr(), A.in_shape),
        "pyamg aggregation": lambda A, b: AlgebraicMultigrid(
            A.to_csr(), A.in_shape, method="smoothed_aggregation"
        ),
        "CCMG": lambda A, b: CCMG(A),
    }


def measure(
    operator: PoissonOperator,
    b: Tensor,
    setup: Setup | None,
    solver: LinearSolver | None = None,
) -> dict[str, Any]:
    """Steps to each tolerance from one run to the last of them, and seconds to 1e-6."""
    setups, solves = [], []
    deep = CG(rtol=TOLERANCES[-1], max_steps=4000) if solver is None else solver
    usual = CG(rtol=1e-6, max_steps=4000) if solver is None else _loosened(solver)
    preconditioner = None
    for _ in range(REPETITIONS if solver is None else 1):
        operator = PoissonOperator(operator.flags)  # a new one, which knows no hierarchy yet
        start = time.perf_counter()
        preconditioner = None if setup is None else setup(operator, b)
        setups.append(time.perf_counter() - start)
        start = time.perf_counter()
        linear_solve(operator, b, usual, preconditioner=preconditioner, throw=False)
        solves.append(time.perf_counter() - start)
    solution = linear_solve(operator, b, deep, preconditioner=preconditioner, throw=False)
    history = solution.history.reshape(-1).numpy() / float(b.norm())
    residual = float((b - operator @ solution.value).norm() / b.norm())
    return {
        "steps": {str(tolerance): _first(history, tolerance) for tolerance in TOLERANCES},
        "status": solution.status.name,
        "relative_residual": residual,
        "setup_seconds": statistics.median(setups),
        "solve_seconds": statistics.median(solves),
        "fallback": solution.stats.get("fallback"),
    }


def default(operator: PoissonOperator, b: Tensor) -> dict[str, Any]:
    """What a user gets who asks for nothing, geometry included."""
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        solution = linear_solve(PoissonOperator(operator.flags), b)
        seconds.append(time.perf_counter() - start)
    stats = {key: solution.stats.get(key) for key in ("solver", "preconditioner", "reason")}
    return {"steps": {"1e-06": solution.num_steps}, "total_seconds": min(seconds)} | stats


def _first(history: Any, tolerance: float) -> int | None:
    """Steps until a history falls below a tolerance, None where it never does."""
    below = np.flatnonzero(history <= tolerance)
    return int(below[0]) if below.size else None


def _loosened(solver: Any) -> Any:
    import dataclasses

    return dataclasses.replace(solver, rtol=1e-6)
