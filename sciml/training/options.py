"""Options of `fit`."""

import difflib
import re
from dataclasses import dataclass, fields
from typing import Any, final

from pytorch_lightning.callbacks import Callback

from sciml.training.callbacks import Budget


@final
@dataclass(frozen=True)
class TrainerOptions:
    """Options of `fit`; names that Lightning's ``Trainer`` has mean what they mean there.

    Args:
        max_epochs: Budget in passes over the training split.
        max_steps: Budget in optimiser steps.
        max_time: Budget in seconds, or as ``"DD:HH:MM:SS"``. At least one of the three is
            needed; of several the first that is met ends the training.
        seed: Seed of the sample order and of all randomness in training steps.
        precision: Lightning's precision, e.g. ``"32-true"``, ``"bf16-mixed"``, ``"64-true"``.
        gradient_clip_val: Largest gradient norm; None for no clipping.
        accumulate_grad_batches: Batches summed into one optimiser step.
        ema_decay: Decay of an exponential moving average of the weights, which is then what is
            validated and returned; None for none.
        select: ``"last"``: the final weights are the result; ``"best"``: those of the smallest
            validation error, which then takes part in the training.
        accelerator: ``"auto"`` takes a GPU if there is one.
        devices: Number of devices per machine.
        num_nodes: Number of machines.
        strategy: Lightning's strategy, e.g. ``"ddp"``.
        deterministic: Refuse non-deterministic CUDA kernels.
        checkpoint_every_steps: Optimiser steps between two training states; None for none by
            steps.
        checkpoint_every_seconds: Seconds between two training states; what a kill may cost.
        check_val_every_n_epoch: Epochs between two validations.
        limit_train_batches: Batches (or fraction) of an epoch to use.
        limit_val_batches: Validation batches (or fraction) to use; 0 for no validation.
        log_every_n_steps: Optimiser steps between two rows of the log.
        enable_progress_bar: Whether a terminal gets a progress bar; else a line now and then.
        profiler: Lightning's profiler, e.g. ``"simple"``.
        callbacks: More Lightning callbacks.
    """

    max_epochs: int | None = None
    max_steps: int | None = None
    max_time: int | float | str | None = None
    seed: int = 925871
    precision: str | int = "32-true"
    gradient_clip_val: int | float | None = None
    accumulate_grad_batches: int = 1
    ema_decay: float | None = None
    select: str = "last"
    accelerator: str = "auto"
    devices: int | str | list[int] = 1
    num_nodes: int = 1
    strategy: Any = "auto"
    deterministic: bool | None = None
    checkpoint_every_steps: int | None = None
    checkpoint_every_seconds: int | float = 60.0
    check_val_every_n_epoch: int = 1
    limit_train_batches: int | float | None = None
    limit_val_batches: int | float | None = None
    log_every_n_steps: int = 10
    enable_progress_bar: bool = True
    profiler: Any = None
    callbacks: tuple[Callback, ...] | list[Callback] = ()

    @classmethod
    def parse(cls, options: dict[str, Any]) -> "TrainerOptions":
        """Build from keywords.

        Raises:
            TypeError: On an unknown option, naming the nearest.
            ValueError: If `select` is unknown, or asks for the best of averaged weights.
        """
        known = [item.name for item in fields(cls)]
        for name in options:
            if name not in known:
                similar = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
                hint = f"did you mean {similar[0]!r}? " if similar else ""
                raise TypeError(
                    f"fit: expected a trainer option, got {name!r}; {hint}valid: "
                    f"{', '.join(known)}"
                )
        parsed = cls(**options)
        if parsed.select not in ("last", "best"):
            raise ValueError(
                f"fit: expected select 'last' or 'best', got {parsed.select!r}; 'best' returns "
                "the weights with the smallest validation error"
            )
        if parsed.select == "best" and parsed.ema_decay is not None:
            raise ValueError(
                "fit: expected ema_decay=None with select='best', got "
                f"{parsed.ema_decay}; averaged weights are the average at the end"
            )
        return parsed

    def budget(self) -> Budget:
        """The training budget."""
        return Budget(
            max_epochs=self.max_epochs,
            max_steps=self.max_steps,
            max_seconds=None if self.max_time is None else seconds(self.max_time),
        )


def seconds(duration: int | float | str) -> float:
    """Seconds from a number or ``"DD:HH:MM:SS"``.

    Raises:
        ValueError: If the text has another form.

    >>> seconds("00:00:05:00")
    300.0
    """
    if not isinstance(duration, str):
        return float(duration)
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", duration.strip())
    if match is None:
        raise ValueError(
            f'fit: expected max_time in seconds or as "DD:HH:MM:SS", got {duration!r}; '
            'five minutes are 300 or "00:00:05:00"'
        )
    days, hours, minutes, rest = (int(part) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)
