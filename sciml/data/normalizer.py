"""Affine normalisation per channel, stored with the model."""

from collections.abc import Iterable
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
    """z = (x - shift) / scale with one shift and scale per channel.

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

    Raises:
        ValueError: If `kind` is unknown.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, num_channels: int, kind: str = "zscore") -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(
                f"Normalizer: expected kind zscore, rms, minmax or none, got {kind!r}; use one "
                "of these"
            )
        self.num_channels = num_channels
        self.kind = kind
        self.register_buffer("shift", torch.zeros(num_channels, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(num_channels, dtype=torch.float64))

    @classmethod
    def from_statistics(
        cls, statistics: ChannelStatistics, kind: str = "zscore"
    ) -> "Normalizer":
        """A normaliser of data whose statistics are known."""
        normalizer = cls(len(statistics.mean), kind)
        normalizer._adopt(statistics)
        return normalizer

    def fit(self, batches: Iterable[Float[Tensor, "_ c *_"]]) -> "Normalizer":
        """Take shift and scale from tensors (b, c, *space), one streaming pass in float64.

        Raises:
            ValueError: If there is no batch, a batch has other channels, or values are not
            finite.
        """
        parts = (ChannelStatistics.of(self._checked(batch, "fit")) for batch in batches)
        first = next(parts, None)
        if first is None:
            raise ValueError("Normalizer.fit: expected at least one batch, got none; pass data")
        self._adopt(reduce(ChannelStatistics.merge, parts, first))
        return self

    def _adopt(self, statistics: ChannelStatistics) -> None:
        magnitude = torch.maximum(statistics.minimum.abs(), statistics.maximum.abs())
        zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)
        shift, scale = {
            "zscore": (statistics.mean, statistics.std),
            "rms": (zero, statistics.rms),
            "minmax": (statistics.minimum, statistics.maximum - statistics.minimum),
            "none": (zero, one),
        }[self.kind]
        if self.kind != "none":
            scale = torch.where(scale > _CONSTANT * magnitude, scale, one)
        self.shift.copy_(shift)
        self.scale.copy_(scale)

    def _checked(self, x: Tensor, function: str) -> Tensor:
        """The input itself, if its channels are those of the normaliser."""
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ValueError(
                f"Normalizer.{function}: expected {self.num_channels} channels on axis 1, got "
                f"shape {tuple(x.shape)}; pass one frame of the fields it is for"
            )
        return x

    def _parameters_for(self, x: Tensor, function: str) -> tuple[Tensor, Tensor]:
        """Shift and scale in the shape and dtype of an input."""
        if x.ndim < 2 or x.shape[1] == 0 or x.shape[1] % self.num_channels:
            raise ValueError(
                f"Normalizer.{function}: expected a multiple of {self.num_channels} channels "
                f"on axis 1, got shape {tuple(x.shape)}; pass the fields that it was fitted to"
            )
        frames = x.shape[1] // self.num_channels
        shape = (-1,) + (1,) * (x.ndim - 2)
        shift, scale = (
            v.to(x.dtype).repeat(frames).view(shape) for v in (self.shift, self.scale)
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
        return f"{self.num_channels}, kind={self.kind!r}"
