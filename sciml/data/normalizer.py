"""Affine normalisation per channel or per point, stored with the model."""

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from sciml.data.statistics import ChannelStatistics

KINDS = ("zscore", "rms", "minmax", "none")
"""What shift and scale can be."""

_CONSTANT = 2.0**-22
"""A spread below this part of a channel's largest magnitude is rounding noise of float32
data."""


@final
class Normalizer(nn.Module):
    """z = (x - shift) / scale with one shift and scale per channel, or per point.

    ``"zscore"`` takes mean and standard deviation, ``"rms"`` zero and the root mean square,
    ``"minmax"`` the minimum and the range (so that z lies in [0, 1]), ``"none"`` leaves x
    alone. A channel that is constant to float32 rounding has no scale of its own: it keeps
    scale 1, so that nothing is amplified. Before `fit` the map is the identity.

    Shift and scale are buffers in float64 and are applied in the dtype of the input. They
    travel with the model's state, which therefore works in physical units without the data set.

    Args:
        num_channels: Channels c of one frame. An input of h·c channels is taken as h frames,
            each of which gets the same shifts and scales.
        kind: What shift and scale are.
        space: Grid of a normaliser that has one shift and scale for each point of a channel,
            as the FNO's Darcy recipe has; empty for one per channel.

    Raises:
        ValueError: If `kind` is unknown.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, num_channels: int, kind: str = "zscore", space: Sequence[int] = ()
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(
                f"Normalizer: expected kind zscore, rms, minmax or none, got {kind!r}; use one "
                "of these"
            )
        self.num_channels = num_channels
        self.kind = kind
        self.space = tuple(space)
        shape = (num_channels, *self.space)
        self.register_buffer("shift", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(shape, dtype=torch.float64))

    @classmethod
    def from_statistics(
        cls, statistics: ChannelStatistics, kind: str = "zscore", space: Sequence[int] = ()
    ) -> "Normalizer":
        """A normaliser of data whose statistics are known.

        Args:
            statistics: Of each channel, or of each point of each channel.
            kind: What shift and scale are.
            space: Grid of the points that the statistics are of; empty for channels.

        Raises:
            ValueError: If minimum and maximum are needed and not known.
        """
        normalizer = cls(len(statistics.mean) // math.prod(space), kind, space)
        normalizer._adopt(statistics)
        return normalizer

    def fit(self, batches: Iterable[Float[Tensor, "_ c *_"]]) -> "Normalizer":
        """Take shift and scale from tensors (b, c, *space), one streaming pass in float64.

        Raises:
            ValueError: If there is no batch, a batch has other channels, or values are not
            finite.
        """
        parts = (ChannelStatistics.of(self._checked(batch)) for batch in batches)
        first = next(parts, None)
        if first is None:
            raise ValueError("Normalizer.fit: expected at least one batch, got none; pass data")
        self._adopt(reduce(ChannelStatistics.merge, parts, first))
        return self

    def _adopt(self, statistics: ChannelStatistics) -> None:
        low, high = statistics.minimum, statistics.maximum
        if low is None or high is None:
            if self.kind == "minmax":
                raise ValueError(
                    "Normalizer: expected statistics with minimum and maximum for minmax, got "
                    "published ones without; compute them, or use zscore or rms"
                )
            low, high = -statistics.rms, statistics.rms  # some value is at least as large
        magnitude = torch.maximum(low.abs(), high.abs())
        zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)
        shift, scale = {
            "zscore": (statistics.mean, statistics.std),
            "rms": (zero, statistics.rms),
            "minmax": (low, high - low),
            "none": (zero, one),
        }[self.kind]
        if self.kind != "none":
            scale = torch.where(scale > _CONSTANT * magnitude, scale, one)
        self.shift.copy_(shift.view_as(self.shift))
        self.scale.copy_(scale.view_as(self.scale))

    def _checked(self, x: Tensor) -> Tensor:
        """Values to take statistics of, if they are of the channels and grid it is for."""
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ValueError(
                f"Normalizer.fit: expected {self.num_channels} channels on axis 1, got shape "
                f"{tuple(x.shape)}; pass one frame of the fields it is for"
            )
        self._check_grid(x, "fit")
        return x.flatten(1)[..., None] if self.space else x

    def _check_grid(self, x: Tensor, function: str) -> None:
        if self.space and tuple(x.shape[2:]) != self.space:
            raise ValueError(
                f"Normalizer.{function}: expected the grid {self.space} of its points, got "
                f"shape {tuple(x.shape)}; normalise per channel to change the resolution"
            )

    def _parameters_for(self, x: Tensor, function: str) -> tuple[Tensor, Tensor]:
        """Shift and scale in the shape and dtype of an input."""
        if x.ndim < 2 or x.shape[1] == 0 or x.shape[1] % self.num_channels:
            raise ValueError(
                f"Normalizer.{function}: expected a multiple of {self.num_channels} channels "
                f"on axis 1, got shape {tuple(x.shape)}; pass the fields that it was fitted to"
            )
        self._check_grid(x, function)
        frames = x.shape[1] // self.num_channels
        shape = (x.shape[1], *(self.space or (1,) * (x.ndim - 2)))
        shift, scale = (
            v.to(x.dtype).repeat(frames, *(1,) * len(self.space)).view(shape)
            for v in (self.shift, self.scale)
        )
        return shift, scale

    @override
    def forward(self, x: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        """Physical to normalised values."""
        shift, scale = self._parameters_for(x, "forward")
        return (x - shift) / scale

    def inverse(self, z: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        """Normalised to physical values."""
        shift, scale = self._parameters_for(z, "inverse")
        return z * scale + shift

    @override
    def extra_repr(self) -> str:
        points = f", space={self.space}" if self.space else ""
        return f"{self.num_channels}, kind={self.kind!r}{points}"
