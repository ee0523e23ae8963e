"""The end of a run: what was fitted beside its baselines, in numbers and pictures."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from pytorch_lightning.loggers import Logger
from typing_extensions import override

from sciml.data.module import DataModule
from sciml.data.plan import Plan
from sciml.data.training_data import TrainingData
from sciml.evaluation.compare import Contestant, compare
from sciml.evaluation.evaluate import Forecaster
from sciml.evaluation.figures import draw_figures
from sciml.evaluation.report import show_comparison, write_metrics
from sciml.models.persistence import Persistence
from sciml.spec import DatasetSpec
from sciml.training.fit import FitReport
from sciml.training.loggers import log_artifact, log_figure, log_metrics
from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate


class Judge(ABC):
    """Measures what a run has fitted, and leaves a record of it."""

    summary: ClassVar[tuple[str, ...]] = ()
    """Metrics of the line that ends a run; empty for the headline errors of a surrogate."""

    @abstractmethod
    def headline(self, spec: DatasetSpec) -> str:
        """The metric that a sweep minimises."""

    @abstractmethod
    def check(self, plan: Plan) -> None:
        """Refuse, before anything is made, data that this judge cannot use.

        Raises:
            ValueError: In words.
        """

    @abstractmethod
    def __call__(
        self,
        report: FitReport,
        data: TrainingData,
        solvers: Mapping[str, Forecaster],
        loggers: Sequence[Logger] = (),
        *,
        name: str = "surrogate",
    ) -> dict[str, float]:
        """Judge a fitted model.

        Writes ``metrics.json`` and ``figures/`` into the run folder, prints a table, and hands
        everything to the loggers.

        Args:
            report: What `fit` returned.
            data: The data that it was fitted to.
            solvers: Classical solvers of the data's recipe by name.
            loggers: Where metrics, figures and the surrogate go besides the run folder.
            name: Name of the model in the table.

        Returns:
            All metrics by their flat names.

        Raises:
            OSError: If the run folder cannot be written.
        """


@final
@dataclass(frozen=True)
class SurrogateJudge(Judge):
    """Errors on the test split, beside persistence and classical solvers on coarse grids.

    Args:
        batch_size: Trajectories predicted, and timed, at once.
        num_examples: Trajectories kept for the figures.
    """

    batch_size: int = 20
    num_examples: int = 2

    @override
    def headline(self, spec: DatasetSpec) -> str:
        return f"test/{'rollout_' if spec.autoregressive else ''}relative_l2"

    @override
    def check(self, plan: Plan) -> None:
        if not plan.has_targets:
            raise ValueError(
                f"SurrogateJudge: expected data with a test split, got {plan.spec().name!r}, "
                "whose samples are drawn on the fly; leave evaluation= to the model"
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
        if not isinstance(data, DataModule):
            raise TypeError(
                f"SurrogateJudge: expected a DataModule, got {type(data).__name__}; a data set "
                "with a test split is needed"
            )
        surrogate = report.surrogate
        contestants = [Contestant(name, surrogate, "surrogate", surrogate.num_parameters)]
        contestants += _trivial(surrogate, data)
        contestants += [Contestant(key, solver, "solver") for key, solver in solvers.items()]
        comparison = compare(
            contestants,
            data.rollout_dataset("test"),
            data.one_step_dataset("test"),
            batch_size=self.batch_size,
            num_examples=self.num_examples,
        )
        metrics = comparison.metrics() | run_metrics(report)
        write_metrics(report.folder, metrics)
        show_comparison(comparison)
        figures = draw_figures(
            comparison, report.folder / "figures", report.folder / "metrics.csv"
        )
        log_metrics(loggers, metrics, report.num_steps)
        for figure, path in figures.items():
            log_figure(loggers, figure, path)
        log_artifact(loggers, report.folder)
        return metrics


def run_metrics(report: FitReport) -> dict[str, float]:
    """What every fit reports of itself."""
    return {
        "time/train_seconds": report.train_seconds,
        "time/num_steps": float(report.num_steps),
        "model/num_parameters": float(report.surrogate.num_parameters),
    }


def _trivial(surrogate: Surrogate, data: DataModule) -> Iterable[Contestant]:
    """Persistence, unless it is what was fitted or there is no time to persist in."""
    if isinstance(surrogate.model.network, Persistence) or not data.spec.autoregressive:
        return []
    network = Persistence.from_spec(data.spec)
    model = NormalizedModel.from_data(network, data, kind="none", prediction="field")
    return [Contestant("persistence", Surrogate(model), "trivial")]
