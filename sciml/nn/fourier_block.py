"""Residual block of Fourier mixing and pointwise maps, shared by the models built on it."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from sciml.nn.spectral_conv import SpectralConv


@final
class FourierBlock(nn.Module):
    """``v + W_2 gelu(K v + W_1 v)`` with Fourier mixing K and pointwise W_1, W_2.

    The constant per channel is that of K, where it costs nothing.

    Args:
        channels: Width.
        num_modes: Modes of K on each axis, see `SpectralConv`.
        separable: Whether K has one factor per channel and mode instead of a matrix.

    Source: Tran et al., Factorized Fourier Neural Operators (ICLR 2023, arXiv 2111.13802),
    eq. 8, with the pointwise map inside of Li et al. (ICLR 2021, arXiv 2010.08895), eq. 2.
    """

    def __init__(
        self, channels: int, num_modes: Sequence[int], *, separable: bool = False
    ) -> None:
        super().__init__()
        self.mixing = SpectralConv(channels, channels, num_modes, separable=separable)
        self.local = nn.Linear(channels, channels, bias=False)
        self.output = nn.Linear(channels, channels, bias=False)

    @override
    def forward(self, v: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        """Mix over space and channels, then over channels."""
        flat = v.flatten(2)
        # The accumulating product adds the other branch in the same pass.
        shape = (v.shape[0], *self.local.weight.shape)
        mixed = self.mixing(v).view_as(flat)
        hidden = torch.baddbmm(mixed, self.local.weight.expand(shape), flat)
        hidden = functional.gelu(hidden)
        return torch.baddbmm(flat, self.output.weight.expand(shape), hidden).view_as(v)
