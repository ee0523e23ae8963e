"""Where losses, metrics and pictures go: a CSV file always, Weights & Biases on request.

Tracking must never cost a run. Every call into the wandb client is guarded: its first failure
is said once, after which training goes on with the CSV file alone.
"""

import csv
import logging
import netrc
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable
from urllib.parse import urlsplit

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from sciml.data.writers.atomic import write_atomically
from sciml.training.checkpoint import STEM
from sciml.typing import Metrics, StrPath

log = logging.getLogger(__name__)


@runtime_checkable
class RichLogger(Protocol):
    """A logger that also takes pictures and folders."""

    def log_figure(self, name: str, path: StrPath) -> None:
        """Attach a picture."""
        ...

    def log_artifact(self, folder: StrPath, stem: str) -> None:
        """Attach the two files of that stem in a run folder."""
        ...


@final
class CSVFile(Logger):
    """One row a step in ``metrics.csv``, readable at any moment.

    A resumed run continues the file: rows from the first step that it logs on belong to the
    part of the training that was lost and are replaced.

    Args:
        folder: Run folder.
    """

    def __init__(self, folder: StrPath) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._rows: list[dict[str, str]] = []
        self._columns: list[str] = ["epoch", "step"]
        self._pending: list[dict[str, str]] = []
        self._opened = False

    @property
    @override
    def name(self) -> str:
        return ""

    @property
    @override
    def version(self) -> str:
        return ""

    @property
    @override
    def save_dir(self) -> str:
        return str(self.path.parent)

    @override
    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Ignore configurations: they are files of their own in a run folder."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Add one row."""
        row = {name: repr(value) for name, value in metrics.items()}
        if step is not None:
            row["step"] = str(step)
        if not self._opened:
            self._opened = True
            self._read_earlier(step)
        self._pending.append(row)
        if len(self._pending) >= 20:
            self.save()

    @override
    @rank_zero_only
    def save(self) -> None:
        """Write the rows that are not in the file yet."""
        if not self._pending:
            return
        new = [name for row in self._pending for name in row if name not in self._columns]
        self._columns += dict.fromkeys(new)
        self._rows += self._pending
        if new or not self.path.exists():
            write_atomically(self.path, self._write_all)
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerows(self._pending)
        self._pending = []

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()

    def _write_all(self, path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self._rows)

    def _read_earlier(self, step: int | None) -> None:
        """Take over the rows before `step`; a row cut by a kill goes with all after it."""
        if not self.path.is_file() or step is None:
            return
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)
            self._columns = list(reader.fieldnames or self._columns)
            for row in reader:
                if None in row.values() or not (row["step"] or "").isdigit():
                    break
                if int(row["step"]) < step:
                    self._rows.append({k: v for k, v in row.items() if v})
        write_atomically(self.path, self._write_all)


@final
class WandbTracking(Logger):
    """Weights & Biases that cannot harm a run: its first failure is said once and ends it.

    Args:
        make_logger: Builds Lightning's wandb logger; called at the first use.
    """

    def __init__(self, make_logger: Callable[[], Any]) -> None:
        super().__init__()
        self._make_logger = make_logger
        self._logger: Any = None
        self._failed = False

    @property
    def is_active(self) -> bool:
        """Whether nothing has failed so far."""
        return not self._failed

    @property
    def experiment(self) -> Any:
        """The wandb run, None after a failure."""
        return self._guarded(lambda logger: logger.experiment)

    @property
    @override
    def name(self) -> str:
        return "wandb"

    @property
    @override
    def version(self) -> str:
        return ""

    @override
    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Record a configuration."""
        self._guarded(lambda logger: logger.log_hyperparams(params))

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Record values at a step."""
        self._guarded(lambda logger: logger.log_metrics(dict(metrics), step))

    @rank_zero_only
    def log_figure(self, name: str, path: StrPath) -> None:
        """Attach a picture."""
        self._guarded(lambda logger: logger.log_image(key=name, images=[str(path)]))

    @rank_zero_only
    def log_artifact(self, folder: StrPath, stem: str) -> None:
        """Attach what a run folder keeps as ``<stem>.safetensors`` and ``<stem>.json``."""

        def attach(logger: Any) -> None:
            import wandb

            kind = "model" if stem == STEM else stem
            artifact = wandb.Artifact(f"{stem}-{logger.experiment.id}", type=kind)
            for suffix in (".safetensors", ".json"):
                artifact.add_file(str(Path(folder) / f"{stem}{suffix}"))
            logger.experiment.log_artifact(artifact)

        self._guarded(attach)

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Keep the run open: metrics and figures of the evaluation are still to come."""

    @rank_zero_only
    def finish(self) -> None:
        """Close the run; what was logged is on disk or on the server."""
        if self._logger is not None:
            self._guarded(lambda logger: logger.experiment.finish())

    def _guarded(self, call: Callable[[Any], Any]) -> Any:
        if self._failed or rank_zero_only.rank != 0:  # type: ignore[attr-defined]  # set by Lightning
            return None
        try:
            if self._logger is None:
                self._logger = self._make_logger()
            return call(self._logger)
        except Exception as error:  # tracking must not end a run, whatever the client raises
            self._failed = True
            log.warning("wandb failed (%s); the run goes on, metrics.csv has everything", error)
            return None


def csv_logger(folder: StrPath) -> list[Logger]:
    """The default: ``metrics.csv`` in the run folder."""
    return [CSVFile(folder)]


def wandb_logger(
    folder: StrPath,
    *,
    project: str = "sciml",
    name: str | None = None,
    offline: bool = False,
    init_timeout: float = 20.0,
) -> list[Logger]:
    """Weights & Biases beside the CSV file.

    Without an API key the run is recorded offline (``wandb sync`` uploads it later); nobody is
    ever asked for one.

    Args:
        folder: Run folder; offline runs are written to ``wandb/`` in it.
        project: Project on the server.
        name: Name of the run; None leaves it to the server.
        offline: Record offline even where a key is known. ``WANDB_MODE`` does the same.
        init_timeout: Seconds after which an unreachable server is given up.
    """

    def make() -> Any:
        import wandb
        from pytorch_lightning.loggers import WandbLogger

        mode: Any = os.environ.get("WANDB_MODE", "offline" if offline else "online")
        if mode == "online" and not _has_wandb_key():
            log.warning("wandb: no API key, recording offline; upload with `wandb sync` later")
            mode = "offline"
        Path(folder).mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=project,
            name=name,
            dir=str(folder),
            mode=mode,
            settings=wandb.Settings(init_timeout=init_timeout, silent=True, console="off"),
        )
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return WandbLogger(experiment=run)

    return [CSVFile(folder), WandbTracking(make)]


def _has_wandb_key() -> bool:
    """Whether the client would find a key without asking for one."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    named = os.environ.get("NETRC")
    places = [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]
    try:
        return any(
            netrc.netrc(place).authenticators(host) is not None
            for place in places
            if place.is_file()
        )
    except netrc.NetrcParseError:
        return False


def log_config(loggers: Iterable[Logger], config: Mapping[str, Any]) -> None:
    """Give a resolved configuration to every logger."""
    for logger in loggers:
        logger.log_hyperparams(dict(config))


def log_metrics(loggers: Iterable[Logger], metrics: Metrics, step: int | None = None) -> None:
    """Give final metrics to every logger."""
    for logger in loggers:
        logger.log_metrics(dict(metrics), step)
        logger.save()


def log_figure(loggers: Iterable[Logger], name: str, path: StrPath) -> None:
    """Give a picture to every logger that takes pictures."""
    for logger in loggers:
        if isinstance(logger, RichLogger):
            logger.log_figure(name, path)


def log_artifact(loggers: Iterable[Logger], folder: StrPath, stem: str = STEM) -> None:
    """Give the surrogate of a run folder, or what `stem` names, to loggers that take files."""
    for logger in loggers:
        if isinstance(logger, RichLogger):
            logger.log_artifact(folder, stem)


def finish(loggers: Iterable[Logger]) -> None:
    """Flush and close every logger; call it when nothing more will be logged."""
    for logger in loggers:
        logger.finalize("success")
        if isinstance(logger, WandbTracking):
            logger.finish()
