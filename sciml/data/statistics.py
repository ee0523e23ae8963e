"""Exact statistics of each channel in one streaming pass.

Blocks are reduced in float64 and merged by the pairwise update, which does not cancel as
``E[u²] - E[u]²`` does and whose result does not depend on block size or order beyond rounding.

Source: T. F. Chan, G. H. Golub, R. J. LeVeque, Algorithms for Computing the Sample Variance:
Analysis and Recommendations, The American Statistician 37, 1983, equation 2.1.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.data.sources.base import Source
from sciml.spec import FieldSpec


@final
@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of each channel over samples, frames and space.

    Args:
        count: Number n of values in each channel.
        mean: Mean of each channel.
        squared_deviations: Sum M2 of squared deviations from the mean.
        minimum: Smallest value; None if it is not known.
        maximum: Largest value; None if it is not known.
    """

    count: int
    mean: Float[Tensor, " c"]
    squared_deviations: Float[Tensor, " c"]
    minimum: Float[Tensor, " c"] | None = None
    maximum: Float[Tensor, " c"] | None = None

    @classmethod
    def of(cls, values: Float[Tensor, "n c *space"]) -> "ChannelStatistics":
        """Statistics of one block of frames.

        Raises:
            ValueError: If the block is empty or holds a value that is not finite.
        """
        if values.numel() == 0:
            raise ValueError(
                f"ChannelStatistics.of: expected at least one value, got shape "
                f"{tuple(values.shape)}; pass at least one frame"
            )
        channels = values.to(torch.float64).movedim(1, 0).flatten(1)
        minimum, maximum = channels.aminmax(dim=1)
        # the extremes of a channel show any NaN or infinity in it
        if not bool(torch.isfinite(minimum).all() and torch.isfinite(maximum).all()):
            number = int((~torch.isfinite(channels)).sum())
            raise ValueError(
                f"ChannelStatistics.of: expected finite values, got {number} NaN or infinite; "
                "remove or repair these frames"
            )
        mean = channels.mean(dim=1)
        deviations = channels - mean[:, None]
        # the second term removes the rounding error of the mean
        total = (deviations**2).sum(dim=1) - deviations.sum(dim=1) ** 2 / channels.shape[1]
        return cls(channels.shape[1], mean, total, minimum, maximum)

    def merge(self, other: "ChannelStatistics") -> "ChannelStatistics":
        """Statistics of both sets of values together.

        With counts m, n and means μ, ν: mean = μ + (ν - μ) n / (m + n) and
        M2 = M2ₘ + M2ₙ + (ν - μ)² m n / (m + n).

        Raises:
            ValueError: If the numbers of channels differ.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"ChannelStatistics.merge: expected {len(self.mean)} channels, got "
                f"{len(other.mean)}; merge statistics of the same fields"
            )
        count = self.count + other.count
        difference = other.mean - self.mean
        return ChannelStatistics(
            count,
            self.mean + difference * (other.count / count),
            self.squared_deviations
            + other.squared_deviations
            + difference**2 * (self.count * other.count / count),
            _combined(torch.minimum, self.minimum, other.minimum),
            _combined(torch.maximum, self.maximum, other.maximum),
        )

    @property
    def std(self) -> Float[Tensor, " c"]:
        """Population standard deviation (divided by n)."""
        return (self.squared_deviations / self.count).sqrt()

    @property
    def sum_squares(self) -> Float[Tensor, " c"]:
        """Sum of squared values."""
        return self.squared_deviations + self.count * self.mean**2

    @property
    def rms(self) -> Float[Tensor, " c"]:
        """Root mean square."""
        return (self.sum_squares / self.count).sqrt()


def _combined(
    pick: Callable[[Tensor, Tensor], Tensor], one: Tensor | None, other: Tensor | None
) -> Tensor | None:
    """An extreme of two sets of values, if it is known of both."""
    return None if one is None or other is None else pick(one, other)


@final
@dataclass(frozen=True)
class DataStatistics:
    """Statistics of what a model reads, of what it predicts and of what happens in between.

    Args:
        field: Of the input fields.
        output: Of the output fields; those of the input fields themselves on trajectories.
        increment: Of the differences of frames one window stride apart; None for pairs.
    """

    field: ChannelStatistics
    output: ChannelStatistics
    increment: ChannelStatistics | None


def source_statistics(
    source: Source,
    trajectories: Iterable[int],
    *,
    lag: int = 1,
    per_point: bool = False,
    block_values: int = 2**21,
) -> DataStatistics:
    """Statistics of the given trajectories or pairs, and of no other one, in bounded memory.

    Args:
        source: Where they are read.
        trajectories: Their numbers; the training split's for anything that a model will use.
        lag: Frames between the two ends of an increment.
        per_point: Whether every grid point of a channel has statistics of its own; they come
            as c·points channels then.
        block_values: Values read at a time (at least ``lag + 1`` frames are).

    Raises:
        ValueError: If a value is not finite (naming file, trajectory, frame and field), no
            trajectory has more than `lag` frames, or points of point clouds are asked for.
    """
    spec = source.spec
    if per_point and spec.unstructured:
        raise ValueError(
            f"source_statistics: expected a grid for statistics of each point, got the point "
            f"clouds of {spec.name}; use statistics of each channel"
        )
    field, output, increment = _Running(per_point), _Running(per_point), _Running(per_point)
    for trajectory in trajectories:
        for frames, size in _blocks(source, trajectory, lag, block_values):
            field.add(frames[:size])
            if len(frames) > lag:
                increment.add(frames[lag:] - frames[:-lag])
        if spec.paired:
            output.add(_targets(source, trajectory))
    if field.total is None or (output.total if spec.paired else increment.total) is None:
        raise ValueError(
            f"source_statistics: expected a trajectory of more than {lag} frames in "
            f"{spec.name}, got none; check the split, or lower the stride"
        )
    return DataStatistics(field.total, output.total or field.total, increment.total)


@final
class _Running:
    """Statistics so far of one quantity.

    Args:
        per_point: Whether to take every point of a channel for a channel of its own.
    """

    def __init__(self, per_point: bool) -> None:
        self.per_point = per_point
        self.total: ChannelStatistics | None = None

    def add(self, values: Tensor) -> None:
        """Take in values (n, c, *space)."""
        own = ChannelStatistics.of(values.flatten(1)[..., None] if self.per_point else values)
        self.total = own if self.total is None else self.total.merge(own)


def _blocks(
    source: Source, trajectory: int, lag: int, block_values: int
) -> Iterator[tuple[Tensor, int]]:
    """Frames of a trajectory in blocks, and how many of them are the block's own.

    A block reaches `lag` frames into the next one, where its last increments end.
    """
    spec, steps = source.spec, source.num_steps(trajectory)
    space = (source.num_points(trajectory),) if spec.unstructured else spec.resolution
    block = max(block_values // (spec.frame_channels * math.prod(space)), 1)
    for start in range(0, steps, block):
        stop = min(start + block + lag, steps)
        frames = torch.empty((stop - start, spec.frame_channels, *space))
        source.read(trajectory, start, stop, 1, frames.numpy())
        _refuse_nonfinite(frames, source, trajectory, start)
        yield frames.to(torch.float64), block


def _targets(source: Source, trajectory: int) -> Tensor:
    """Output fields (1, c, *space) of a pair."""
    spec = source.spec
    space = (source.num_points(trajectory),) if spec.unstructured else spec.resolution
    targets = torch.empty((1, spec.out_channels, *space))
    source.read_targets(trajectory, targets[0].numpy())
    _refuse_nonfinite(targets, source, trajectory, 0, spec.out_fields)
    return targets.to(torch.float64)


def _refuse_nonfinite(
    frames: Tensor,
    source: Source,
    trajectory: int,
    start: int,
    fields: tuple[FieldSpec, ...] | None = None,
) -> None:
    """Raise on the first NaN or infinity, saying where it stands."""
    finite = torch.isfinite(frames)
    if bool(finite.all()):
        return
    frame, channel, *_ = (~finite).nonzero()[0].tolist()
    names = [f.name for f in fields or source.spec.in_fields for _ in range(f.components)]
    raise ValueError(
        f"source_statistics: expected finite values, got {float(frames[~finite][0])} in "
        f"{source.locate(trajectory)}, frame {start + frame}, field {names[channel]!r}; delete "
        "the file and generate or download it again"
    )
