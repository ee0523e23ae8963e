"""A solve from beginning to end: a solver beside its baselines, in numbers and pictures."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from pytorch_lightning.loggers import Logger
from rich.console import Console
from rich.table import Table

from sciml.evaluation.problem_plan import ProblemPlan
from sciml.evaluation.report import write_metrics
from sciml.evaluation.solution_field import with_posterior
from sciml.evaluation.solution_figures import draw_solution_figures
from sciml.evaluation.solution_file import STEM, save_solution
from sciml.evaluation.solution_values import Outcome, grid_values, measure
from sciml.solvers.base import PDESolver, solve
from sciml.training.loggers import log_artifact, log_figure, log_metrics
from sciml.typing import StrPath

log = logging.getLogger(__name__)

SUMMARY = (
    "test/relative_l2", "solve/residual", "solve/boundary_misfit", "solve/passes",
    "time/solve_seconds",
)  # fmt: skip
"""Metrics of the line that ends a solve."""
LOGGED_STEPS = 1000
ALIKE = 3.0
"""Errors within this factor count as equal: rounding alone moves them as much."""


def solve_and_report(
    plan: ProblemPlan,
    solver: PDESolver,
    folder: StrPath,
    loggers: Sequence[Logger] = (),
    *,
    name: str = "solver",
) -> dict[str, float]:
    """Solve a problem by a solver and its baselines, and leave a record.

    Writes ``metrics.json``, ``solution.safetensors``, ``solution.json`` and ``figures/`` into
    the run folder, prints the table with the verdict, and hands metrics, figures and the saved
    solution to the loggers. A solve that does not converge is recorded like any other, and
    said.

    Args:
        plan: The problem, its grid, and the baselines; one equal to the solver is left out.
        solver: The solver to judge.
        folder: Run folder.
        loggers: Where progress, metrics and figures go besides.
        name: Name of the solver in the table.

    Returns:
        All metrics by their flat names.

    Raises:
        ValueError: If the solver cannot solve a problem of this kind, in words.
        OSError: If the run folder cannot be written.
    """
    problem, progress = plan.problem, _Progress(loggers)
    solution = solve(problem, solver, callback=progress, throw=False)
    solution = replace(solution, value=with_posterior(problem, solution.value))
    grid = grid_values(problem, solution.value, plan.grid())
    ours = measure(name, problem, solution, grid)
    if not solution:
        detail = solution.stats.get("detail", "")
        because = f" [{detail}]" if detail else ""
        log.warning("%s: %s%s", solution.status.name, solution.status.value, because)
    save_solution(folder, problem, solution, grid)
    baselines = [
        found
        for key, baseline in plan.baselines.items()
        if baseline != solver and (found := _baseline(key, plan, baseline)) is not None
    ]
    metrics = ours.metrics()
    for baseline in baselines:
        metrics |= baseline.baseline_metrics()
    write_metrics(folder, metrics)
    show_outcomes(problem.name, [ours, *baselines])
    log_metrics(loggers, metrics, progress.num_steps)
    figures = draw_solution_figures(problem, solution, Path(folder) / "figures")
    for figure, path in figures.items():
        log_figure(loggers, figure, path)
    log_artifact(loggers, folder, STEM)
    return metrics


def show_outcomes(
    title: str, outcomes: Sequence[Outcome], console: Console | None = None
) -> None:
    """Write a table of solvers and what follows from it to the terminal or a console.

    Args:
        title: Name of the problem.
        outcomes: The solver that is judged, then its baselines.
        console: Where to write.
    """
    console = console or Console()
    console.print(outcome_table(title, outcomes))
    ours, *baselines = outcomes
    published = ours.solution.stats.get("best_checkpoint_error")
    if published is not None:
        console.print(
            f"{ours.name}: published protocol's best of checkpoints, chosen by test error: "
            f"{published:.3e}",
            highlight=False,
        )
    for baseline in baselines:
        console.print(_against(ours, baseline), highlight=False)


def outcome_table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """Solvers side by side; errors are relative L2 errors on the grid."""
    table = Table(title=title, title_justify="left")
    table.add_column("method", no_wrap=True)
    for column in ("error", "residual", "misfit", "nodes", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for outcome in outcomes:
        error = outcome.errors.get("relative_l2")
        table.add_row(
            outcome.name,
            "–" if error is None else f"{error:.2e}",
            f"{outcome.residual:.1e}",
            f"{outcome.boundary_misfit:.1e}",
            _nodes(outcome.solution.stats.get("resolution", ())),
            f"{outcome.seconds:.3g}",
            outcome.solution.status.name.lower().replace("_", " "),
        )
    return table


def _nodes(resolution: Sequence[int]) -> str:
    """128² for (128, 128), 24×192 for (24, 192)."""
    if len(resolution) > 1 and len(set(resolution)) == 1:
        return f"{resolution[0]}{'⁰¹²³'[len(resolution)]}"
    return "×".join(str(count) for count in resolution) or "–"


def _against(ours: Outcome, baseline: Outcome) -> str:
    """One sentence on accuracy and speed against a classical solver."""
    what, error = ours.accuracy
    _, other = baseline.accuracy
    more_accurate, faster = error < other, ours.seconds < baseline.seconds
    accuracy = "more accurate than" if more_accurate else "less accurate than"
    if error <= ALIKE * other and other <= ALIKE * error:
        accuracy = "as accurate as"
    sentence = (
        f"{ours.name} is {accuracy} {baseline.name} and {'faster' if faster else 'slower'}: "
        f"{what} {error:.2e} against {other:.2e}, {ours.seconds:.3g} against "
        f"{baseline.seconds:.3g} s."
    )
    if faster or accuracy == "more accurate than":
        return sentence
    return f"{sentence} On this problem the classical solver is the better choice."


def _baseline(name: str, plan: ProblemPlan, solver: PDESolver) -> Outcome | None:
    """What a baseline reached, or None where it cannot solve problems of this kind."""
    problem = plan.problem
    try:
        solution = solve(problem, solver, throw=False)
    except ValueError as error:
        log.warning("baseline %s is left out: %s", name, error)
        return None
    grid = grid_values(problem, solution.value, plan.grid())
    return measure(name, problem, solution, grid)


@final
class _Progress:
    """The callback of a solve: logs the first thousand steps, then every hundredth."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = loggers
        self.num_steps = 0

    def __call__(self, _: int, known: Mapping[str, Any]) -> None:
        # solvers that refine their grid count from 1 again
        self.num_steps += 1
        number = self.num_steps
        if number > LOGGED_STEPS and number % 100:
            return
        values = {
            f"solve/{'residual' if name == 'residual_norm' else name}": float(value)
            for name, value in known.items()
            if isinstance(value, int | float)
        }
        for logger in self._loggers:
            logger.log_metrics(values, number)
        if number & (number - 1) == 0 or number % LOGGED_STEPS == 0:
            log.info("step %d: residual %.2e", number, known["residual_norm"])
