"""Truncated Fourier transforms of real fields by FFT, axis by axis.

Same spectra and weightings as `sciml.fft.truncated_matrix`; each axis is truncated before the
next one is transformed.
"""

import math

import torch
from torch import Tensor

from sciml.fft.truncated_basis import Weighting, half_axis_weights

_COMPUTE_DTYPE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def fft_analyse(u: Tensor, kept: tuple[int, ...], weighting: Weighting) -> Tensor:
    """Spectrum (*modes, 2, batch) of fields (batch, *space); half precision uses float32."""
    space = tuple(u.shape[1:])
    spectrum = torch.fft.rfft(u.to(_COMPUTE_DTYPE.get(u.dtype, u.dtype)))[..., : kept[-1]]
    if weighting == "sum":
        # made on the device: copying them there would wait for it
        weights = half_axis_weights(kept[-1], space[-1], spectrum.device)
        spectrum = spectrum * weights.to(spectrum.real.dtype)
    for axis in reversed(range(1, len(space))):
        spectrum = torch.fft.fft(spectrum, dim=axis)
        spectrum = _take(spectrum, axis, kept[axis - 1])
    parts = torch.view_as_real(spectrum).movedim(0, -1)
    if weighting == "mean":
        parts = parts / math.prod(space)
    return parts.to(u.dtype).contiguous()


def fft_synthesise(spectrum: Tensor, space: tuple[int, ...], weighting: Weighting) -> Tensor:
    """Fields (batch, *space): the transpose of `fft_analyse` with the same weighting."""
    dtype = spectrum.dtype
    *kept, _, _ = spectrum.shape
    spectrum = spectrum.to(_COMPUTE_DTYPE.get(dtype, dtype)).movedim(-1, 0)
    z = torch.view_as_complex(spectrum.contiguous())
    if weighting == "mean":
        weights = half_axis_weights(kept[-1], space[-1], z.device) * math.prod(space)
        z = z / weights.to(z.real.dtype)
    for axis in range(1, len(space)):
        z = torch.fft.ifft(_place(z, axis, space[axis - 1]), dim=axis, norm="forward")
    u: Tensor = torch.fft.irfft(z, n=space[-1], norm="forward")
    return u.to(dtype)


def _take(spectrum: Tensor, axis: int, k: int) -> Tensor:
    """Frequencies -⌊k/2⌋ … ⌈k/2⌉-1 in ascending order from a spectrum in FFT order."""
    n = spectrum.shape[axis]
    negative = spectrum.narrow(axis, n - k // 2, k // 2)
    return torch.cat([negative, spectrum.narrow(axis, 0, k - k // 2)], axis)


def _place(spectrum: Tensor, axis: int, n: int) -> Tensor:
    """Spectrum in FFT order on n points, zero elsewhere: transpose of `_take`."""
    k = spectrum.shape[axis]
    shape = list(spectrum.shape)
    shape[axis] = n - k
    return torch.cat(
        [
            spectrum.narrow(axis, k // 2, k - k // 2),
            spectrum.new_zeros(shape),
            spectrum.narrow(axis, 0, k // 2),
        ],
        axis,
    )
