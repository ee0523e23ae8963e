"""Layers of the default mode: latent block, halving and doubling of grids."""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from sciml.models.lsm.block import decode, encode, head_mask, join_patches, split_patches
from sciml.models.lsm.series import trigonometric_series
from sciml.nn.mlp import Pointwise


@final
class LatentBlock(nn.Module):
    """`x + W_o decode(n, f(encode(n)))`, `n = norm(x)`: a block that starts as the identity.

    `f(z) = z + Σ_m a_m sin(π m z / 2) + b_m cos(π m z / 2)`.

    Deviations from the published block: normalised input, scores scaled by 1/√head_channels,
    orthonormal tokens (the published ones start almost equal), frequencies π m/2 (the published
    fractions π m/M are nearly dependent), no coefficient without effect, zero-initialised
    output.

    Args:
        channels: Width, a multiple of `num_heads`.
        ndim: Number of spatial axes.
        num_tokens: Latent tokens per patch.
        num_bases: Terms of the trigonometric series.
        patch: Points of a patch along each axis.
        num_heads: Attention heads.
    """

    def __init__(
        self,
        channels: int,
        ndim: int,
        num_tokens: int,
        num_bases: int,
        patch: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        head_channels = channels // num_heads
        self.patch = (patch,) * ndim
        self.scale = 1 / math.sqrt(head_channels)
        self.norm = nn.GroupNorm(1, channels)
        self.key = nn.Linear(
            channels, channels, bias=False
        )  # a key bias cancels in the softmax
        self.value = nn.Linear(channels, channels)
        self.query = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels, bias=False)
        nn.init.zeros_(self.output.weight)
        self.latent = nn.Parameter(torch.empty(num_heads, num_tokens, head_channels))
        for tokens in self.latent:
            nn.init.orthogonal_(tokens)
        deviation = 1 / math.sqrt(2 * num_bases - 1)
        self.sine = nn.Parameter(deviation * torch.randn(channels, num_bases - 1))
        self.cosine = nn.Parameter(deviation * torch.randn(channels, num_bases))
        self.register_buffer("head_mask", head_mask(num_heads, channels), persistent=False)
        self.head_mask: Tensor

    @override
    def forward(self, u: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        """Apply the block to every patch."""
        rows = split_patches(self.norm(u), self.patch)
        tokens = encode(
            rows, self.latent, self.key.weight, self.value.weight, self.value.bias, self.scale
        )
        tokens = tokens + trigonometric_series(tokens, self.sine, self.cosine, math.pi / 2)
        decoded = decode(
            rows, tokens, self.query.weight, self.query.bias, self.head_mask, self.scale
        )
        return u + join_patches(self.output(decoded), self.patch, u.shape[2:])


@final
class HalveGrid(nn.Module):
    """Convolution with two points per axis and stride two, as one pointwise product.

    A box of 2^d points becomes one point with 2^d times the channels; without overlap that is
    the whole convolution, and the product is several times faster than the library's
    convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, ndim: int) -> None:
        super().__init__()
        self.pointwise = Pointwise(in_channels * 2**ndim, out_channels)

    @override
    def forward(self, u: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c_out *half"]:
        """Gather the boxes, mix."""
        batch, channels, *space = u.shape
        d = len(space)
        boxes = u.reshape(batch, channels, *(size for n in space for size in (n // 2, 2)))
        order = (0, *range(3, 2 * d + 2, 2), 1, *range(2, 2 * d + 2, 2))
        gathered = boxes.permute(order).reshape(
            batch, channels * 2**d, *(n // 2 for n in space)
        )
        result: Tensor = self.pointwise(gathered)
        return result


@final
class DoubleGrid(nn.Module):
    """Transposed convolution with two points per axis and stride two; see `HalveGrid`."""

    def __init__(self, in_channels: int, out_channels: int, ndim: int) -> None:
        super().__init__()
        self.pointwise = Pointwise(in_channels, out_channels * 2**ndim)

    @override
    def forward(self, u: Float[Tensor, "b c *half"]) -> Float[Tensor, "b c_out *space"]:
        """Mix, spread over the boxes."""
        batch, _, *half = u.shape
        d = len(half)
        boxes = self.pointwise(u).view(batch, *(2,) * d, -1, *half)
        order = (0, 1 + d, *(axis for i in range(d) for axis in (2 + d + i, 1 + i)))
        result: Tensor = boxes.permute(order).reshape(batch, -1, *(2 * n for n in half))
        return result
