"""The published model written straight from its formulas: the oracle of the fast one.

Same parameters and keys as `sciml.models.lsm.block.NeuralSpectralBlock`. Keys and values are
formed for every point, heads are an axis, and the series is a product with a tensor of 2M basis
functions.
"""

import copy
import math

import torch
from torch import Tensor, nn

from sciml.models.lsm.block import CONVOLUTIONS, NeuralSpectralBlock
from sciml.models.lsm.reference import ReferenceLSM


class StraightforwardBlock(nn.Module):
    """The block of the paper, one tensor for every symbol."""

    def __init__(
        self,
        channels: int,
        patch: tuple[int, ...],
        num_tokens: int = 4,
        num_bases: int = 12,
        num_heads: int = 8,
    ) -> None:
        super().__init__()
        self.patch, self.num_bases, self.num_heads = tuple(patch), num_bases, num_heads
        convolution = CONVOLUTIONS[len(self.patch)]
        self.weights = nn.Parameter(torch.rand(channels, 2 * num_bases) / channels)
        self.latent = nn.Parameter(
            torch.rand(num_heads, num_tokens, channels // num_heads) / channels
        )
        self.encoder_attn = convolution(channels, 2 * channels, kernel_size=1)
        self.decoder_attn = convolution(channels, channels, kernel_size=1)

    @classmethod
    def of(cls, block: NeuralSpectralBlock) -> "StraightforwardBlock":
        """The straightforward form of a block, with copies of its parameters."""
        heads, num_tokens, _ = block.latent.shape
        plain = cls(block.weights.shape[0], block.patch, num_tokens, block.num_bases, heads)
        plain.to(block.weights)
        plain.load_state_dict(block.state_dict())
        return plain

    def encode(self, patches: Tensor) -> Tensor:
        """Tokens (patches, channels, tokens) of patches (patches, channels, *patch)."""
        n, channels = patches.shape[:2]
        heads, depth = self.num_heads, channels // self.num_heads
        encoded = self.encoder_attn(patches).view(n, channels, 2, -1)
        key, value = (
            encoded[:, :, i].reshape(n, heads, depth, -1).permute(0, 1, 3, 2).contiguous()
            for i in (0, 1)
        )
        query = self.latent[None].repeat(n, 1, 1, 1)
        attention = (query @ key.transpose(-2, -1)).softmax(-1)
        tokens = attention @ value + query
        return tokens.permute(0, 1, 3, 2).reshape(n, channels, -1)

    def basis(self, tokens: Tensor) -> Tensor:
        """Basis functions (patches, channels, tokens, 2M): sines, then cosines."""
        frequency = torch.arange(self.num_bases, device=tokens.device, dtype=tokens.dtype)
        phase = tokens[..., None] * (math.pi / self.num_bases * frequency)
        return torch.cat([phase.sin(), phase.cos()], dim=-1)

    def solve(self, tokens: Tensor) -> Tensor:
        """Tokens plus their series."""
        return tokens + torch.einsum("bilm,im->bil", self.basis(tokens), self.weights)

    def decode(self, patches: Tensor, tokens: Tensor) -> Tensor:
        """Patches plus attention from their points to the solved tokens."""
        n, channels = patches.shape[:2]
        heads, depth = self.num_heads, channels // self.num_heads
        query = self.decoder_attn(patches).view(n, heads, depth, -1).permute(0, 1, 3, 2)
        query = query.contiguous()
        solved = tokens.view(n, heads, depth, -1).permute(0, 1, 3, 2).contiguous()
        attention = (query @ solved.transpose(-2, -1)).softmax(-1)
        decoded = (attention @ solved).permute(0, 1, 3, 2).reshape(patches.shape)
        return decoded + patches

    def forward(self, u: Tensor) -> Tensor:
        """Split into patches, encode, solve, decode, join."""
        batch, channels, *space = u.shape
        d = len(space)
        counts = [n // p for n, p in zip(space, self.patch, strict=True)]
        boxes = [size for pair in zip(counts, self.patch, strict=True) for size in pair]
        inner, outer = range(3, 2 * d + 2, 2), range(2, 2 * d + 2, 2)
        patches = u.view(batch, channels, *boxes).permute(0, *outer, 1, *inner).contiguous()
        patches = patches.view(-1, channels, *self.patch)
        result = self.decode(patches, self.solve(self.encode(patches)))
        order = [axis for i in range(d) for axis in (1 + i, 2 + d + i)]
        joined = result.view(batch, *counts, channels, *self.patch).permute(0, 1 + d, *order)
        return joined.contiguous().view(u.shape)


class StraightforwardLSM(nn.Module):
    """The published model around given submodules: plain blocks, channels-last head."""

    def __init__(self, model: ReferenceLSM) -> None:
        super().__init__()
        for name, module in model.named_children():
            self.add_module(
                name, StraightforwardBlock.of(module) if "process" in name else module
            )

    def forward(self, u: Tensor) -> Tensor:
        """Channels first in and out, as the fast model."""
        space = u.shape[2:]
        lines = [torch.linspace(0, 1, n, dtype=u.dtype) for n in space]
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)
        x = torch.cat([u.movedim(1, -1), grid.expand(len(u), *grid.shape)], dim=-1)
        h = self.fc0(x).movedim(-1, 1)
        extra = [size for n in reversed(space) for size in (0, -n % 16)]
        levels = [self.inc(nn.functional.pad(h, extra))]
        for down in (self.down1, self.down2, self.down3, self.down4):
            levels.append(down(levels[-1]))
        h = self.process5(levels[4])
        h = self.up1(h, self.process4(levels[3]))
        h = self.up2(h, self.process3(levels[2]))
        h = self.up3(h, self.process2(levels[1]))
        h = self.outc(self.up4(h, self.process1(levels[0])))
        h = h[(..., *(slice(n) for n in space))].movedim(1, -1)
        return self.fc2(nn.functional.gelu(self.fc1(h))).movedim(-1, 1)


def straightforward_copy(model: ReferenceLSM) -> StraightforwardLSM:
    """The straightforward form of a model, with copies of its parameters."""
    return StraightforwardLSM(copy.deepcopy(model))
