"""Keeping the weights of the best validation."""

import math
from typing import Any, final

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from typing_extensions import override

from sciml.training.module import SurrogateModule


@final
class BestWeights(Callback):
    """Remembers the model of the smallest validation error, across interruptions.

    Of equal errors the first counts; a loss that falls while the solver that uses the model
    takes as many steps is no progress. Every process validates the whole split, so all of them
    remember the same.
    """

    def __init__(self) -> None:
        self.error = math.inf
        self.weights: dict[str, Tensor] | None = None

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make up for a validation that a kill has prevented.

        The state of an epoch's last batch is written before the epoch is validated, and a run
        that is resumed there would go on with the next epoch.
        """
        epoch = trainer.fit_loop.epoch_loop
        due = epoch._num_ready_batches_reached() and epoch._should_check_val_epoch()
        validated = [step for step, _ in _own(pl_module).validation]
        if due and trainer.global_step not in validated and trainer.enable_validation:
            trainer.validating = True
            epoch.val_loop.run()
            trainer.training = True

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = _own(pl_module)
        _, error = module.validation[-1]
        if error < self.error:
            self.error = error
            self.weights = {
                name: value.detach().cpu().clone()
                for name, value in module.model.state_dict().items()
            }

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"error": self.error, "weights": self.weights}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.error, self.weights = state_dict["error"], state_dict["weights"]

    def restore(self, module: SurrogateModule) -> None:
        """Put the remembered weights into the model; without a validation nothing changes."""
        if self.weights is not None:
            module.model.load_state_dict(self.weights)


def _own(module: pl.LightningModule) -> SurrogateModule:
    if not isinstance(module, SurrogateModule):
        raise TypeError(
            f"BestWeights: expected a SurrogateModule, got {type(module).__name__}; use "
            "sciml.fit"
        )
    return module
