"""Smoke simulations as runs: which solvers, what is written and drawn, what each step cost."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor

from sciml.data.writers.well import write_trajectory
from sciml.data.writers.well_layout import WellHeader
from sciml.evaluation.smoke_frames import SmokePicture, picture
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.solver import DCDM
from sciml.option_types import nearest
from sciml.simulate.smoke import SmokeSimulation, SmokeStep
from sciml.simulate.smoke_pressure import PressureMethod, PressureSolver, SideBySide
from sciml.simulate.smoke_scenes import SmokeScene
from sciml.solution import Solution
from sciml.training.checkpoint import load
from sciml.typing import StrPath

SOLVERS = ("ccmg", "cg", "dcdm")
NUM_FRAMES = 50
_METHOD = (
    "semi-Lagrangian velocity (midpoint paths), limited second-order fluxes of the density, "
    "pressure projection on a MAC grid"
)


@final
@dataclass(frozen=True)
class SmokeRun:
    """A finished simulation.

    Args:
        scene: What was simulated.
        solvers: The pressure solvers by name; the first one drove it.
        steps: What each step did.
        pictures: The smoke at the times of the frames.
    """

    scene: SmokeScene
    solvers: Mapping[str, PressureSolver]
    steps: tuple[SmokeStep, ...]
    pictures: tuple[SmokePicture, ...]

    def summary(self) -> dict[str, Any]:
        """The run in numbers, as plain JSON.

        Seconds are medians over the steps with the smallest and largest in brackets; the first
        step is left out of them, because it has no earlier pressure to start from and pays for
        what is set up once.
        """
        later = self.steps[1:] or self.steps
        rest = statistics.median(step.seconds - step.solve_seconds for step in later)
        return {
            "scene": self.scene.name,
            "resolution": list(self.scene.resolution),
            "open_top": self.scene.open_top,
            "num_steps": len(self.steps),
            "dt": self.scene.dt,
            "seconds_per_step_without_solve": rest,
            "solvers": {name: _costs(s, rest) for name, s in self.solvers.items()},
            "largest_divergence_before": max(s.divergence_before for s in self.steps),
            "largest_divergence": max(s.divergence for s in self.steps),
            "largest_volume_flux": max(abs(s.volume_flux) for s in self.steps),
            "mass": self.steps[-1].mass,
            "mass_added": math.fsum(s.added for s in self.steps),
            "mass_left": math.fsum(s.left for s in self.steps),
            "largest_mass_error": max(s.mass_error for s in self.steps),
        }


def make_pressure_method(
    name: str, *, rtol: float = 1e-4, checkpoint: StrPath | None = None
) -> PressureMethod:
    """A pressure solver by name.

    Args:
        name: ``ccmg``: what `linear_solve` chooses by itself, multigrid unless the domain
            allows a direct solve; ``cg``: conjugate gradients with the diagonal as
            preconditioner; ``dcdm``: learned conjugate directions.
        rtol: Tolerance relative to ‖b‖.
        checkpoint: Run folder of the trained network, for ``dcdm`` alone.

    Raises:
        ValueError: If the name is unknown, or the checkpoint is missing or not meant.
        FileNotFoundError: If there is no such checkpoint.
    """
    if name not in SOLVERS:
        raise ValueError(
            f"make_pressure_method: expected one of the solvers {list(SOLVERS)}, got {name!r}; "
            f"{nearest(name, SOLVERS)}choose one of them"
        )
    if (checkpoint is not None) != (name == "dcdm"):
        wanted = "no checkpoint" if name != "dcdm" else "the folder of a trained network"
        raise ValueError(
            f"make_pressure_method: expected {wanted} for solver {name!r}, got "
            f"checkpoint={checkpoint}; train one with python train.py model=dcdm "
            "dataset=poisson_dct, and give it with solver=dcdm"
        )
    if checkpoint is not None:
        learned = DCDM(load(checkpoint), rtol=rtol)
        return lambda operator, b, start: linear_solve(operator, b, learned, x0=start)
    if name == "ccmg":
        return lambda operator, b, start: linear_solve(operator, b, rtol=rtol, x0=start)
    gradients = CG(rtol=rtol)

    def by_gradients(operator: PoissonOperator, b: Tensor, start: Tensor) -> Solution[Tensor]:
        return linear_solve(operator, b, gradients, x0=start, preconditioner=Jacobi(operator))

    return by_gradients


def run_smoke(
    scene: SmokeScene,
    methods: Mapping[str, PressureMethod],
    num_steps: int,
    *,
    path: StrPath | None = None,
    every: int | None = None,
    device: torch.device | None = None,
    progress: Callable[[int], object] | None = None,
) -> SmokeRun:
    """Simulate, with several pressure solvers on the same systems if several are given.

    Args:
        scene: What to simulate.
        methods: Pressure solvers by name; the first one drives the simulation.
        num_steps: Time steps.
        path: HDF5 file for the frames, one trajectory in The Well's layout; none by default.
        every: Steps between frames; about 50 frames by default.
        device: Where to compute.
        progress: Called with the number of steps taken so far, after each.

    Raises:
        ValueError: If there is no solver, or a count is not positive.
        SolverError: If a pressure solve does not converge; nothing is written then.
        OSError: If the file cannot be written.
    """
    every = max(num_steps // NUM_FRAMES, 1) if every is None else every
    if num_steps < 1 or every < 1:
        raise ValueError(
            f"run_smoke: expected positive numbers, got num_steps={num_steps}, every={every}; "
            "correct them"
        )
    solvers = {name: PressureSolver(method) for name, method in methods.items()}
    simulation = SmokeSimulation(scene, SideBySide(solvers), device=device)
    steps: list[SmokeStep] = []
    pictures: list[SmokePicture] = []

    def frames() -> Iterator[NDArray[np.float32]]:
        for number in range(num_steps + 1):
            if number > 0:
                steps.append(simulation.step())
                if progress is not None:
                    progress(number)
            if number % every == 0:
                pictures.append(picture(simulation))
                yield simulation.frame().cpu().numpy()

    if path is None:
        for _ in frames():
            pass
    else:
        spec = simulation.spec(f"smoke_{scene.name}", every=every)
        boundary = np.zeros((1, scene.ndim, 2), np.int64)
        boundary[0, -1, 1] = int(scene.open_top)
        header = WellHeader(
            spec=spec,
            num_trajectories=1,
            time=np.arange(num_steps // every + 1, dtype=np.float64) * (every * scene.dt),
            params=np.empty((1, 0)),
            boundary=boundary,
            attributes={"solver": _METHOD, "pressure_solver": next(iter(methods))},
        )
        write_trajectory(path, header, frames())
    return SmokeRun(scene, solvers, tuple(steps), tuple(pictures))


def smoke_table(run: SmokeRun) -> Table:
    """The cost of the pressure by solver, and how well volume and mass are kept."""
    summary = run.summary()
    size = "×".join(map(str, run.scene.resolution))
    table = Table(
        title=f"{run.scene.name}, {size} cells, {len(run.steps)} steps",
        title_justify="left",
        caption=(
            f"the rest of a step takes {1e3 * summary['seconds_per_step_without_solve']:.3g} "
            f"ms; max|div u| {summary['largest_divergence_before']:.2g} before and "
            f"{summary['largest_divergence']:.2g} after the projection; mass "
            f"{summary['mass']:.4g}, largest error {summary['largest_mass_error']:.1g}; "
            f"|net volume flux| through the top at most {summary['largest_volume_flux']:.1g}"
        ),
        caption_justify="left",
    )
    table.add_column("pressure")
    for name in ("steps", "fallbacks", "ms a solve", "ms a step", "in the solve"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, costs in summary["solvers"].items():
        table.add_row(
            f"{name}: {costs['method']}",
            f"{costs['mean_steps']:.1f}",
            str(costs["num_fallbacks"] or "–"),
            f"{1e3 * costs['seconds']['median']:.3g}",
            f"{1e3 * costs['seconds_per_step']:.3g}",
            f"{100 * costs['part_in_solve']:.0f} %",
        )
    return table


def _costs(solver: PressureSolver, rest: float) -> dict[str, Any]:
    """What the solves of one solver cost, beside the rest of a time step."""
    seconds = solver.seconds[1:] or solver.seconds
    median = statistics.median(seconds)
    named = (solver.stats.get("solver"), solver.stats.get("preconditioner"))
    return {
        "method": ", ".join(str(name) for name in named if name),
        "mean_steps": statistics.fmean(solver.num_steps[1:] or solver.num_steps),
        "seconds": {"median": median, "min": min(seconds), "max": max(seconds)},
        "seconds_per_step": median + rest,
        "part_in_solve": median / (median + rest),
        "num_fallbacks": solver.num_fallbacks,
    }
