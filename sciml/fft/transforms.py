"""Real Fourier transforms over named axes, with one dtype policy for the whole package.

* float32 and float64 are transformed in their own precision.
* float16 and bfloat16 are transformed in float32 (half-precision FFTs overflow and exist only
  for powers of two on CUDA); `irfftn` gives back the dtype that the caller names.
* Integers, booleans and complex numbers are refused: converting them is the caller's decision.
"""

from collections.abc import Sequence
from typing import Literal

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
        ValueError: If an axis is missing or given twice.
    """
    compute = compute_dtype("rfftn", u)
    check_axes("rfftn", u, axes)
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
        TypeError: If `spectrum` is not complex.
        ValueError: If an axis is missing or given twice, or a length does not fit its spectrum.
    """
    if not spectrum.is_complex():
        raise TypeError(
            f"irfftn: expected a complex spectrum, got {spectrum.dtype}; take it from rfftn"
        )
    check_axes("irfftn", spectrum, axes)
    bins = [spectrum.shape[axis] for axis in axes]
    expected = [*lengths[:-1], lengths[-1] // 2 + 1] if lengths else []
    if bins != expected:
        raise ValueError(
            f"irfftn: expected {expected} bins on axes {tuple(axes)} for lengths "
            f"{tuple(lengths)}, got {bins}; pass the lengths of the field, not of the spectrum"
        )
    u: Tensor = torch.fft.irfftn(spectrum, s=tuple(lengths), dim=tuple(axes), norm=norm)
    return u if dtype is None else u.to(dtype)


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
    inside = all(-u.ndim <= axis < u.ndim for axis in axes)
    if not axes or not inside or len({axis % u.ndim for axis in axes}) != len(axes):
        raise ValueError(
            f"{function}: expected distinct axes of an array of shape {tuple(u.shape)}, got "
            f"{tuple(axes)}; name each axis once"
        )
