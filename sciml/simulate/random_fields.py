"""Periodic Gaussian random fields with a closed-form variance.

Samples are addressed, not drawn: sample `index` of a `seed` is the same field whatever the
batch it comes in, and has the same Fourier coefficients on every grid, so that one sample
exists at all resolutions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.fft.wavenumbers import wavenumbers


@final
@dataclass(frozen=True)
class GaussianRandomField:
    """Zero-mean field u ~ N(0, amplitude² (-Δ + tau²)^(-alpha)) on a periodic box.

    With an L²-orthonormal Fourier basis on a box of volume V the field is
    u(x) = Re Σ_{k≠0} √(λ_k / V) ξ_k exp(i κ·x), λ_k = amplitude² (|κ|² + tau²)^(-alpha), where
    real and imaginary part of ξ_k are independent N(0, 1). Modes |k_i| < n_i / 2 take part: an
    even grid's Nyquist modes are left out, since they do not exist on a finer one.

    Args:
        lengths: Period of each axis.
        alpha: Decay exponent; the variance has a limit on fine grids for alpha > d/2.
        tau: Inverse correlation length, in radians per length.
        amplitude: Factor of the field.

    Raises:
        ValueError: If a length, `alpha`, `tau` or `amplitude` is out of range.

    Source:
        Li et al. 2021, arXiv:2010.08895, appendix A.3 (the measure); data_generation of the
        authors' code (sampling by an inverse FFT).
    """

    lengths: tuple[float, ...]
    alpha: float
    tau: float
    amplitude: float

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) <= 0:
            raise ValueError(
                f"GaussianRandomField: expected positive lengths, got {self.lengths}; "
                "give every axis its period"
            )
        if not (self.alpha > 0 and self.tau >= 0 and self.amplitude > 0):
            raise ValueError(
                f"GaussianRandomField: expected alpha > 0, tau >= 0 and amplitude > 0, got "
                f"alpha={self.alpha}, tau={self.tau}, amplitude={self.amplitude}; correct them"
            )

    def variance(self, shape: Sequence[int]) -> float:
        """Pointwise variance Σ_{k≠0} λ_k / V over the modes that a grid holds."""
        return float(self._eigenvalues(tuple(shape)).sum())

    def sample(
        self, shape: Sequence[int], *, seed: int, indices: Sequence[int]
    ) -> Float[Tensor, "b *space"]:
        """Draw the samples with these indices in float64.

        Args:
            shape: Grid points per axis.
            seed: Non-negative seed shared by all samples.
            indices: Non-negative sample indices; each sample depends on (seed, index) alone.

        Raises:
            ValueError: If the grid has another dimension than the field, or a seed or an index
                is negative.
        """
        if len(shape) != len(self.lengths) or min(shape) < 1:
            raise ValueError(
                f"GaussianRandomField: expected one positive size for each of the "
                f"{len(self.lengths)} axes, got {tuple(shape)}; pass the grid of the box"
            )
        if seed < 0 or min(indices, default=0) < 0:
            raise ValueError(
                f"GaussianRandomField: expected a non-negative seed and indices, got seed="
                f"{seed}, indices={list(indices)}; count from zero"
            )
        positions = _nested_modes(tuple(shape))
        size = math.prod(shape)
        spectrum = torch.zeros(len(indices), size, dtype=torch.complex128)
        weights = self._eigenvalues(tuple(shape)).sqrt()
        for row, index in enumerate(indices):
            # A counter-based stream per sample; the spawn key keeps (seed, index) pairs apart.
            stream = np.random.SeedSequence(seed, spawn_key=(index,))
            noise = np.random.Generator(np.random.Philox(stream))
            xi = torch.from_numpy(noise.standard_normal((len(positions), 2)))
            spectrum[row, positions] = weights * torch.view_as_complex(xi)
        axes = tuple(range(1, len(shape) + 1))
        # norm="forward" puts no factor in the inverse: the bins are series coefficients.
        field: Tensor = torch.fft.ifftn(spectrum.view(-1, *shape), dim=axes, norm="forward")
        return field.real.clone()

    def _eigenvalues(self, shape: tuple[int, ...]) -> Tensor:
        """λ_k / V of the modes of `_nested_modes`, in its order."""
        squared = torch.zeros(1, dtype=torch.float64)
        for n, length in zip(shape, self.lengths, strict=True):
            squared = squared[..., None] + wavenumbers(n, length).square()
        squared = squared.reshape(-1)[_nested_modes(shape)]
        volume = math.prod(self.lengths)
        return self.amplitude**2 / volume * (squared + self.tau**2) ** (-self.alpha)


@lru_cache(maxsize=8)
def _nested_modes(shape: tuple[int, ...]) -> Tensor:
    """Flat FFT positions of all modes 0 < max|k_i| with |k_i| < n_i / 2, nested over grids.

    Modes are ordered by max|k_i|, then lexicographically: the modes of a cube-shaped grid are a
    prefix of those of a finer one, so the same random stream gives them the same noise.
    """
    orders = [np.fft.fftfreq(n, 1 / n).round().astype(np.int64) for n in shape]
    k = np.stack([m.reshape(-1) for m in np.meshgrid(*orders, indexing="ij")])
    sizes = np.asarray(shape)[:, None]
    shell = np.abs(k).max(axis=0)
    position = np.flatnonzero((2 * np.abs(k) < sizes).all(axis=0) & (shell > 0))
    order = np.lexsort((*k[::-1, position], shell[position]))
    return torch.from_numpy(position[order])
