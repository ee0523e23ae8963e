"""The only LightningModule: a model, an objective, an optimiser and a schedule."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, cast, final

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from sciml.data.epochs import EpochLoader
from sciml.spec import Batch
from sciml.training.callbacks import Budget
from sciml.training.checkpoint import check_state
from sciml.training.normalized import NormalizedModel
from sciml.training.objective import Objective, Progress, counter_seed
from sciml.training.schedule import Schedule

OptimizerFactory: TypeAlias = Callable[[Iterable[nn.Parameter]], Optimizer]
"""Builds an optimiser, e.g. ``functools.partial(torch.optim.AdamW, lr=1e-3)``."""


@final
class Parcel:
    """A batch on its way through Lightning, which would take a frozen dataclass apart."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


@final
class Parcels:
    """Iterable of parcels; Lightning's own progress says at which batch an iteration starts.

    The loader is made when it is first asked for, when the ranks are known. The position is
    read when the first batch is taken, because Lightning makes iterators before it has restored
    its counters; so a resumed run needs no loader state.

    Args:
        trainer: The trainer whose progress counts.
        make_loader: Builds the loader of this process from rank and world size.
        resumable: Whether to start at the trainer's position instead of the beginning.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        make_loader: Callable[[int, int], EpochLoader],
        *,
        resumable: bool,
    ) -> None:
        self.trainer = trainer
        self.make_loader = make_loader
        self.resumable = resumable
        self._loader: EpochLoader | None = None

    @property
    def loader(self) -> EpochLoader:
        """The loader of this process."""
        if self._loader is None:
            self._loader = self.make_loader(self.trainer.global_rank, self.trainer.world_size)
            self._loader.set_epoch(0)
        return self._loader

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Parcel]:
        """Yield what is left of the epoch."""
        epoch, position = 0, 0
        if self.resumable:
            loop = self.trainer.fit_loop
            epoch = cast(Any, loop.epoch_progress.current).processed
            position = loop.epoch_loop.batch_progress.current.ready
        self.loader.set_epoch(epoch, position)
        for batch in self.loader:
            yield Parcel(batch)


@final
class SurrogateModule(pl.LightningModule):
    """Training and validation step of every model that learns from data.

    Args:
        model: Network with its normalisers.
        objective: What is minimised.
        optimizer: Builds the optimiser.
        schedule: Factor on its learning rate.
        budget: Says how far the training is.
        seed: Seed of all randomness in the training steps.
        identity: What is trained, in plain values; a checkpoint of another identity is refused.
    """

    def __init__(
        self,
        model: NormalizedModel,
        objective: Objective,
        *,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        budget: Budget,
        seed: int,
        identity: dict[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.optimizer_factory = optimizer
        self.schedule = schedule
        self.budget = budget
        self.seed = seed
        self.identity = identity
        self.losses: list[tuple[int, float]] = []
        self.validation: list[tuple[int, float]] = []
        self.validation_name = f"valid/{objective.validation.name(model.spec)}"
        self._validation_errors: list[Tensor] = []
        self._logged_step = -1  # accumulated batches share a step

    @override
    def configure_optimizers(self) -> Optimizer:
        optimizer = self.optimizer_factory(self.parameters())
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return optimizer

    @override
    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Batch:
        moved: Batch = batch.batch.to(device, non_blocking=True)
        dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), None)
        return moved.to(device, dtype)

    @override
    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        factor = self.schedule(self.budget.fraction(self.trainer), self.current_epoch)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * factor

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        step = self.trainer.fit_loop.total_batch_idx
        progress = Progress.at(
            step,
            epoch=self.current_epoch,
            fraction=self.budget.fraction(self.trainer),
            seed=self.seed,
            rank=self.global_rank,
            device=self.device,
        )
        # dropout draws from the global generators; seeded, it is a function of the step as well
        torch.manual_seed(counter_seed(self.seed, step, self.global_rank))
        loss, terms = self.objective(self.model, batch, progress)
        due = self.trainer.global_step % cast(Any, self.trainer).log_every_n_steps == 0
        if due and self.trainer.global_step != self._logged_step:
            self._log_step(loss, terms, len(batch))
        return loss

    def _log_step(self, loss: Tensor, terms: dict[str, Tensor], batch_size: int) -> None:
        value = float(loss.detach())
        self._logged_step = self.trainer.global_step
        if not torch.isfinite(loss.detach()):
            raise FloatingPointError(
                f"fit: the loss is {value} at step {self.trainer.global_step}; lower the "
                "learning rate, clip gradients (gradient_clip_val=1.0) or check the data"
            )
        self.losses.append((self.trainer.global_step, value))
        values = {f"train/{name}": term for name, term in terms.items()}
        values["train/loss"] = loss.detach()
        values["train/learning_rate"] = torch.tensor(
            self.trainer.optimizers[0].param_groups[0]["lr"]
        )
        values["time/train_seconds"] = torch.tensor(self.budget.elapsed)
        for logger in self.loggers:
            logger.log_metrics(
                {name: float(value) for name, value in values.items()}
                | {"epoch": self.current_epoch},
                step=self.trainer.global_step,
            )
        self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=batch_size)

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._validation_errors.append(self.objective.validation.errors(self.model, batch))

    @override
    def on_validation_epoch_end(self) -> None:
        # every process validates the whole split, so there is nothing to gather
        error = float(torch.cat(self._validation_errors).mean())
        self._validation_errors.clear()
        self.validation.append((self.global_step, error))
        for logger in self.loggers:
            logger.log_metrics(
                {self.validation_name: error, "epoch": self.current_epoch},
                step=self.global_step,
            )
        self.log("valid", error, prog_bar=True, logger=False, rank_zero_only=True)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["sciml"] = {
            "identity": self.identity,
            "losses": list(self.losses),
            "validation": list(self.validation),
        }

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["sciml"]
        self.losses = [(int(step), float(value)) for step, value in state["losses"]]
        self.validation = [(int(step), float(value)) for step, value in state["validation"]]
        check_state(self.state_dict(), checkpoint["state_dict"], "fit: the resumed run")
