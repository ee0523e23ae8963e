"""Objectives: what is minimised, given a model in physical units and a batch.

Families differ in their objective and their model and nowhere else. Every objective returns the
mean over the batch of a per-sample error, so its value does not depend on the batch size.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.metrics.spatial import relative_l2
from sciml.spec import Batch, DatasetSpec
from sciml.training.normalized import NormalizedModel
from sciml.training.rollout import rollout, slide
from sciml.training.validation import RelativeL2, Validation

SampleLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Error of each sample: prediction and target ``(b, ...)`` to ``(b,)``."""
Terms: TypeAlias = dict[str, Tensor]
"""Named parts of a loss, for the log."""

_ROLLOUT_NOISE = 0.003


def counter_seed(seed: int, step: int, rank: int = 0) -> int:
    """Seed of one training step, a hash of its coordinates.

    Randomness that depends on (seed, step, rank) alone needs no generator state in a
    checkpoint: a resumed run draws what the uninterrupted one would have drawn.
    """
    text = f"{seed}/{step}/{rank}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


@final
@dataclass(frozen=True)
class Progress:
    """Where the training stands.

    Args:
        step: Batches seen so far by every process.
        epoch: Passes over the training split completed.
        fraction: Spent part of the budget, in [0, 1].
        generator: Source of all randomness of this step.
    """

    step: int
    epoch: int
    fraction: float
    generator: torch.Generator

    @classmethod
    def at(
        cls,
        step: int,
        *,
        epoch: int = 0,
        fraction: float = 0.0,
        seed: int = 0,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> "Progress":
        """Progress with the generator that belongs to (seed, step, rank)."""
        generator = torch.Generator(device=device).manual_seed(counter_seed(seed, step, rank))
        return cls(step, epoch, fraction, generator)


class Objective(ABC):
    """Loss of a model on a batch."""

    @property
    @abstractmethod
    def horizon(self) -> int:
        """Number of target frames that a batch must hold."""

    @property
    def needs_targets(self) -> bool:
        """Whether batches have to hold what the model should predict."""
        return True

    @property
    def validation(self) -> Validation:
        """What a model is chosen for at the end of an epoch."""
        return RelativeL2()

    @abstractmethod
    def __call__(
        self, model: NormalizedModel, batch: Batch, progress: Progress
    ) -> tuple[Tensor, Terms]:
        """Return the loss and its named terms."""

    def check_targets(self, spec: DatasetSpec, has_targets: bool) -> None:
        """Refuse, in words, data without targets for an objective that compares with them.

        Raises:
            ValueError: If targets are needed and there are none.
        """
        if self.needs_targets and not has_targets:
            raise ValueError(
                f"{type(self).__name__}: expected data with inputs and outputs, got "
                f"{spec.name!r}, whose samples are inputs alone, drawn for models with an "
                "objective of their own; choose another data set"
            )

    def check_spec(self, spec: DatasetSpec) -> None:
        """Refuse, in words, a data set on which this objective is not defined.

        Raises:
            ValueError: If several steps are asked of a data set whose outputs cannot be fed
                back.
        """
        if self.horizon > 1 and not spec.autoregressive:
            raise ValueError(
                f"{type(self).__name__}: expected a data set whose outputs can be fed back as "
                f"inputs, got {spec.name!r} with inputs {[f.name for f in spec.in_fields]}, "
                f"outputs {[f.name for f in spec.out_fields]} and dt={spec.dt}; use OneStep"
            )


def _targets(batch: Batch, horizon: int, name: str) -> Tensor:
    available = 0 if batch.targets is None else batch.targets.shape[1]
    if batch.targets is None or available < horizon:
        raise ValueError(
            f"{name}: expected a batch with {horizon} target frames, got {available}; "
            "load windows with a longer horizon"
        )
    return batch.targets


def _check_num_steps(name: str, num_steps: int, least: int) -> None:
    if num_steps < least:
        raise ValueError(f"{name}: expected num_steps >= {least}, got {num_steps}; use OneStep")


@final
@dataclass(frozen=True)
class OneStep(Objective):
    r"""Error of one step, optionally from a noisy input.

    .. math:: \frac{1}{B} \sum_b \ell(F(u_b + \sigma s_c \xi_b), y_b),
        \quad \xi \sim \mathcal{N}(0, 1)

    Args:
        noise: Standard deviation σ of the input noise in units of the field's own: s_c is the
            standard deviation of input channel c over the batch. A little noise teaches the
            model to correct the errors that it will meet in a rollout. The targets stay clean.
            None takes 0.003 where outputs are fed back, and no noise elsewhere.
        loss: Error ℓ of each sample.

    Raises:
        ValueError: If `noise` is negative.

    Source: Sanchez-Gonzalez et al., "Learning to Simulate Complex Physics with Graph Networks",
    2020, arXiv:2002.09405, Section 4.3.
    Deviations from the paper: white noise on all history frames instead of a random walk.
    """

    noise: float | None = 0.0
    loss: SampleLoss = relative_l2

    def __post_init__(self) -> None:
        if self.noise is not None and self.noise < 0:
            raise ValueError(
                f"OneStep: expected noise >= 0, got {self.noise}; 0 switches it off"
            )

    @property
    @override
    def horizon(self) -> int:
        return 1

    @override
    def __call__(
        self, model: NormalizedModel, batch: Batch, progress: Progress
    ) -> tuple[Tensor, Terms]:
        target = _targets(batch, 1, "OneStep")[:, 0]
        inputs, noise = batch.inputs, self.noise
        if noise is None:
            noise = _ROLLOUT_NOISE if model.spec.autoregressive else 0.0
        if noise > 0:
            axes = [axis for axis in range(inputs.ndim) if axis != 1]
            deviation = inputs.std(dim=axes, keepdim=True, correction=0)
            xi = torch.randn(
                inputs.shape,
                generator=progress.generator,
                dtype=inputs.dtype,
                device=inputs.device,
            )
            inputs = inputs + noise * deviation * xi
        prediction = model(inputs, params=model.usable(batch.params))
        return self.loss(prediction, target).mean(), {}


@final
@dataclass(frozen=True)
class Rollout(Objective):
    r"""Mean per-frame error of an autoregressive rollout, differentiated through all its steps.

    .. math:: \frac{1}{B T} \sum_b \sum_{t=1}^{T} \ell(F^t(u_b), y_{b,t})

    Args:
        num_steps: Frames T.
        curriculum: Fraction of the budget over which the rollout grows from one step to
            `num_steps`; 0 starts with the full length, as published.
        detached: Whether gradients are cut between the steps: less memory and a bounded
            gradient, at the price of a biased one.
        loss: Error ℓ of each sample and frame.

    Raises:
        ValueError: If `num_steps` is not positive or `curriculum` is outside [0, 1].

    Source: the Navier–Stokes recipe published with Wu et al., "Solving High-Dimensional PDEs
    with Latent Spectral Models", 2023, arXiv:2301.12664.
    Deviations from the paper: the published loss is the sum over batch and frames, B T times
    this one. Adam's update does not see a constant factor, but a weight decay coupled to the
    gradient (``torch.optim.Adam``) does: the published 1e-4 at B = 20, T = 10 is 5e-7 here.
    """

    num_steps: int
    curriculum: float = 0.0
    detached: bool = False
    loss: SampleLoss = relative_l2

    def __post_init__(self) -> None:
        _check_num_steps("Rollout", self.num_steps, 1)
        if not 0.0 <= self.curriculum <= 1.0:
            raise ValueError(
                f"Rollout: expected a curriculum fraction in [0, 1], got {self.curriculum}; "
                "0 switches it off"
            )

    @property
    @override
    def horizon(self) -> int:
        return self.num_steps

    def length(self, fraction: float) -> int:
        """Number of steps at a spent fraction of the budget."""
        if fraction >= self.curriculum:
            return self.num_steps
        return 1 + int((self.num_steps - 1) * fraction / self.curriculum)

    @override
    def __call__(
        self, model: NormalizedModel, batch: Batch, progress: Progress
    ) -> tuple[Tensor, Terms]:
        targets = _targets(batch, self.num_steps, "Rollout")
        num_steps = self.length(progress.fraction)
        params = model.usable(batch.params)
        losses: list[Tensor] = []
        u = batch.inputs
        for t in range(num_steps):
            frame = model(u, params=params)
            losses.append(self.loss(frame, targets[:, t]).mean())
            if t + 1 < num_steps:
                u = slide(u, frame.detach() if self.detached else frame)
        terms = {"first_step": losses[0].detach(), "last_step": losses[-1].detach()}
        return torch.stack(losses).mean(), terms


@final
@dataclass(frozen=True)
class PushForward(Objective):
    r"""Error of the last of several steps, of which only that one is differentiated.

    .. math:: \frac{1}{B} \sum_b \ell(F(\operatorname{stop}(F^{T-1}(u_b))), y_{b,T})

    The model learns from the inputs that it makes itself, at the memory of a single step.

    Args:
        num_steps: Steps T, at least two; the first T - 1 run without gradient.
        loss: Error ℓ of each sample.

    Raises:
        ValueError: If `num_steps` is below two.

    Source: Brandstetter, Worrall and Welling, "Message Passing Neural PDE Solvers", 2022,
    arXiv:2202.03376, Section 3.1.
    Deviations from the paper: the stability term alone, without the one-step term beside it.
    """

    num_steps: int = 2
    loss: SampleLoss = relative_l2

    def __post_init__(self) -> None:
        _check_num_steps("PushForward", self.num_steps, 2)

    @property
    @override
    def horizon(self) -> int:
        return self.num_steps

    @override
    def __call__(
        self, model: NormalizedModel, batch: Batch, progress: Progress
    ) -> tuple[Tensor, Terms]:
        target = _targets(batch, self.num_steps, "PushForward")[:, self.num_steps - 1]
        params = model.usable(batch.params)
        u = batch.inputs
        with torch.no_grad():
            for frame in rollout(model, u, self.num_steps - 1, params=params).unbind(1):
                u = slide(u, frame)
        return self.loss(model(u, params=params), target).mean(), {}
