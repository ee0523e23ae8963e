"""What a training shows while it runs: a bar on a terminal, log lines elsewhere."""

import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, final

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar
from typing_extensions import override

from sciml.training.callbacks import Budget

log = logging.getLogger(__name__)


def spent(budget: Budget, trainer: pl.Trainer) -> str:
    """Spent part of the budget and the time that is left, once there is a rate to go by."""
    fraction = budget.fraction(trainer)
    if fraction <= 0:
        return ""
    remaining = budget.elapsed * (1.0 - fraction) / fraction
    return f"{fraction:.0%}, {timedelta(seconds=round(remaining))} left"


@final
class ProgressBar(RichProgressBar):
    """Lightning's rich progress bar of an epoch, with the budget beside it.

    Args:
        budget: Clock and end of the training.
    """

    def __init__(self, budget: Budget) -> None:
        super().__init__(leave=False)
        self.budget = budget

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        # Lightning names the last epoch, which a budget in steps or seconds does not have.
        return f"Epoch {current_epoch + 1}".ljust(len(self.validation_description))

    @override
    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics | {"training": spent(self.budget, trainer)}


@final
class ProgressLines(Callback):
    """A log line now and then: epoch, step, loss and remaining time.

    Args:
        budget: Clock and end of the training.
        every_seconds: Seconds between two lines.
        write: Where a line goes; the package's log by default.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        every_seconds: int | float = 30.0,
        write: Callable[[str], None] = log.info,
    ) -> None:
        self.budget = budget
        self.every_seconds = every_seconds
        self.write = write
        self._written = 0.0

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._written = self.budget.elapsed

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self.budget.elapsed - self._written >= self.every_seconds and trainer.is_global_zero:
            self._written = self.budget.elapsed
            self.write(self.line(trainer, float(outputs["loss"])))

    def line(self, trainer: pl.Trainer, loss: float) -> str:
        """The text of one line."""
        text = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}, loss {loss:.3e}"
        return ", ".join(filter(None, (text, spent(self.budget, trainer))))


def progress_display(budget: Budget, enabled: bool) -> Callback:
    """A rich bar on a terminal, log lines elsewhere or when the bar is switched off."""
    if enabled and sys.stderr.isatty() and sys.stdout.isatty():
        return ProgressBar(budget)
    return ProgressLines(budget)
