"""`fit`: train a model on a data set, with Lightning inside."""

import functools
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from sciml.data.dataset import WindowedDataset
from sciml.data.module import DataModule
from sciml.data.training_data import TrainingData
from sciml.nn.model import SurrogateModel
from sciml.training.best import BestWeights
from sciml.training.callbacks import AtomicCheckpoint, AveragedWeights, Budget
from sciml.training.checkpoint import save_surrogate
from sciml.training.loggers import csv_logger
from sciml.training.module import OptimizerFactory, Parcels, SurrogateModule
from sciml.training.normalized import NormalizedModel
from sciml.training.objective import Objective
from sciml.training.options import TrainerOptions
from sciml.training.progress import progress_display
from sciml.training.resume import STATE, describe, find_state
from sciml.training.schedule import Schedule, WarmupCosine
from sciml.training.surrogate import Surrogate
from sciml.typing import StrPath

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class FitReport:
    """What a training did.

    Args:
        surrogate: The fitted model.
        folder: Run folder; it holds the surrogate and the training state.
        train_seconds: Wall-clock seconds of training, validation included, over all parts of a
            resumed run.
        num_steps: Optimiser steps in all.
        num_epochs: Epochs begun.
        losses: (step, loss) at the logged steps.
        validation: (step, error) of every validation.
        interrupted: Whether Ctrl-C ended the training; `resume` continues it.
        main_process: Whether this is the process that saves and reports; of several, one is.
    """

    surrogate: Surrogate
    folder: Path
    train_seconds: float = 0.0
    num_steps: int = 0
    num_epochs: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    interrupted: bool = False
    main_process: bool = True

    @property
    def best_validation(self) -> float | None:
        """Smallest validation error; None without validation."""
        return min((error for _, error in self.validation), default=None)


def fit(
    model: SurrogateModel | NormalizedModel,
    data: TrainingData | WindowedDataset,
    objective: Objective,
    *,
    optimizer: OptimizerFactory | None = None,
    scheduler: Schedule | None = None,
    logger: Logger | Iterable[Logger] | None = None,
    resume: StrPath | None = None,
    folder: StrPath = "outputs/fit",
    **trainer: Any,
) -> FitReport:
    """Train a model on a data set.

    Args:
        model: A network, which gets normalisers from the training split, or one with
            normalisers. It is trained in place; a model without parameters is returned as it
            is.
        data: Data to train on; a data set is wrapped into a data module.
        objective: What is minimised.
        optimizer: Builds the optimiser from parameters; AdamW at 1e-3 by default.
        scheduler: Factor on its learning rate; 5 % warm-up and a cosine by default.
        logger: Lightning loggers; a CSV file in the run folder by default.
        resume: Run folder to continue. The final weights equal those of a run that was never
            interrupted, bit for bit on a CPU, unless the budget is in seconds.
        folder: Run folder of a new run.
        trainer: Options, see `TrainerOptions`; at least one budget.

    Returns:
        The fitted surrogate, which is also saved in the run folder, and what happened.

    Raises:
        TypeError: On an unknown trainer option, naming the nearest.
        ValueError: Without a budget, if objective and data set do not go together, if options
            exclude each other, or if the resumed run trained something else.
        FileNotFoundError: If there is nothing to resume.
        FloatingPointError: If the loss is not finite.
    """
    options = TrainerOptions.parse(trainer)
    budget = options.budget()
    data = data if isinstance(data, TrainingData) else DataModule(data, seed=options.seed)
    objective.check_targets(data.spec, data.has_targets)
    objective.check_spec(data.spec)
    model = _with_normalizers(model, data)
    run = Path(folder if resume is None else resume)
    if not any(p.requires_grad for p in model.parameters()):
        log.info("%s has nothing to train", type(model.network).__name__)
        return _finish(FitReport(Surrogate(model), run))
    optimizer = optimizer or functools.partial(torch.optim.AdamW, lr=1e-3)
    scheduler = scheduler or WarmupCosine()
    best = BestWeights() if options.select == "best" else None
    module = SurrogateModule(
        model,
        objective,
        optimizer=optimizer,
        schedule=scheduler,
        budget=budget,
        seed=options.seed,
        identity={
            "network": describe(type(model.network), model.network.arguments),
            "normalization": describe(
                model.inputs.kind, {"outputs": model.outputs.kind, "increment": model.increment}
            ),
            "objective": describe(objective),
            "optimizer": describe(optimizer),
            "scheduler": describe(scheduler),
            "data": describe(data.spec.name, data.spec.to_dict() | data.settings),
            "batch_size": data.batch_size * options.accumulate_grad_batches,
            "seed": options.seed,
            "ema_decay": options.ema_decay,
            "precision": str(options.precision),
            **({"select": options.select} if best is not None else {}),
        },
    )
    state = None if resume is None else find_state(run, module.identity, module.state_dict())
    loggers = csv_logger(run) if logger is None else logger
    with _quiet(), torch.random.fork_rng(devices=[]):
        lightning = _trainer(options, budget, run, loggers, best)
        _train(lightning, module, data, state)
    torch.set_grad_enabled(True)
    if best is not None:
        best.restore(module)
    module.to("cpu")
    report = FitReport(
        Surrogate(model),
        run,
        main_process=lightning.is_global_zero,
        train_seconds=budget.elapsed,
        num_steps=lightning.global_step,
        num_epochs=lightning.current_epoch,
        losses=module.losses,
        validation=module.validation,
        interrupted=budget.interrupted,
    )
    return _finish(report)


def _with_normalizers(
    model: SurrogateModel | NormalizedModel, data: TrainingData
) -> NormalizedModel:
    if isinstance(model, NormalizedModel):
        return model
    return NormalizedModel.from_data(model, data, kind=data.default_normalization)


def _trainer(
    options: TrainerOptions,
    budget: Budget,
    run: Path,
    loggers: Logger | Iterable[Logger],
    best: BestWeights | None,
) -> pl.Trainer:
    callbacks: list[Callback] = [budget]
    if best is not None:
        callbacks.append(best)
    if options.ema_decay is not None:
        callbacks.append(AveragedWeights(options.ema_decay))
    display = progress_display(budget, options.enable_progress_bar)
    callbacks += [
        display,
        *options.callbacks,
        AtomicCheckpoint(
            run / STATE,
            budget,
            every_steps=options.checkpoint_every_steps,
            every_seconds=options.checkpoint_every_seconds,
        ),
    ]
    own = {"max_epochs", "max_steps", "max_time", "seed", "ema_decay", "callbacks"}
    own |= {"checkpoint_every_steps", "checkpoint_every_seconds", "enable_progress_bar"}
    own.add("select")
    passed = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in own}
    return pl.Trainer(
        max_epochs=-1 if options.max_epochs is None else options.max_epochs,
        callbacks=callbacks,
        logger=[loggers] if isinstance(loggers, Logger) else list(loggers),
        default_root_dir=run,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=isinstance(display, pl.callbacks.ProgressBar),
        inference_mode=False,
        **passed,
    )


def _train(
    lightning: pl.Trainer, module: SurrogateModule, data: TrainingData, state: Path | None
) -> None:
    horizon = module.objective.horizon
    training = Parcels(
        lightning,
        lambda rank, world_size: data.train_loader(horizon, rank, world_size).to(
            lightning.strategy.root_device
        ),
        resumable=True,
    )
    validation = None
    if data.has_split("valid"):
        validation = Parcels(lightning, lambda _, __: data.validation_loader(), resumable=False)
    module.train()
    lightning.fit(
        module,
        train_dataloaders=training,
        val_dataloaders=validation,
        ckpt_path=state,
        weights_only=True,
    )


def _finish(report: FitReport) -> FitReport:
    if report.main_process:
        save_surrogate(report.surrogate, report.folder)
    return report


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says on every run and nobody can act upon."""
    lightning = logging.getLogger("pytorch_lightning")
    level = lightning.level
    lightning.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",  # our loader reads in a thread of its own
            ".*is smaller than the logging interval.*",
            ".*LeafSpec.*",
            ".*have no `val_dataloader`.*",  # small data sets need no validation split
            ".*Checkpoint directory.*exists and is not empty.*",
            ".*GPU available but not used.*",
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            lightning.setLevel(level)
