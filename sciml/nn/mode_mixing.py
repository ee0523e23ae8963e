"""Products per Fourier mode on frequency-major spectra, in real arithmetic.

Spectra have the shape (modes, 2, batch, channels), weights (2, modes, ...): the products of one
mode read contiguous memory, and real and imaginary part of the batch go through one product.
"""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from sciml.fft.truncated import plain_operations_needed


def mix_channels(
    spectrum: Tensor, weight: Tensor, bias: Tensor | None, zero_mode: int
) -> Tensor:
    """``y_f = x_f W_f`` with W of shape (2, modes, in, out); the bias joins the zero mode."""
    if plain_operations_needed():
        return _biased(_mix(spectrum, weight), bias, zero_mode)
    result: Tensor = _ChannelMixing.apply(spectrum, weight, bias, zero_mode)  # type: ignore[no-untyped-call]  # torch
    return result


def scale_channels(
    spectrum: Tensor, weight: Tensor, bias: Tensor | None, zero_mode: int
) -> Tensor:
    """``y_f = w_f x_f`` channel by channel with w of shape (2, modes, channels)."""
    real, imag = (part.unsqueeze(1) for part in weight.unbind(0))
    x_real, x_imag = spectrum.unbind(1)
    y = torch.stack([x_real * real - x_imag * imag, x_imag * real + x_real * imag], 1)
    return _biased(y, bias, zero_mode)


def _mix(x: Tensor, weight: Tensor) -> Tensor:
    """Complex product with weights W_0 + i W_1 as two real ones of doubled batch."""
    rows = x.flatten(1, 2)
    shape = (*x.shape[:3], weight.shape[-1])
    y = torch.bmm(rows, weight[0]).view(shape)
    quarter_turn = torch.bmm(rows, weight[1]).view(shape)
    y[:, 0].sub_(quarter_turn[:, 1])
    y[:, 1].add_(quarter_turn[:, 0])
    return y


def _mix_adjoint(g: Tensor, weight: Tensor) -> Tensor:
    """Gradient of `_mix` in its spectrum: the product with the conjugate transpose."""
    rows, transposed = g.flatten(1, 2), weight.mT
    shape = (*g.shape[:3], weight.shape[-2])
    x = torch.bmm(rows, transposed[0]).view(shape)
    quarter_turn = torch.bmm(rows, transposed[1]).view(shape)
    x[:, 0].add_(quarter_turn[:, 1])
    x[:, 1].sub_(quarter_turn[:, 0])
    return x


def _mix_weight_gradient(x: Tensor, g: Tensor) -> Tensor:
    """Gradient of `_mix` in its weight, in the layout of the weight without copying it."""
    rows = x.flatten(1, 2)
    turned = torch.stack([g[:, 1], -g[:, 0]], 1)
    both = torch.cat([g.flatten(1, 2), turned.flatten(1, 2)])
    gradient = torch.bmm(torch.cat([rows, rows]).mT, both)
    return gradient.view(2, -1, *gradient.shape[1:])


def _biased(y: Tensor, bias: Tensor | None, zero_mode: int) -> Tensor:
    """A constant field is the real part of the zero mode."""
    if bias is None:
        return y
    constant = y.new_zeros(y.shape[0], 2, 1, 1)
    constant[zero_mode, 0] = 1.0
    return y + constant * bias


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
        return _biased(y, dbias, ctx.zero_mode)
