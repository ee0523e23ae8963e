"""The end of a run: a fitted surrogate beside its baselines, in numbers and pictures."""

from collections.abc import Iterable, Mapping, Sequence

from pytorch_lightning.loggers import Logger

from sciml.data.module import DataModule
from sciml.evaluation.compare import Contestant, compare
from sciml.evaluation.evaluate import Forecaster
from sciml.evaluation.figures import draw_figures
from sciml.evaluation.report import show_comparison, write_metrics
from sciml.models.persistence import Persistence
from sciml.training.fit import FitReport
from sciml.training.loggers import log_artifact, log_figure, log_metrics
from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate


def judge(
    report: FitReport,
    data: DataModule,
    solvers: Mapping[str, Forecaster],
    loggers: Sequence[Logger] = (),
    *,
    name: str = "surrogate",
    batch_size: int = 20,
    num_examples: int = 2,
) -> dict[str, float]:
    """Compare a fitted surrogate with its baselines on the test split, and leave a record.

    Writes ``metrics.json`` and ``figures/`` into the run folder, prints the table with the
    verdict, and hands everything to the loggers.

    Args:
        report: What `fit` returned.
        data: The data that it was fitted to.
        solvers: Classical solvers by name.
        loggers: Where metrics, figures and the surrogate go besides the run folder.
        name: Name of the surrogate in the table.
        batch_size: Trajectories predicted, and timed, at once.
        num_examples: Trajectories kept for the figures.

    Returns:
        All metrics by their flat names.

    Raises:
        ValueError: If there is no test split.
        OSError: If the run folder cannot be written.
    """
    surrogate = report.surrogate
    contestants = [Contestant(name, surrogate, "surrogate", surrogate.num_parameters)]
    contestants += _trivial(surrogate, data)
    contestants += [Contestant(key, solver, "solver") for key, solver in solvers.items()]
    comparison = compare(
        contestants,
        data.rollout_dataset("test"),
        data.one_step_dataset("test"),
        batch_size=batch_size,
        num_examples=num_examples,
    )
    metrics = comparison.metrics() | {
        "time/train_seconds": report.train_seconds,
        "time/num_steps": float(report.num_steps),
        "model/num_parameters": float(surrogate.num_parameters),
    }
    write_metrics(report.folder, metrics)
    show_comparison(comparison)
    figures = draw_figures(comparison, report.folder / "figures", report.folder / "metrics.csv")
    log_metrics(loggers, metrics, report.num_steps)
    for figure, path in figures.items():
        log_figure(loggers, figure, path)
    log_artifact(loggers, report.folder)
    return metrics


def _trivial(surrogate: Surrogate, data: DataModule) -> Iterable[Contestant]:
    """Persistence, unless it is what was fitted or there is no time to persist in."""
    if isinstance(surrogate.model.network, Persistence) or not data.spec.autoregressive:
        return []
    network = Persistence.from_spec(data.spec)
    model = NormalizedModel.from_data(network, data, kind="none", prediction="field")
    return [Contestant("persistence", Surrogate(model), "trivial")]
