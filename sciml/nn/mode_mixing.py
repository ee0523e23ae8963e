"""Products per Fourier mode on frequency-major spectra, in real arithmetic.

Spectra have the shape (modes, 2, batch, channels), weights (modes, 2, ...): the products of one
mode read contiguous memory, and real and imaginary part of the batch go through one product.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.fft.truncated_matrix import plain_operations_needed


def mix_channels(
    spectrum: Float[Tensor, "modes 2 b c_in"],
    weight: Float[Tensor, "modes 2 c_in c_out"],
    bias: Float[Tensor, " c_out"] | None = None,
    zero_mode: int = 0,
) -> Float[Tensor, "modes 2 b c_out"]:
    """``y_f = x_f W_f``; the bias joins the zero mode."""
    if plain_operations_needed():
        y = _mix(spectrum, weight)
        return y if bias is None else add_constant(y, bias, zero_mode)
    result: Tensor = _ChannelMixing.apply(spectrum, weight, bias, zero_mode)  # type: ignore[no-untyped-call]  # torch
    return result


def scale_channels(
    spectrum: Float[Tensor, "modes 2 b c"], weight: Float[Tensor, "modes 2 c"]
) -> Float[Tensor, "modes 2 b c"]:
    """``y_f = w_f x_f`` channel by channel."""
    real, imag = (part.unsqueeze(1) for part in weight.unbind(1))
    x_real, x_imag = spectrum.unbind(1)
    return torch.stack([x_real * real - x_imag * imag, x_imag * real + x_real * imag], 1)


def multiply_channels(
    spectrum: Float[Tensor, "modes 2 b c_in"], matrix: Float[Tensor, "2 c_in c_out"]
) -> Float[Tensor, "modes 2 b c_out"]:
    """``y_f = x_f A`` with the same complex matrix A for every mode."""
    y = torch.matmul(_beside_its_turn(spectrum), matrix.flatten(0, 1))
    return y.view(*spectrum.shape[:3], matrix.shape[-1])


def add_constant(
    spectrum: Float[Tensor, "modes 2 b c"], constant: Float[Tensor, " c"], zero_mode: int
) -> Float[Tensor, "modes 2 b c"]:
    """Add a constant field per channel, which is the real part of the zero mode."""
    place = spectrum.new_zeros(spectrum.shape[0], 2, 1, 1)
    place[zero_mode, 0] = 1.0
    return spectrum + place * constant


def _mix(x: Tensor, weight: Tensor) -> Tensor:
    """Complex product as one real product per mode, weights below each other."""
    y = torch.bmm(_beside_its_turn(x), weight.flatten(1, 2))
    return y.view(*x.shape[:3], weight.shape[-1])


def _mix_adjoint(g: Tensor, weight: Tensor) -> Tensor:
    """Gradient of `_mix` in its spectrum: the product with the conjugate transpose."""
    both = torch.bmm(g.flatten(1, 2), weight.flatten(1, 2).mT)
    straight, turned = both.view(*g.shape[:3], 2, weight.shape[-2]).unbind(3)
    return torch.cat([turned[:, 1:], -turned[:, :1]], 1).add_(straight)


def _mix_weight_gradient(x: Tensor, g: Tensor) -> Tensor:
    """Gradient of `_mix` in its weight, in the layout of the weight without copying it."""
    gradient = torch.bmm(_beside_its_turn(x).mT, g.flatten(1, 2))
    return gradient.view(len(x), 2, -1, g.shape[-1])


def _beside_its_turn(x: Tensor) -> Tensor:
    """Rows (modes, 2 batch, 2 channels) of ``x`` and, beside it, of ``i x``."""
    turned = torch.cat([-x[:, 1:], x[:, :1]], 1)
    return torch.stack([x, turned], 3).view(len(x), -1, 2 * x.shape[-1])


class _ChannelMixing(torch.autograd.Function):
    """`mix_channels` with a gradient that keeps spectrum and weight only."""

    @staticmethod
    @override
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, zero_mode: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)
        ctx.zero_mode = zero_mode
        y = _mix(x, weight)
        if bias is not None:
            y[zero_mode, 0].add_(bias)
        return y

    @staticmethod
    @override
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        return (
            _mix_adjoint(g, weight) if needs_x else None,
            _mix_weight_gradient(x, g) if needs_weight else None,
            g[ctx.zero_mode, 0].sum(0) if needs_bias else None,
            None,
        )

    @staticmethod
    @override
    def jvp(
        ctx: Any, dx: Tensor | None, dweight: Tensor | None, dbias: Tensor | None, _: None
    ) -> Tensor:
        x, weight = ctx.saved_tensors
        y = _mix(torch.zeros_like(x) if dx is None else dx, weight)
        if dweight is not None:
            y = y + _mix(x, dweight)
        return y if dbias is None else add_constant(y, dbias, ctx.zero_mode)
