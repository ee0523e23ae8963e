"""Learning-rate schedules: a factor on the learning rate, from the training progress.

A schedule sees the spent fraction of the budget, not a step count, so that the same schedule
fits a budget in epochs, steps or seconds. The learning rate is set before every optimiser step.
"""

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable


@runtime_checkable
class Schedule(Protocol):
    """Factor on the learning rate, given the spent budget fraction in [0, 1] and the epoch."""

    def __call__(self, fraction: float, epoch: int) -> float:
        """Return the factor for the coming optimiser step."""
        ...


def _warmup(fraction: float, warmup: float) -> float:
    return min(fraction / warmup, 1.0) if warmup > 0 else 1.0


def _decayed(fraction: float, warmup: float) -> float:
    """Position in [0, 1] of the part that follows the warm-up."""
    return min(max((fraction - warmup) / (1.0 - warmup), 0.0), 1.0)


def _check_warmup(name: str, warmup: float) -> None:
    if not 0.0 <= warmup < 1.0:
        raise ValueError(
            f"{name}: expected a warm-up fraction of the budget in [0, 1), got {warmup}; "
            "0.05 is usual"
        )


@final
@dataclass(frozen=True)
class Constant:
    """The learning rate of the optimiser, unchanged."""

    def __call__(self, fraction: float, epoch: int) -> float:
        """Return one."""
        return 1.0


@final
@dataclass(frozen=True)
class WarmupLinear:
    """Linear rise from zero over `warmup`, then linear fall to zero at the end of the budget.

    Args:
        warmup: Fraction of the budget. The default keeps the first steps of Adam, whose second
            moments are estimated from few gradients, small.

    Raises:
        ValueError: If `warmup` is outside [0, 1).
    """

    warmup: float = 0.05

    def __post_init__(self) -> None:
        _check_warmup("WarmupLinear", self.warmup)

    def __call__(self, fraction: float, epoch: int) -> float:
        """Return the factor in [0, 1]."""
        return _warmup(fraction, self.warmup) * (1.0 - _decayed(fraction, self.warmup))


@final
@dataclass(frozen=True)
class WarmupCosine:
    """Linear rise from zero over `warmup`, then half a cosine to zero at the end of the budget.

    Args:
        warmup: Fraction of the budget.

    Raises:
        ValueError: If `warmup` is outside [0, 1).

    Source: Loshchilov and Hutter, "SGDR", 2017, arXiv:1608.03983, equation 5 without restarts.
    """

    warmup: float = 0.05

    def __post_init__(self) -> None:
        _check_warmup("WarmupCosine", self.warmup)

    def __call__(self, fraction: float, epoch: int) -> float:
        """Return the factor in [0, 1]."""
        cosine = 0.5 * (1.0 + math.cos(math.pi * _decayed(fraction, self.warmup)))
        return _warmup(fraction, self.warmup) * cosine


@final
@dataclass(frozen=True)
class StepDecay:
    """Multiply by `gamma` every `epochs` epochs, whatever the budget.

    Args:
        epochs: Epochs between two reductions; 100 of 501 in the published LSM recipe.
        gamma: Factor of one reduction.

    Raises:
        ValueError: If `epochs` is not positive.

    Source: the recipe published with Wu et al., "Solving High-Dimensional PDEs with Latent
    Spectral Models", 2023, arXiv:2301.12664.
    """

    epochs: int = 100
    gamma: float = 0.5

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(
                "StepDecay: expected at least one epoch between reductions, got "
                f"{self.epochs}; 100 is the published value"
            )

    def __call__(self, fraction: float, epoch: int) -> float:
        """Return ``gamma ** (epoch // epochs)``."""
        return self.gamma ** (epoch // self.epochs)
