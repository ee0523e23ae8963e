"""Levels of the published hierarchical projection network: a plain U-Net.

Module names and order of creation are the published ones, because they fix the keys of
checkpoints and the initial values for a seed.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from sciml.models.lsm.block import CONVOLUTIONS
from sciml.nn.mlp import pointwise_linear

_BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE_NORMS = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def _norm(channels: int, ndim: int, norm: str) -> nn.Module:
    if norm == "batch":
        return _BATCH_NORMS[ndim](channels)
    return _INSTANCE_NORMS[ndim](channels, affine=True)


@final
class DoubleConv(nn.Module):
    """Two 3-point convolutions with zero padding, each followed by a norm and a ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, mid_channels: int, ndim: int, norm: str
    ) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[ndim]
        self.double_conv = nn.Sequential(
            convolution(in_channels, mid_channels, kernel_size=3, padding=1, bias=False),
            _norm(mid_channels, ndim, norm),
            nn.ReLU(inplace=True),
            convolution(mid_channels, out_channels, kernel_size=3, padding=1, bias=False),
            _norm(out_channels, ndim, norm),
            nn.ReLU(inplace=True),
        )

    @override
    def forward(self, u: Float[Tensor, "b c_in *space"]) -> Float[Tensor, "b c_out *space"]:
        """Apply both convolutions."""
        result: Tensor = self.double_conv(u)
        return result


@final
class Down(nn.Module):
    """Halve the grid by max-pooling, then convolve."""

    def __init__(self, in_channels: int, out_channels: int, ndim: int, norm: str) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(
            _POOLS[ndim](2), DoubleConv(in_channels, out_channels, out_channels, ndim, norm)
        )

    @override
    def forward(self, u: Float[Tensor, "b c_in *space"]) -> Float[Tensor, "b c_out *half"]:
        """Pool and convolve."""
        result: Tensor = self.maxpool_conv(u)
        return result


@final
class Up(nn.Module):
    """Double the grid by multilinear interpolation, append to the skip, convolve."""

    def __init__(self, in_channels: int, out_channels: int, ndim: int, norm: str) -> None:
        super().__init__()
        self.mode = _INTERPOLATION[ndim]
        self.conv = DoubleConv(in_channels, out_channels, in_channels // 2, ndim, norm)

    @override
    def forward(
        self, u: Float[Tensor, "b c *half"], skip: Float[Tensor, "b c *space"]
    ) -> Float[Tensor, "b c_out *space"]:
        """Interpolate `u`, concatenate with the skip first, convolve."""
        u = nn.functional.interpolate(u, scale_factor=2.0, mode=self.mode, align_corners=True)
        result: Tensor = self.conv(torch.cat([skip, u], dim=1))
        return result


@final
class OutConv(nn.Module):
    """The pointwise convolution at the end."""

    def __init__(self, channels: int, ndim: int) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[ndim](channels, channels, kernel_size=1)

    @override
    def forward(self, u: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        """Mix the channels of each point; as a product, which is faster than a convolution."""
        weight, bias = self.conv.weight.flatten(1), self.conv.bias
        if bias is None:
            raise ValueError("OutConv: expected a convolution with bias, got none; add one")
        return pointwise_linear(u, weight, bias)
