"""Errors and running time of one forecaster on one data set.

All numbers are in physical units. Errors are per sample, streamed over batches in bounded
memory and averaged over samples; the time is measured on the machine and in the run that the
errors come from, on the same batches.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.metrics.spatial import relative_l2, rmse, vrmse
from sciml.metrics.spectral import banded_spectral_error
from sciml.metrics.temporal import divergence_step, rollout_curve
from sciml.spec import Batch, DatasetSpec

BANDS = ("low", "mid", "high")
"""Names of the three wavenumber bands of `banded_spectral_error`."""
_REPEATS = 5
_SECONDS_FOR_REPEATS = 20.0


@runtime_checkable
class Forecaster(Protocol):
    """Anything that predicts the frames after a history: a surrogate, a solver, persistence.

    A forecaster with an attribute `accepts_params` that is False is not handed PDE parameters.
    """

    def rollout(self, u: Tensor, num_steps: int, *, params: Tensor | None = None) -> Tensor:
        """Predict (b, num_steps, c, *space) from a history (b, h * c, *space)."""
        ...


@runtime_checkable
class FieldMap(Protocol):
    """Anything that maps inputs to outputs of a data set without time."""

    def __call__(self, u: Tensor, *, params: Tensor | None = None) -> Tensor:
        """Predict (b, c_out, *space) from (b, c_in, *space)."""
        ...


@runtime_checkable
class EvaluationSet(Protocol):
    """The part of a windowed data set that is needed here."""

    @property
    def spec(self) -> DatasetSpec:
        """Self-description of the data."""
        ...

    def __len__(self) -> int:
        """Number of windows."""
        ...

    def batch(self, indices: Sequence[int]) -> Batch:
        """The windows of those numbers."""
        ...


@final
@dataclass(frozen=True)
class Examples:
    """A few trajectories kept for figures, on the CPU.

    Args:
        truth: True frames.
        prediction: Predicted frames.
        times: Physical time of each frame; zero for data without time.
    """

    truth: Float[Tensor, "k t c *space"]
    prediction: Float[Tensor, "k t c *space"]
    times: Float[Tensor, "k t"]


@final
@dataclass(frozen=True)
class Evaluation:
    """What a forecaster reached on a data set.

    Args:
        metrics: Means over samples by name, without prefix (``rollout_relative_l2``).
        curve: Relative L2 error of every sample and frame.
        examples: The first samples, for figures.
        milliseconds: Wall time per unit of physical time and sample; per application and sample
            for data without time.
    """

    metrics: dict[str, float]
    curve: Float[Tensor, "n t"]
    examples: Examples
    milliseconds: float


@final
@dataclass(frozen=True)
class _Totals:
    """Per-sample values by metric, gathered batch by batch in float64."""

    values: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, name: str, value: Tensor) -> None:
        self.values.setdefault(name, []).append(value.to("cpu", torch.float64))

    def all(self, name: str) -> Tensor:
        return torch.cat(self.values[name])

    def mean(self) -> dict[str, float]:
        return {name: self.all(name).mean().item() for name in self.values}


@torch.no_grad()
def evaluate(
    forecaster: Forecaster | FieldMap,
    dataset: EvaluationSet,
    one_step: EvaluationSet | None = None,
    *,
    batch_size: int = 20,
    num_examples: int = 2,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Errors and time of one forecaster.

    On trajectories: ``rollout_relative_l2`` (over all frames together), its value per step
    (``rollout_relative_l2_step_01`` …), ``divergence_step`` and, given `one_step` windows,
    ``one_step_relative_l2``. On data without time: ``relative_l2`` of one application. On both:
    ``rmse``, ``vrmse`` and ``spectral_error_{low,mid,high}``.

    Args:
        forecaster: What predicts; with `rollout` on trajectories, called on data without time.
        dataset: Samples with their targets, whose number of frames is that of the rollout.
        one_step: Windows of one step.
        batch_size: Samples predicted at once; bounds the memory and is the batch that is timed.
        num_examples: Samples kept for figures.
        device: Where the forecaster lives.

    Returns:
        Metrics, error curves, examples and time.

    Raises:
        ValueError: If there are no samples, or a forecast has another shape than the targets.
        TypeError: If `forecaster` cannot predict such data.
    """
    spec, totals, examples = dataset.spec, _Totals(), _Totals()
    headline = "rollout_relative_l2" if spec.autoregressive else "relative_l2"
    missing = num_examples
    for batch in _batches(dataset, batch_size, device):
        target = _targets(batch)
        prediction = _forecast(forecaster, batch, spec)
        totals.add(headline, relative_l2(prediction, target))
        totals.add("curve", rollout_curve(prediction, target))
        if spec.autoregressive:
            totals.add("divergence_step", divergence_step(prediction, target))
        totals.add("rmse", rmse(prediction, target))
        totals.add("vrmse", vrmse(prediction, target, ndim=spec.ndim))
        errors = banded_spectral_error(prediction, target, 3, extent=spec.domain.extent)
        for band, error in zip(BANDS, errors.unbind(1), strict=True):
            totals.add(f"spectral_error_{band}", error)
        if missing > 0:
            examples.add("truth", target[:missing])
            examples.add("prediction", prediction[:missing])
            examples.add("times", _times(batch, spec)[:missing])
            missing -= len(target)
    curve = torch.cat(totals.values.pop("curve"))
    metrics = totals.mean()
    if spec.autoregressive:
        for step, value in enumerate(curve.mean(0).tolist(), start=1):
            metrics[f"{headline}_step_{step:02d}"] = value
        if one_step is not None:
            metrics["one_step_relative_l2"] = _one_step_error(
                forecaster, one_step, batch_size, device
            )
    first = next(_batches(dataset, batch_size, device))
    return Evaluation(
        metrics,
        curve,
        Examples(*(examples.all(name) for name in ("truth", "prediction", "times"))),
        _milliseconds(forecaster, first, spec),
    )


def _one_step_error(
    forecaster: Forecaster | FieldMap,
    dataset: EvaluationSet,
    batch_size: int,
    device: torch.device | str,
) -> float:
    """Mean relative L2 error of single steps."""
    totals = _Totals()
    for batch in _batches(dataset, batch_size, device):
        prediction = _forecast(forecaster, batch, dataset.spec)
        totals.add("error", relative_l2(prediction, _targets(batch)))
    return totals.mean()["error"]


def _batches(
    dataset: EvaluationSet, batch_size: int, device: torch.device | str
) -> Iterator[Batch]:
    """All samples once, in order."""
    if len(dataset) == 0:
        raise ValueError(
            f"evaluate: expected at least one sample of {dataset.spec.name!r}, got none; "
            "choose a split that has trajectories long enough"
        )
    for start in range(0, len(dataset), batch_size):
        indices = range(start, min(start + batch_size, len(dataset)))
        yield dataset.batch(list(indices)).to(device)


def _targets(batch: Batch) -> Tensor:
    """The true frames of a batch."""
    if batch.targets is None:
        raise ValueError(
            "evaluate: expected a batch with targets, got none; open the data with "
            "a horizon of at least one frame"
        )
    return batch.targets


def _times(batch: Batch, spec: DatasetSpec) -> Tensor:
    """Physical time of each target frame, counted from the input where the file is silent."""
    if batch.times is not None:
        return batch.times[:, 1:]
    num_samples, num_frames = _targets(batch).shape[:2]
    return (spec.dt or 0.0) * torch.arange(1, num_frames + 1.0).expand(num_samples, -1)


def _forecast(forecaster: Forecaster | FieldMap, batch: Batch, spec: DatasetSpec) -> Tensor:
    """Predict the frames of a batch's targets."""
    target = _targets(batch)
    # A model that ignores the parameters of the data is a legitimate baseline.
    params = batch.params if getattr(forecaster, "accepts_params", True) else None
    if spec.autoregressive and isinstance(forecaster, Forecaster):
        prediction = forecaster.rollout(batch.inputs, target.shape[1], params=params)
    elif not spec.autoregressive and isinstance(forecaster, FieldMap):
        prediction = forecaster(batch.inputs, params=params).unsqueeze(1)
    else:
        needed = "a rollout method" if spec.autoregressive else "something to call"
        raise TypeError(
            f"evaluate: expected {needed} for {spec.name!r}, got {type(forecaster).__name__}; "
            "wrap the model in a Surrogate"
        )
    if prediction.shape != target.shape:
        raise ValueError(
            f"evaluate: expected a forecast of shape {tuple(target.shape)}, got "
            f"{tuple(prediction.shape)} from {type(forecaster).__name__}; check its "
            "channels and number of steps"
        )
    return prediction


def _milliseconds(forecaster: Forecaster | FieldMap, batch: Batch, spec: DatasetSpec) -> float:
    """Wall time per sample and unit of physical time (or application), after a warm-up.

    The median of a few repeats, which one interruption by the system does not move; fewer where
    a single one takes long.
    """
    _forecast(forecaster, batch, spec)
    seconds: list[float] = []
    while len(seconds) < _REPEATS and (not seconds or sum(seconds) < _SECONDS_FOR_REPEATS):
        _synchronise(batch.inputs.device)
        start = time.perf_counter()
        _forecast(forecaster, batch, spec)
        _synchronise(batch.inputs.device)
        seconds.append(time.perf_counter() - start)
    duration = _targets(batch).shape[1] * (spec.dt or 1.0) if spec.autoregressive else 1.0
    return 1e3 * statistics.median(seconds) / (duration * len(batch))


def _synchronise(device: torch.device) -> None:
    """Wait for the accelerator, so that the clock sees its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
