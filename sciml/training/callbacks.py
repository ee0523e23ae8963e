"""Lightning callbacks: the budget, atomic checkpoints and averaged weights."""

import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, final

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    Callback,
    Checkpoint,
    EMAWeightAveraging,
)
from typing_extensions import override

from sciml.data.writers.atomic import write_atomically

log = logging.getLogger(__name__)


@final
class Budget(Callback):
    """When training ends, and how much of it is spent: epochs, steps, seconds or several.

    Seconds are wall-clock time from the first step on, validation included, summed over all
    resumed parts of a run. A first Ctrl-C (or SIGTERM) ends the training after the current
    step, a second one at once. With several processes the slowest clock and any interruption
    count, so that all of them stop at the same step and use the same learning rate.

    Args:
        max_epochs: Passes over the training split.
        max_steps: Optimiser steps.
        max_seconds: Seconds.

    Raises:
        ValueError: If there is no budget at all or one of them is not positive.
    """

    def __init__(
        self,
        *,
        max_epochs: int | None = None,
        max_steps: int | None = None,
        max_seconds: int | float | None = None,
    ) -> None:
        limits = {"max_epochs": max_epochs, "max_steps": max_steps, "max_time": max_seconds}
        if all(limit is None for limit in limits.values()):
            raise ValueError(
                "fit: expected a training budget, got none; pass max_epochs, max_steps or "
                'max_time (seconds, or "DD:HH:MM:SS")'
            )
        for name, limit in limits.items():
            if limit is not None and not limit > 0:
                raise ValueError(
                    f"fit: expected {name} > 0, got {limit}; leave it out for no limit"
                )
        self.max_epochs = max_epochs
        self.max_steps = max_steps
        self.max_seconds = max_seconds
        self.interrupted = False
        self.elapsed = 0.0
        self._before = 0.0
        self._started: float | None = None
        self._handlers: dict[int, Any] = {}

    def fraction(self, trainer: pl.Trainer) -> float:
        """Spent part of the budget in [0, 1]; of several limits the one that is nearest."""
        spent = [0.0]
        if self.max_steps is not None:
            spent.append(trainer.global_step / self.max_steps)
        if self.max_seconds is not None:
            spent.append(self.elapsed / self.max_seconds)
        if self.max_epochs is not None:
            loop = trainer.fit_loop
            batches = loop.epoch_loop.batch_progress.current.completed
            batches -= batches % trainer.accumulate_grad_batches  # one rate for a whole step
            part = batches / max(loop.max_batches, 1)
            spent.append((trainer.current_epoch + part) / self.max_epochs)
        return min(max(spent), 1.0)

    def is_spent(self, trainer: pl.Trainer) -> bool:
        """Whether steps or seconds are used up; the trainer itself counts epochs."""
        steps = self.max_steps is not None and trainer.global_step >= self.max_steps
        return steps or (self.max_seconds is not None and self.elapsed >= self.max_seconds)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # a resumed run may have nothing left; its steps are known only now
        trainer.should_stop = trainer.should_stop or self.is_spent(trainer)
        self._started = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._measure(trainer)
        stepped = (
            not trainer.fit_loop.epoch_loop._should_accumulate()
        )  # an open accumulation cannot be resumed
        trainer.should_stop = trainer.should_stop or (
            stepped and (self.interrupted or self.is_spent(trainer))
        )

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._started is not None:
            self.elapsed = self._before + time.monotonic() - self._started
        self._restore_handlers()

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._restore_handlers()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"elapsed": self.elapsed}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = self.elapsed = float(state_dict["elapsed"])

    def _measure(self, trainer: pl.Trainer) -> None:
        if self._started is not None:
            self.elapsed = self._before + time.monotonic() - self._started
        if trainer.world_size > 1:
            agreed = torch.tensor(
                [self.elapsed, float(self.interrupted)],
                dtype=torch.float32,
                device=trainer.strategy.root_device,
            )
            torch.distributed.all_reduce(agreed, op=torch.distributed.ReduceOp.MAX)
            self.elapsed, self.interrupted = float(agreed[0]), bool(agreed[1])

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            self._restore_handlers()
            raise KeyboardInterrupt
        self.interrupted = True
        log.warning(
            "%s: stopping after this step and saving; once more stops at once",
            signal.Signals(number).name,
        )

    def _restore_handlers(self) -> None:
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)


@final
class AtomicCheckpoint(Checkpoint):
    """Write the training state after whole optimiser steps: now and then, and at the end.

    All writing happens at the end of a batch, where the state does not depend on what
    validation or an epoch's end do; the file is replaced in one piece, so that a kill at any
    moment leaves the previous state.

    Args:
        path: The file, replaced every time.
        budget: Clock and end of the training.
        every_steps: Optimiser steps between two states; None for none by steps.
        every_seconds: Seconds between two states.
    """

    def __init__(
        self, path: Path, budget: Budget, *, every_steps: int | None, every_seconds: int | float
    ) -> None:
        self.path = path
        self.budget = budget
        self.every_steps = every_steps
        self.every_seconds = every_seconds
        self._saved_step = -1
        self._saved_at = 0.0

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = self.budget.elapsed

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if (
            trainer.fit_loop.epoch_loop._should_accumulate()
            or trainer.global_step == self._saved_step
        ):
            return
        due = self.every_steps is not None and trainer.global_step % self.every_steps == 0
        due = due or self.budget.elapsed - self._saved_at >= self.every_seconds
        if due or trainer.should_stop or self._is_last(trainer):
            self._save(trainer)

    def _is_last(self, trainer: pl.Trainer) -> bool:
        loop = trainer.fit_loop
        last_epoch = self.budget.max_epochs is not None and (
            trainer.current_epoch + 1 >= self.budget.max_epochs
        )
        return last_epoch and loop.epoch_loop._num_ready_batches_reached()

    def _save(self, trainer: pl.Trainer) -> None:
        self._saved_step, self._saved_at = trainer.global_step, self.budget.elapsed
        for logger in trainer.loggers:
            logger.save()  # a kill after this state must not lose rows from before it
        if trainer.is_global_zero:
            write_atomically(self.path, trainer.save_checkpoint)
        else:
            trainer.save_checkpoint(self.path)  # takes part in the collective, writes nothing


@final
class AveragedWeights(EMAWeightAveraging):
    """Exponential moving average of the weights, used for validation and as the result.

    Buffers are copied, not averaged: normaliser constants would drift by rounding.

    Args:
        decay: Weight of the past in one update.
    """

    def __init__(self, decay: float) -> None:
        if not 0.0 < decay < 1.0:
            raise ValueError(
                f"fit: expected ema_decay in (0, 1), got {decay}; leave it out for no averaging"
            )
        super().__init__(decay=decay, use_buffers=False)

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # a resumed run with no epoch left ends without the hook that does this otherwise
        if self._average_model is not None:
            self._copy_average_to_current(pl_module)
