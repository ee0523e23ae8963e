r"""Energy spectra and errors by wavenumber band, per sample.

A field on an even or odd, square or non-square periodic grid is expanded in Fourier modes with
angular wavenumbers :math:`k = 2\pi m / L`. On a bounded axis the spectrum is that of the
periodic continuation, jumps included.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.fft.transforms import rfftn
from sciml.fft.wavenumbers import wavenumber_grid
from sciml.metrics.spatial import check_pair

_EDGE_MARGIN = 1e-9
"""Relative amount by which edges are lowered: a mode on an edge belongs to the band above."""


class Spectrum(NamedTuple):
    """Energy by wavenumber shell.

    Args:
        wavenumbers: Centre of each shell, in radians per length.
        energy: Mean square of the field carried by each shell.
    """

    wavenumbers: Float[Tensor, " k"]
    energy: Float[Tensor, "*batch k"]


def radial_spectrum(u: Float[Tensor, "*batch_and_space"], extent: Sequence[float]) -> Spectrum:
    r"""Isotropic spectrum: energy summed over shells :math:`|k| \approx i\,\Delta k`.

    .. math:: E_i = \sum_{|k| / \Delta k \,\in\, [i - 1/2,\, i + 1/2)} |\hat u_k|^2,
        \qquad \sum_i E_i = \langle u^2 \rangle,

    where :math:`\Delta k` is the lowest wavenumber of the longest axis. All modes are counted,
    the corners of the spectral box included, so that Parseval's identity holds to rounding.

    Args:
        u: Field with any leading axes and one trailing axis per entry of `extent` (1 to 3).
        extent: Length of each space axis.

    Returns:
        Shell centres (radians per length) and the mean square in each shell.

    Raises:
        ValueError: If `u` has fewer axes than `extent`, or an extent is not positive.
    """
    _check_extent("radial_spectrum", u, extent)
    ndim = len(extent)
    energy = _mode_energy(u, ndim)
    k = _wavenumber_magnitude(u.shape[-ndim:], extent, u.device)
    width = 2 * math.pi / max(extent)
    shell = torch.round(k / width).long().flatten()
    num_shells = int(shell.max()) + 1
    spectrum = energy.new_zeros((*energy.shape[:-1], num_shells))
    spectrum = spectrum.index_add(-1, shell, energy)
    wavenumbers = width * torch.arange(num_shells, dtype=energy.dtype, device=u.device)
    return Spectrum(wavenumbers, spectrum)


def banded_spectral_error(
    pred: Float[Tensor, "b *axes"],
    target: Float[Tensor, "..."],
    bands: int | Sequence[float] = 3,
    *,
    extent: Sequence[float] | None = None,
) -> Float[Tensor, "b bands"]:
    r"""Relative error within bands of wavenumbers.

    .. math:: \epsilon_B = \Big(\sum_{|k| \in B} |\hat p_k - \hat y_k|^2 \Big/
        \sum_{|k| \in B} |\hat y_k|^2\Big)^{1/2}

    The bands share out all modes: the mean belongs to the lowest, the corners of the spectral
    box to the highest. A value of one means no skill in that band. There is no regularisation:
    a band that is empty in the target gives ``inf`` (NaN if also empty in the prediction).

    Args:
        pred: Prediction p, ``(b, ..., *space)``; axes between batch and space are summed over.
        target: Truth y, of the same shape.
        bands: Number of bands, split logarithmically between the lowest wavenumber and the
        lowest
            Nyquist wavenumber; or the inner edges, in increasing radians per length. Three by
            default: low, middle and high.
        extent: Length of each space axis; None takes ``(b, c, *space)`` on a unit box.

    Returns:
        One value per sample and band, lowest band first.

    Raises:
        ValueError: If the shapes differ, or the edges do not increase.

    Source: Takamoto et al., "PDEBench", 2022, arXiv:2210.07182, Appendix B (RMSE in Fourier
    space in low, middle and high ranges); the logarithmic bands follow Ohana et al., "The
    Well", 2024, arXiv:2412.00568.

    Deviations: errors are relative to the band's own energy, so that bands compare.
    """
    check_pair("banded_spectral_error", pred, target)
    if extent is None:
        extent = (1.0,) * (pred.ndim - 2)
    _check_extent("banded_spectral_error", pred, extent)
    space = pred.shape[pred.ndim - len(extent) :]
    edges = _band_edges(bands, space, extent)
    k = _wavenumber_magnitude(space, extent, pred.device).flatten()
    inner = torch.tensor(edges, dtype=k.dtype, device=k.device) * (1 - _EDGE_MARGIN)
    band = torch.bucketize(k, inner, right=True)

    def in_bands(u: Tensor) -> Tensor:
        energy = _mode_energy(u, len(extent)).reshape(u.shape[0], -1, k.numel()).sum(1)
        return energy.new_zeros(u.shape[0], len(edges) + 1).index_add(1, band, energy)

    return (in_bands(pred - target) / in_bands(target)).sqrt()


def _band_edges(
    bands: int | Sequence[float], space: Sequence[int], extent: Sequence[float]
) -> tuple[float, ...]:
    """Inner edges between bands, in radians per length."""
    if isinstance(bands, int):
        if bands < 1:
            raise ValueError(
                f"banded_spectral_error: expected at least one band, got {bands}; use bands=3"
            )
        lowest = 2 * math.pi / max(extent)
        nyquist = min(math.pi * n / length for n, length in zip(space, extent, strict=True))
        return tuple(lowest * (nyquist / lowest) ** (i / bands) for i in range(1, bands))
    edges = tuple(float(edge) for edge in bands)
    if any(not low < high for low, high in zip((0.0, *edges), edges, strict=False)):
        raise ValueError(
            f"banded_spectral_error: expected positive band edges in increasing order, got "
            f"{edges}; sort them"
        )
    return edges


def _mode_energy(u: Tensor, ndim: int) -> Tensor:
    """Energy of every mode of the half spectrum, flattened; sums to the mean square of `u`."""
    space = u.shape[-ndim:]
    modes = rfftn(u, tuple(range(-ndim, 0)), norm="forward")
    energy: Tensor = modes.real.square() + modes.imag.square()
    # Each mode of the half spectrum stands for itself and its conjugate, except those that are
    # their own conjugate: the first, and on an even axis the last.
    last = space[-1]
    weight = energy.new_full((last // 2 + 1,), 2.0)
    weight[0] = 1.0
    if last % 2 == 0:
        weight[-1] = 1.0
    return (energy * weight).flatten(-ndim)


def _wavenumber_magnitude(
    space: Sequence[int], extent: Sequence[float], device: torch.device
) -> Tensor:
    """|k| on the half spectrum, in radians per length, in float64."""
    squares = torch.zeros((), dtype=torch.float64, device=device)
    for k in wavenumber_grid(space, extent, device=device):
        squares = squares + k.square()
    return squares.sqrt()


def _check_extent(function: str, u: Tensor, extent: Sequence[float]) -> None:
    """Compare the number of space axes with the field's shape."""
    if not 0 < len(extent) <= u.ndim or any(length <= 0 for length in extent):
        raise ValueError(
            f"{function}: expected one positive length per trailing space axis of a field of "
            f"shape {tuple(u.shape)}, got extent={tuple(extent)}; pass spec.domain.extent"
        )
