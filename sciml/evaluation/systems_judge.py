"""The end of a run that fitted something for linear systems."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar, final

import matplotlib as mpl
from matplotlib.figure import Figure
from pytorch_lightning.loggers import Logger
from rich.console import Console
from rich.table import Table
from typing_extensions import override

from sciml.data.plan import Plan
from sciml.data.training_data import TrainingData
from sciml.evaluation.evaluate import Forecaster
from sciml.evaluation.figures import save_figure
from sciml.evaluation.judge import Judge, run_metrics
from sciml.evaluation.report import write_metrics
from sciml.evaluation.style import COLOURS, STYLE
from sciml.evaluation.systems import (
    BASELINES,
    Method,
    SystemResult,
    fixed_systems,
    measure_method,
)
from sciml.spec import DatasetSpec
from sciml.training.fit import FitReport
from sciml.training.loggers import log_artifact, log_figure, log_metrics
from sciml.training.surrogate import Surrogate

MOST_COLUMNS = 500  # characters of a line of a log
_COUNTED = 1e-6
_MISSING = 1e4
"""Steps that count for a tolerance that was not reached, in a mean."""


@final
@dataclass(frozen=True)
class SystemsJudge(Judge):
    """Iterations and time to solve fixed pressure systems, beside CG and multigrid.

    Args:
        methods: Makes methods from the fitted model; the first one is judged, others and
            `BASELINES` are what it is compared with.
        kinds: Geometries, kinds of `make_flags`.
        scales: Sizes, in multiples of the resolution that the model was trained on.
        tolerances: Relative tolerances that iterations are counted to; 1e-6 among them.
        seed: Seed of the systems, which are the same for all runs.

    Raises:
        ValueError: If 1e-6 is not among the tolerances, or there is nothing to solve.
    """

    methods: Callable[[Surrogate], Mapping[str, Method]]
    kinds: Sequence[str] = ("box", "random", "thin", "freesurf")
    scales: Sequence[int] = (1, 2)
    tolerances: Sequence[float] = (1e-4, 1e-6, 1e-10)
    seed: int = 40487

    summary: ClassVar[tuple[str, ...]] = (
        "test/iterations@1e-6",
        "test/unsolved@1e-6",
        "baseline/cg/iterations@1e-6",
        "baseline/ccmg/iterations@1e-6",
        "time/train_seconds",
    )

    def __post_init__(self) -> None:
        if _COUNTED not in self.tolerances or not self.kinds or not self.scales:
            raise ValueError(
                "SystemsJudge: expected kinds, scales and tolerances with 1e-6 among them, "
                f"got {list(self.kinds)}, {list(self.scales)} and {list(self.tolerances)}; add "
                "what is missing"
            )

    @override
    def headline(self, spec: DatasetSpec) -> str:
        return "test/iterations@1e-6"

    @override
    def check(self, plan: Plan) -> None:
        spec = plan.spec()
        if spec.in_fields[0].name != "residual":
            raise ValueError(
                "SystemsJudge: expected right-hand sides of linear systems, got "
                f"{spec.name!r} with the fields {[item.name for item in spec.in_fields]}; use "
                "evaluation=surrogate"
            )

    @override
    def __call__(
        self,
        report: FitReport,
        data: TrainingData,
        solvers: Mapping[str, Forecaster],
        loggers: Sequence[Logger] = (),
        *,
        name: str = "surrogate",
    ) -> dict[str, float]:
        results = self.results(report.surrogate)
        metrics: dict[str, float] = {}
        for number, (method, found) in enumerate(results.items()):
            prefix = f"baseline/{method}" if number else "test"
            for result in found:
                metrics |= {f"{prefix}/{key}": value for key, value in result.metrics().items()}
            metrics[f"{prefix}/iterations@1e-6"] = fmean(map(_counted, found))
            metrics[f"{prefix}/unsolved@1e-6"] = float(
                sum(result.steps[_COUNTED] is None for result in found)
            )
        metrics |= run_metrics(report)
        write_metrics(report.folder, metrics)
        show_systems(data.spec.name, results)
        log_metrics(loggers, metrics, report.num_steps)
        figure = save_figure(residual_figure(results), report.folder / "figures/residuals.png")
        log_figure(loggers, "residuals", figure)
        log_artifact(loggers, report.folder)
        return metrics

    def results(self, surrogate: Surrogate) -> dict[str, list[SystemResult]]:
        """What each method reached on each system, the judged one first."""
        resolution = surrogate.spec.resolution
        sizes = [tuple(scale * size for size in resolution) for scale in self.scales]
        systems = fixed_systems(self.kinds, sizes, seed=self.seed)
        return {
            name: [measure_method(name, method, system, self.tolerances) for system in systems]
            for name, method in {**self.methods(surrogate), **BASELINES}.items()
        }


def show_systems(
    title: str, results: Mapping[str, Sequence[SystemResult]], console: Console | None = None
) -> None:
    """Write a table of methods and systems, and what follows from it.

    Args:
        title: Name of the data that the judged method was fitted to.
        results: Of each method, the judged one first.
        console: Where to write; the terminal by default.
    """
    console = console or Console()
    names = list(results)
    judged = results[names[0]]
    tolerances = "/".join(f"{tolerance:.0e}" for tolerance in judged[0].steps)
    table = Table(
        title=f"{title}: iterations to {tolerances}, and ms to 1e-06",
        title_justify="left",
    )
    table.add_column("system", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for number, result in enumerate(judged):
        table.add_row(result.system, *(_cell(results[name][number]) for name in names))
    if not console.is_terminal:  # a log has no edge where lines would have to be cut
        options = console.options.update(max_width=MOST_COLUMNS)
        console.width = max(console.width, console.measure(table, options=options).maximum)
    console.print(table)
    for name in names[1:]:
        sentence = _against(names[0], judged, name, results[name])
        console.print(sentence, highlight=False, soft_wrap=True)


def _counted(result: SystemResult) -> float:
    """Steps to 1e-6."""
    count = result.steps[_COUNTED]
    return _MISSING if count is None else float(count)


def _cell(result: SystemResult) -> str:
    counts = "/".join("–" if count is None else str(count) for count in result.steps.values())
    return f"{counts}  {1e3 * result.solve_seconds:.3g}"


def _against(
    name: str, judged: Sequence[SystemResult], other: str, others: Sequence[SystemResult]
) -> str:
    """One sentence on iterations and time."""
    fewer = sum(
        _counted(mine) < _counted(theirs) for mine, theirs in zip(judged, others, strict=True)
    )
    faster = sum(
        mine.steps[_COUNTED] is not None and mine.solve_seconds < theirs.solve_seconds
        for mine, theirs in zip(judged, others, strict=True)
    )
    sentence = (
        f"{name} takes fewer iterations than {other} on {fewer} and less time on {faster} of "
        f"{len(judged)} systems."
    )
    return sentence if faster else f"{sentence} {other} is the better choice."


def residual_figure(results: Mapping[str, Sequence[SystemResult]]) -> Figure:
    """Relative residual against iterations, one panel for each system."""
    names = list(results)
    count = len(results[names[0]])
    columns = min(count, 4)
    rows = -(-count // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.0 * columns, 2.4 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False)
        for number, panel in enumerate(panels.flat):
            if number >= count:
                panel.set_axis_off()
                continue
            for colour, name in zip(COLOURS, names, strict=False):
                history = results[name][number].history
                panel.semilogy(range(len(history)), history, color=colour, label=name)
            panel.set_title(results[names[0]][number].system)
            most = len(results[names[0]][number].history)
            panel.set_xlim(0, max(20, most))
            panel.set_ylim(1e-11, 10)
        for row in panels:
            row[0].set_ylabel("relative residual")
        for panel in panels[-1]:
            panel.set_xlabel("iterations")
        panels[0, 0].legend()
    return figure
