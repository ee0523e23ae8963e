"""Cosine and sine transforms along one axis by one real FFT of each line.

An FFT is fast on lines that are contiguous in memory, so the first copy that an algorithm needs
anyway makes them so, and the result is left as it comes: its memory order may differ from the
input's, as after `torch.fft`.
"""

import math

import torch
from torch import Tensor

from sciml.fft.trigonometric_tables import (
    Transform,
    order_after,
    order_before,
    phases,
)


def fourier_form(u: Tensor, axis: int, transform: Transform) -> Tensor:
    """Transform one axis, counted from the front, of a float32 or float64 field by FFT."""
    # Axes as they lie in memory, so that whole rows are copied where there are rows.
    memory = sorted(range(u.ndim), key=u.stride, reverse=True)
    position = memory.index(axis)
    form = {1: _extended, 2: _reordered, 3: _reordered_back}[transform.kind]
    lines = form(u.permute(memory), position, transform)
    memory.append(memory.pop(position))
    return lines.permute(sorted(range(u.ndim), key=memory.__getitem__))


def _extended(u: Tensor, axis: int, transform: Transform) -> Tensor:
    """Type I: the even (cosine) or odd (sine) periodic extension."""
    size, norm = u.shape[axis], transform.norm
    lines = _pick(u, axis, order_before(transform, size, u.device))
    if transform.family == "sine":
        lines[..., :: size + 1].zero_()
        lines[..., size + 2 :].neg_()
        spectrum: Tensor = torch.fft.rfft(lines, norm=norm)
        return -spectrum.imag[..., 1 : size + 1]
    if norm == "ortho":
        # Both ends, which the extension holds once.
        lines[..., : size : size - 1].mul_(math.sqrt(2))
    spectrum = torch.fft.rfft(lines, norm=norm).real.contiguous()
    if norm == "ortho":
        spectrum[..., :: size - 1].mul_(math.sqrt(0.5))
    return spectrum


def _reordered(u: Tensor, axis: int, transform: Transform) -> Tensor:
    """Type II: even points forwards, odd points backwards, one real FFT, one phase.

    The phases carry an i: the imaginary part is then y_k, the real part y_(n-k).
    """
    size = u.shape[axis]
    lines = _pick(u, axis, order_before(transform, size, u.device))
    if transform.family == "sine":
        lines[..., size - size // 2 :].neg_()
    # In place where it may be: fresh memory costs as much as the arithmetic.
    spectrum = torch.fft.rfft(lines).mul_(phases(transform, size, u.dtype, u.device))
    parts = torch.view_as_real(spectrum).flatten(-2)
    return _pick(parts, parts.ndim - 1, order_after(transform, size, u.device))


def _reordered_back(u: Tensor, axis: int, transform: Transform) -> Tensor:
    """Type III: the transpose of type II up to the weights, its steps in reverse.

    The phases carry a -i, so the imaginary part takes y_k and the real part y_(n-k), y_n = 0.
    """
    size = u.shape[axis]
    parts = _pick(u, axis, order_before(transform, size, u.device))
    parts[..., 0].zero_()
    spectrum = torch.view_as_complex(parts.view(*parts.shape[:-1], -1, 2))
    spectrum.mul_(phases(transform, size, u.dtype, u.device))
    lines = torch.fft.irfft(spectrum, size, norm="forward")
    if transform.family == "sine":
        lines[..., size - size // 2 :].neg_()
    return _pick(lines, lines.ndim - 1, order_after(transform, size, u.device))


def _pick(u: Tensor, axis: int, order: Tensor) -> Tensor:
    """The points of an axis in another order, as contiguous lines along the last axis."""
    if axis == u.ndim - 1:
        # Several times faster than `index_select` on this axis.
        return u.gather(-1, order.expand(*u.shape[:-1], -1))
    return u.index_select(axis, order).movedim(axis, -1).contiguous()
