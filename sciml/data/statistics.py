"""Exact statistics of each channel in one streaming pass.

Blocks are reduced in float64 and merged by the pairwise update, which does not cancel as
``E[u²] - E[u]²`` does and whose result does not depend on block size or order beyond rounding.

Source: T. F. Chan, G. H. Golub, R. J. LeVeque, Algorithms for Computing the Sample Variance:
Analysis and Recommendations, The American Statistician 37, 1983, equation 2.1.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.data.sources.base import Source


@final
@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of each channel over samples, frames and space.

    Args:
        count: Number n of values in each channel.
        mean: Mean of each channel.
        squared_deviations: Sum M2 of squared deviations from the mean.
        minimum: Smallest value.
        maximum: Largest value.
    """

    count: int
    mean: Float[Tensor, " c"]
    squared_deviations: Float[Tensor, " c"]
    minimum: Float[Tensor, " c"]
    maximum: Float[Tensor, " c"]

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
            torch.minimum(self.minimum, other.minimum),
            torch.maximum(self.maximum, other.maximum),
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


@final
@dataclass(frozen=True)
class DataStatistics:
    """Statistics of the frames of a data set and of what happens between them.

    Args:
        field: Of the frames.
        increment: Of the differences of frames one window stride apart.
    """

    field: ChannelStatistics
    increment: ChannelStatistics


def source_statistics(
    source: Source,
    trajectories: Iterable[int],
    *,
    lag: int = 1,
    block_values: int = 2**21,
) -> DataStatistics:
    """Statistics of the given trajectories, and of no other one, in bounded memory.

    Args:
        source: Where they are read.
        trajectories: Their numbers; the training split's for anything that a model will use.
        lag: Frames between the two ends of an increment.
        block_values: Values read at a time (at least ``lag + 1`` frames are).

    Raises:
        ValueError: If a value is not finite (naming file, trajectory, frame and field), or no
            trajectory has more than `lag` frames.
    """
    spec = source.spec
    frame_values = spec.frame_channels * math.prod(spec.resolution)
    block = max(block_values // frame_values, 1)
    field: ChannelStatistics | None = None
    increment: ChannelStatistics | None = None
    for trajectory in trajectories:
        steps = source.num_steps(trajectory)
        for start in range(0, steps, block):
            # a block reaches `lag` frames into the next one, where its last increments end
            stop = min(start + block + lag, steps)
            frames = torch.empty((stop - start, spec.frame_channels, *spec.resolution))
            source.read(trajectory, start, stop, 1, frames.numpy())
            _refuse_nonfinite(frames, source, trajectory, start)
            frames = frames.to(torch.float64)
            own = ChannelStatistics.of(frames[:block])
            field = own if field is None else field.merge(own)
            if stop - start > lag:
                own = ChannelStatistics.of(frames[lag:] - frames[:-lag])
                increment = own if increment is None else increment.merge(own)
    if field is None or increment is None:
        raise ValueError(
            f"source_statistics: expected a trajectory of more than {lag} frames in "
            f"{spec.name}, got none; check the split, or lower the stride"
        )
    return DataStatistics(field, increment)


def _refuse_nonfinite(frames: Tensor, source: Source, trajectory: int, start: int) -> None:
    """Raise on the first NaN or infinity, saying where it stands."""
    finite = torch.isfinite(frames)
    if bool(finite.all()):
        return
    frame, channel, *_ = (~finite).nonzero()[0].tolist()
    names = [f.name for f in source.spec.in_fields for _ in range(f.components)]
    raise ValueError(
        f"source_statistics: expected finite values, got {float(frames[~finite][0])} in "
        f"{source.locate(trajectory)}, frame {start + frame}, field {names[channel]!r}; delete "
        "the file and generate or download it again"
    )
