"""Neural spectral block: patches to latent tokens, a series of the tokens, and back.

The functions work on a channels-last matrix of patches `(num_patches, points, channels)` and
never form keys, values or per-head slices of the points, which is what makes them fast; see
`encode`.

Source: Wu et al., Solving High-Dimensional PDEs with Latent Spectral Models (ICML 2023, arXiv
2301.12664), section 3.2.
"""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override

from sciml.models.lsm.series import trigonometric_series

CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
"""Convolution class for each number of spatial axes."""

CACHED_SCORES = 2**18
"""Attention scores made at a time on a CPU: 1 MB in float32, the size of a core's cache."""


def split_patches(
    u: Float[Tensor, "b c *space"], patch: Sequence[int]
) -> Float[Tensor, "num_patches points c"]:
    """Cut a field into non-overlapping boxes, patches and points in C order, channels last.

    Raises:
        ValueError: If a grid size is not a multiple of the patch size.
    """
    space = tuple(u.shape[2:])
    if len(space) != len(patch) or any(n % p for n, p in zip(space, patch, strict=True)):
        raise ValueError(
            f"split_patches: expected a grid whose sizes are multiples of the patch "
            f"{tuple(patch)}, "
            f"got {space}; choose another patch or pad the grid"
        )
    d, batch, channels = len(space), u.shape[0], u.shape[1]
    boxes = [size for n, p in zip(space, patch, strict=True) for size in (n // p, p)]
    counts, offsets = range(1, 2 * d + 1, 2), range(2, 2 * d + 2, 2)
    ordered = u.movedim(1, -1).reshape(batch, *boxes, channels)
    ordered = ordered.permute(0, *counts, *offsets, 2 * d + 1)
    return ordered.reshape(-1, math.prod(patch), channels)


def join_patches(
    rows: Float[Tensor, "num_patches points c"], patch: Sequence[int], space: Sequence[int]
) -> Float[Tensor, "b c *space"]:
    """Inverse of `split_patches` for a grid of `space` points; memory stays channels last."""
    d, channels = len(space), rows.shape[-1]
    counts = [n // p for n, p in zip(space, patch, strict=True)]
    boxes = rows.reshape(-1, *counts, *patch, channels)
    order = [axis for i in range(d) for axis in (1 + i, 1 + d + i)]
    field = boxes.permute(0, *order, 2 * d + 1).reshape(-1, *space, channels)
    return field.movedim(-1, 1)


def encode(
    rows: Float[Tensor, "num_patches points c"],
    latent: Float[Tensor, "heads tokens head_channels"],
    key_weight: Float[Tensor, "c c"],
    value_weight: Float[Tensor, "c c"],
    value_bias: Float[Tensor, " c"],
    scale: float = 1.0,
) -> Float[Tensor, "num_patches tokens c"]:
    """Attention from the latent tokens to the points of their patch, plus the tokens.

    `z = softmax_points(scale · latent Kᵀ) V + latent`, `K = X W_Kᵀ + b_K`, `V = X W_Vᵀ + b_V`.
    Keys are not formed: `latent Kᵀ = (latent W_K) Xᵀ` up to a constant over the points, which
    the softmax cancels (so the key bias does not appear). Neither are values: the weighted mean
    of the points is projected instead of the points, since the attention weights add up to one.

    Args:
        rows: Points of each patch.
        latent: Learned tokens, the queries.
        key_weight: W_K; output channel `h · head_channels + c`.
        value_weight: W_V, same order.
        value_bias: b_V.
        scale: Factor of the scores; 1 in the published block.

    Returns:
        Encoded tokens, heads merged into channels.
    """
    heads, num_tokens, head_channels = latent.shape
    num_patches, _, channels = rows.shape
    key_heads = key_weight.reshape(heads, head_channels, channels)
    queries = torch.bmm(latent * scale, key_heads).transpose(0, 1)
    queries = queries.reshape(num_tokens * heads, channels)
    means = softmax_product(torch.matmul(rows, queries.mT), rows, rows.shape[1])
    means = means.reshape(num_patches * num_tokens, heads, channels).transpose(0, 1)
    value_heads = value_weight.reshape(heads, head_channels, channels)
    values = torch.bmm(means, value_heads.mT)
    tokens = values.transpose(0, 1).reshape(num_patches, num_tokens, channels)
    return tokens + (value_bias + latent.transpose(0, 1).reshape(num_tokens, channels))


def decode(
    rows: Float[Tensor, "num_patches points c"],
    tokens: Float[Tensor, "num_patches tokens c"],
    query_weight: Float[Tensor, "c c"],
    query_bias: Float[Tensor, " c"],
    head_mask: Float[Tensor, "heads c"],
    scale: float = 1.0,
) -> Float[Tensor, "num_patches points c"]:
    """Attention from the points to the tokens of their patch.

    `softmax_tokens(scale · Q tokensᵀ) tokens` with the tokens as keys and as values. All heads
    are one product: the tokens are spread block-diagonally, `(tokens · heads, channels)`,
    because padded products are several times faster than one tiny product per head.

    Args:
        rows: Points of each patch.
        tokens: Tokens of each patch.
        query_weight: W_Q.
        query_bias: b_Q.
        head_mask: One where a channel belongs to a head.
        scale: Factor of the scores; 1 in the published block.

    Returns:
        The decoded field at the points.
    """
    num_patches, num_tokens, channels = tokens.shape
    heads = head_mask.shape[0]
    queries = nn.functional.linear(rows, query_weight * scale, query_bias * scale)
    spread = tokens.unsqueeze(2) * head_mask
    spread = spread.reshape(num_patches, num_tokens * heads, channels)
    return softmax_product(torch.bmm(spread, queries.mT), spread, num_tokens)


def softmax_product(
    scores: Float[Tensor, "n summed kept"], values: Float[Tensor, "n summed c"], size: int
) -> Float[Tensor, "n kept c"]:
    """`softmax(scores)ᵀ values`, the softmax over the slower part of the summed axis.

    The summed axis is split as `(size, rest)` and the softmax runs over `size`: an outer axis,
    which vectorises over the ones behind it.

    Args:
        scores: Unnormalised logarithms of the weights.
        values: What is averaged.
        size: Length of the part of the summed axis that the weights add up to one over.
    """
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(scores.device.type):
        weights = scores.view(scores.shape[0], size, -1).softmax(dim=1).view_as(scores)
        return torch.bmm(weights.mT, values)
    result: Tensor = _SoftmaxProduct.apply(scores, values, size)  # type: ignore[no-untyped-call]  # torch
    return result


class _SoftmaxProduct(torch.autograd.Function):
    """Keeps gradients in the memory order of their tensors; autograd would copy transposes."""

    @staticmethod
    @override
    def forward(ctx: Any, scores: Tensor, values: Tensor, size: int) -> Tensor:
        weights = scores.view(scores.shape[0], size, -1).softmax(dim=1)
        ctx.save_for_backward(weights, values)
        return torch.bmm(weights.view_as(scores).mT, values)

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, values = ctx.saved_tensors
        grad_weights = torch.bmm(values, gradient.mT)
        shape = grad_weights.shape
        grad_scores = torch.ops.aten._softmax_backward_data(
            grad_weights.view_as(weights), weights, 1, weights.dtype
        )
        return grad_scores.view(shape), torch.bmm(weights.view(shape), gradient), None


def head_mask(num_heads: int, channels: int) -> Float[Tensor, "heads c"]:
    """One where a channel belongs to a head, zero elsewhere."""
    return torch.eye(num_heads).repeat_interleave(channels // num_heads, dim=1)


@final
class NeuralSpectralBlock(nn.Module):
    """The published block, with the published parameters and their initialisation.

    `x + decode(x, f(encode(x)))`, `f(z) = z + Σ_m a_m sin(π m z / M) + b_m cos(π m z / M)`.

    Deviations from the paper, as in the published code: frequencies are fractions π m/M, the
    attention is not scaled, and the first sine coefficient has no effect.

    Args:
        channels: Width C, a multiple of `num_heads`.
        patch: Patch size on each axis.
        num_tokens: Latent tokens T per patch.
        num_bases: Terms M of the series.
        num_heads: Attention heads H.

    Raises:
        ValueError: If the width is not a multiple of the heads.
    """

    def __init__(
        self,
        channels: int,
        patch: Sequence[int],
        num_tokens: int = 4,
        num_bases: int = 12,
        num_heads: int = 8,
    ) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(
                f"NeuralSpectralBlock: expected a width that is a multiple of the {num_heads} "
                f"heads, "
                f"got {channels}; change the width or the number of heads"
            )
        self.patch = tuple(patch)
        self.num_bases = num_bases
        head_channels = channels // num_heads
        convolution = CONVOLUTIONS[len(self.patch)]
        # Names and order of creation are the published ones: they fix keys and initial values.
        self.weights = nn.Parameter(torch.rand(channels, 2 * num_bases) / channels)
        self.latent = nn.Parameter(torch.rand(num_heads, num_tokens, head_channels) / channels)
        self.encoder_attn = convolution(channels, 2 * channels, kernel_size=1)
        self.decoder_attn = convolution(channels, channels, kernel_size=1)
        self.register_buffer("head_mask", head_mask(num_heads, channels), persistent=False)
        self.head_mask: Tensor

    def encode(self, rows: Float[Tensor, "n points c"]) -> Float[Tensor, "n tokens c"]:
        """Tokens of each patch before the series."""
        # Key and value are interleaved over the output channels, not two halves.
        weight = self.encoder_attn.weight.flatten(1)
        bias = self.encoder_attn.bias
        if bias is None:
            raise ValueError("NeuralSpectralBlock: expected an encoder with bias, got none")
        return encode(rows, self.latent, weight[::2], weight[1::2], bias[1::2])

    def solve(self, tokens: Float[Tensor, "n tokens c"]) -> Float[Tensor, "n tokens c"]:
        """The spectral solver: tokens plus their trigonometric series."""
        sine = self.weights[:, 1 : self.num_bases]
        cosine = self.weights[:, self.num_bases :]
        return tokens + trigonometric_series(tokens, sine, cosine, math.pi / self.num_bases)

    @override
    def forward(self, u: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        """Apply the block to every patch."""
        rows = split_patches(u, self.patch)
        if u.device.type == "cpu" and not torch.compiler.is_compiling():
            heads, num_tokens, _ = self.latent.shape
            scores_per_patch = rows.shape[1] * heads * num_tokens
            pieces = torch.split(rows, max(1, CACHED_SCORES // scores_per_patch))
            result = torch.cat([self._apply_to_rows(piece) for piece in pieces])
        else:
            result = self._apply_to_rows(rows)
        return join_patches(result, self.patch, u.shape[2:])

    def _apply_to_rows(self, rows: Tensor) -> Tensor:
        tokens = self.solve(self.encode(rows))
        weight = self.decoder_attn.weight.flatten(1)
        bias = self.decoder_attn.bias
        if bias is None:
            raise ValueError("NeuralSpectralBlock: expected a decoder with bias, got none")
        return rows + decode(rows, tokens, weight, bias, self.head_mask)
