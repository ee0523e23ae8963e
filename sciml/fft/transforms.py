"""Real Fourier transforms over named axes: one dtype policy, one rule for DC and Nyquist.

* float32 and float64 are transformed in their own precision.
* float16 and bfloat16 are transformed in float32 (half-precision FFTs overflow and exist only
  for powers of two on CUDA); `irfftn` gives back the dtype that the caller names.
* Integers, booleans and complex numbers are refused: converting them is the caller's decision.
* A half spectrum belongs to the real field that is the real part of its inverse: where the
  halved axis has frequency zero or Nyquist, what is not Hermitian along the others is dropped,
  on every device. So a filter may treat these bins like any others.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Complex, Float, Num
from torch import Tensor

Norm = Literal["backward", "ortho", "forward"]

_COMPUTE_DTYPE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def rfftn(
    u: Num[Tensor, "*shape"], axes: Sequence[int], *, norm: Norm = "backward"
) -> Complex[Tensor, "*spectrum"]:
    """Fourier transform of a real field; the last of `axes` holds the half spectrum.

    Args:
        u: Real field.
        axes: Axes to transform; the last one keeps bins 0 … n//2.
        norm: ``"backward"`` (no factor here, 1/n in the inverse), ``"ortho"`` or ``"forward"``
            (1/n here, so that bins are the amplitudes of the Fourier series).

    Returns:
        The half spectrum: complex64 for float32 and half precision, complex128 for float64.

    Raises:
        TypeError: If `u` is not real floating point.
        ValueError: If an axis is missing, given twice or empty, or the norm is unknown.
    """
    compute = compute_dtype("rfftn", u)
    check_axes("rfftn", u, axes)
    _check_norm("rfftn", norm)
    lengths = [u.shape[axis] for axis in axes]
    if min(lengths) < 1:
        raise ValueError(
            f"rfftn: expected at least 1 point on axes {tuple(axes)}, got shape "
            f"{tuple(u.shape)}; give every axis a point"
        )
    if u.numel() == 0:
        # An empty batch, which MKL refuses.
        half = u.to(compute).narrow(axes[-1], 0, lengths[-1] // 2 + 1)
        return torch.complex(half, half)
    spectrum: Tensor = torch.fft.rfftn(u.to(compute), dim=tuple(axes), norm=norm)
    return spectrum


def irfftn(
    spectrum: Num[Tensor, "*spectrum"],
    axes: Sequence[int],
    lengths: Sequence[int],
    *,
    norm: Norm = "backward",
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "*shape"]:
    """Inverse of `rfftn`.

    Args:
        spectrum: Half spectrum, as `rfftn` returns it.
        axes: Axes to transform, in the order given to `rfftn`.
        lengths: Points per axis of the field. Required, because bins 0 … m of the last axis
            belong to a field of 2m or of 2m + 1 points.
        norm: As in `rfftn`.
        dtype: Floating dtype of the result; that of the spectrum's real part by default.

    Raises:
        TypeError: If `spectrum` is not complex64 or complex128, or `dtype` not floating.
        ValueError: If an axis is missing or given twice, a length does not fit its spectrum or
            is not positive, or the norm is unknown.
    """
    if spectrum.dtype not in (torch.complex64, torch.complex128):
        raise TypeError(
            f"irfftn: expected a complex spectrum of single or double precision, got "
            f"{spectrum.dtype}; take it from rfftn"
        )
    if dtype is not None and not dtype.is_floating_point:
        raise TypeError(
            f"irfftn: expected a floating dtype for the field, got {dtype}; name that of the "
            "field that was transformed"
        )
    check_axes("irfftn", spectrum, axes)
    _check_norm("irfftn", norm)
    bins = [spectrum.shape[axis] for axis in axes]
    expected = [*lengths[:-1], lengths[-1] // 2 + 1] if lengths else []
    if bins != expected or min(lengths) < 1:
        raise ValueError(
            f"irfftn: expected {expected} bins on axes {tuple(axes)} for lengths "
            f"{tuple(lengths)}, got {bins}; pass the lengths of the field, not of the spectrum"
        )
    *rows, last = axes
    if spectrum.numel() == 0:
        # An empty batch, which MKL refuses.
        first = torch.zeros(lengths[-1], dtype=torch.int64, device=spectrum.device)
        u: Tensor = spectrum.real.index_select(last, first)
        return u if dtype is None else u.to(dtype)
    if rows:
        # `torch.fft.irfftn` does the same in two steps, the second one in strided memory.
        spectrum = torch.fft.ifftn(spectrum, dim=rows, norm=norm).contiguous()
    if spectrum.device.type != "cpu":
        # The CPU's libraries never read what this drops; cuFFT does.
        spectrum = drop_imaginary_edges(spectrum, last, lengths[-1])
    u = torch.fft.irfft(spectrum, lengths[-1], last, norm)
    return u if dtype is None else u.to(dtype)


def drop_imaginary_edges(spectrum: Tensor, axis: int, length: int) -> Tensor:
    """Copy of a half spectrum whose bins at zero and Nyquist frequency are real.

    Args:
        spectrum: Complex, transformed back along all axes but `axis`.
        axis: The halved axis.
        length: Points of the field along it; only even ones have a Nyquist bin.
    """
    spectrum = spectrum.clone()
    imaginary = torch.view_as_real(spectrum).movedim(-1, 0)[1].movedim(axis, 0)
    imaginary[0].zero_()
    if length % 2 == 0:
        imaginary[length // 2].zero_()
    return spectrum


def _check_norm(function: str, norm: str) -> None:
    if norm not in get_args(Norm):
        raise ValueError(
            f"{function}: expected norm to be one of {get_args(Norm)}, got {norm!r}; pass one "
            "of these"
        )


def compute_dtype(function: str, u: Tensor) -> torch.dtype:
    """Dtype that a real field is transformed in; refuses others in the caller's name."""
    if not u.is_floating_point():
        raise TypeError(
            f"{function}: expected a real floating-point field, got {u.dtype}; convert it with "
            ".to()"
        )
    return _COMPUTE_DTYPE.get(u.dtype, u.dtype)


def check_axes(function: str, u: Tensor, axes: Sequence[int]) -> None:
    """Refuse missing, repeated or no axes in the caller's name."""
    ndim = u.ndim
    distinct = {axis % ndim for axis in axes if -ndim <= axis < ndim}
    if not axes or len(distinct) != len(axes):
        raise ValueError(
            f"{function}: expected distinct axes of an array of shape {tuple(u.shape)}, got "
            f"{tuple(axes)}; name each axis once"
        )
