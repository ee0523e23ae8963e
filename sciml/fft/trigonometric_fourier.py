"""Cosine and sine transforms of real fields by real FFTs.

Types II and III need no more than the n points of an axis themselves (J. Makhoul, "A fast
cosine transform in one and two dimensions", IEEE Trans. ASSP 28, 1980): with
v = (x_0, x_2, …, x_3, x_1), V its Fourier transform and w_k = exp(-iπk/2n), type II is
y_k = w_k V_k + w̄_k V_(n-k), which is twice the real part of w_k V_k where x is real. In the
first form it is linear over complex numbers, so that one real FFT over several axes serves: the
last axis is read off real and imaginary parts, on the others the bins k and n-k are combined.
Type III is the transpose of that, its steps in reverse. Sines are cosines of alternating signs
in reversed order.

Type I is the Fourier transform of the even or odd extension of a line, axis by axis.

An FFT is fast on lines that are contiguous in memory, so the first copy that an algorithm needs
anyway makes them so, and the result is left as it comes: its memory order may differ from the
input's, as after `torch.fft`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sciml.fft.trigonometric_tables import (
    RowTables,
    Transform,
    line_tables,
    plane_tables,
    row_tables,
)

# Longest axes of types II and III that are transformed together. Beyond it the passes over
# memory count, which are fewer where lines are transformed axis by axis.
_LONGEST_TOGETHER = 256
# Most bins of a plane whose factors are kept multiplied out, 256 kB in double precision. On
# larger planes the pass that this saves no longer matters.
_LARGEST_PLANE = 2**14


def fourier_form(u: Tensor, axes: Sequence[int], transform: Transform) -> Tensor:
    """Transform axes, counted from the front, of a float32 or float64 field by FFT."""
    if transform.kind == 1 or max([u.shape[axis] for axis in axes]) > _LONGEST_TOGETHER:
        for axis in axes:
            u = _in_memory_order(u, [axis], transform)
        return u
    return _in_memory_order(u, axes, transform)


def _in_memory_order(u: Tensor, axes: Sequence[int], transform: Transform) -> Tensor:
    """Transform with axes as they lie in memory, so that rows are copied where there are rows.

    The innermost of the transformed axes holds the lines and comes last.
    """
    form = {1: _extended, 2: _reordered, 3: _reordered_back}[transform.kind]
    rows = sorted(axes)
    line = rows.pop()
    if line == u.ndim - 1 and u.is_contiguous():
        return form(u, rows, line, transform)
    memory = sorted(range(u.ndim), key=u.stride, reverse=True)
    *rows, line = sorted(memory.index(axis) for axis in axes)
    lines = form(u.permute(memory), rows, line, transform)
    memory.append(memory.pop(line))
    return lines.permute(sorted(range(u.ndim), key=memory.__getitem__))


def _extended(u: Tensor, rows: list[int], line: int, transform: Transform) -> Tensor:
    """Type I: real (cosine) or imaginary part (sine) of twice the line with zeros behind it.

    That is the transform of the even or odd extension without building it; there are no rows.
    """
    size, norm = u.shape[line], transform.norm
    lead = 1 if transform.family == "sine" else 0
    behind = transform.period(size) - size - lead
    lines = functional.pad(u.movedim(line, -1), (lead, behind))
    if transform.family == "sine":
        spectrum: Tensor = torch.fft.rfft(lines, norm=norm)
        return spectrum.imag[..., 1 : size + 1] * -2.0
    # Both ends, which the extension holds once.
    lines[..., : size : size - 1].mul_(math.sqrt(0.5) if norm == "ortho" else 0.5)
    spectrum = torch.fft.rfft(lines, norm=norm).real * 2.0
    if norm == "ortho":
        spectrum[..., :: size - 1].mul_(math.sqrt(0.5))
    return spectrum


def _reordered(u: Tensor, rows: list[int], line: int, transform: Transform) -> Tensor:
    """Type II: even points forwards, odd points backwards, one real FFT, factors.

    The phases of the lines carry an i: the imaginary part is then y_k, the real part y_(n-k).
    """
    shape, dtype, device = u.shape, u.dtype, u.device
    tables = line_tables(transform, shape[line], dtype, device)
    for axis in rows:
        u = u.index_select(axis, row_tables(transform, shape[axis], dtype, device).order)
    v = _pick(u, line, tables.before)
    axes = (*rows, v.ndim - 1)
    if transform.family == "sine":
        _alternate(v, axes)
    spectrum = _weighted(torch.fft.rfftn(v, dim=axes), rows, shape[line], transform, dtype)
    parts = torch.view_as_real(spectrum).flatten(-2)
    return _pick(parts, parts.ndim - 1, tables.after)


def _reordered_back(u: Tensor, rows: list[int], line: int, transform: Transform) -> Tensor:
    """Type III: the transpose of type II up to the weights, its steps in reverse.

    The phases of the lines carry a -i, so the imaginary part takes y_k and the real part
    y_(n-k), y_n = 0.
    """
    shape, dtype, device = u.shape, u.dtype, u.device
    tables = line_tables(transform, shape[line], dtype, device)
    parts = _pick(u, line, tables.before)
    parts.select(-1, 0).zero_()
    spectrum = torch.view_as_complex(parts.view(*parts.shape[:-1], -1, 2))
    spectrum = _weighted(spectrum, rows, shape[line], transform, dtype)
    if rows:
        # The copy costs less than strided access, which `irfftn` would fall into.
        spectrum = torch.fft.ifftn(spectrum, dim=rows, norm="forward").contiguous()
    v: Tensor = torch.fft.irfft(spectrum, shape[line], norm="forward")
    if transform.family == "sine":
        _alternate(v, [*rows, v.ndim - 1])
    for axis in rows:
        v = v.index_select(axis, row_tables(transform, shape[axis], dtype, device).order)
    return _pick(v, v.ndim - 1, tables.after)


def _weighted(
    spectrum: Tensor, rows: list[int], size: int, transform: Transform, dtype: torch.dtype
) -> Tensor:
    """Phases of the lines, and the combinations of two bins along the rows; may overwrite."""
    device = spectrum.device
    if rows == [spectrum.ndim - 2] and spectrum.shape[-2:].numel() <= _LARGEST_PLANE:
        return _paired(
            spectrum,
            rows[0],
            transform,
            plane_tables(transform, spectrum.shape[-2], size, dtype, device),
        )
    # In place where it may be: fresh memory costs as much as the arithmetic.
    spectrum = spectrum.mul_(line_tables(transform, size, dtype, device).phases)
    for axis in rows:
        tables = row_tables(transform, spectrum.shape[axis], dtype, device)
        trailing = [1] * (spectrum.ndim - 1 - axis)
        own, other = tables.own.view(-1, *trailing), tables.other.view(-1, *trailing)
        tables = tables._replace(own=own, other=other)
        spectrum = _paired(spectrum, axis, transform, tables)
    return spectrum


def _paired(spectrum: Tensor, axis: int, transform: Transform, tables: RowTables) -> Tensor:
    """Every bin of an axis and its partner, each times its factor."""
    own = spectrum.flip(axis) if transform.family == "sine" else spectrum
    partner = spectrum.index_select(axis, tables.partner).mul_(tables.other)
    return torch.addcmul(partner, own, tables.own)


def _alternate(v: Tensor, axes: Sequence[int]) -> None:
    """Sines: odd points, which stand behind the even ones, change their sign in place."""
    for axis in axes:
        size = v.shape[axis]
        v.narrow(axis, size - size // 2, size // 2).neg_()


def _pick(u: Tensor, axis: int, order: Tensor) -> Tensor:
    """The points of an axis in another order, as contiguous lines along the last axis."""
    if axis == u.ndim - 1:
        if u.dtype == torch.float32:
            return u.index_select(-1, order)
        # Several times faster than `index_select` in other precisions.
        return u.gather(-1, order.expand(*u.shape[:-1], -1))
    return u.index_select(axis, order).movedim(axis, -1).contiguous()
