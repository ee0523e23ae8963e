"""The evidence of data that are independent in a singular basis, and the weights of a prior."""

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from sciml.models.gp_hm.model import HarmonicFeatures

_NOISE_RATIOS = (1e-26, 1e6)  # of noise to prior variance, searched on a logarithmic scale
_NUM_RATIOS = 129
_BACKGROUND_LENGTH = 0.2  # correlation length of the smooth part, over the length of the axis
_WEIGHT_FLOOR = 1e-8  # of the largest weight; a line can come back in a later pass


@final
@dataclass(frozen=True)
class SingularData:
    """Data y = σ z + noise with z ~ N(0, s_p) and noise ~ N(0, s_e), all independent.

    Args:
        singular: Squares of the singular values σ.
        data: Squares of the data along them.
        outside: Sum of squares of the data that no singular vector reaches.
        count: Number of data in all.
    """

    singular: Float[Tensor, " r"]
    data: Float[Tensor, " r"]
    outside: float
    count: int

    def prior_variance(self, ratio: float) -> float:
        """The best prior variance for a ratio of noise to prior variance, in closed form."""
        return self._square(ratio) / self.count

    def log_density(self, ratio: float, variance: float) -> float:
        """Logarithm of the density of the data for a prior variance and a noise of ratio · it.

        Source: Rasmussen and Williams (2006), eq. 5.8, in the singular basis.
        """
        variance = max(variance, 1e-300)
        zeros = self.count - self.singular.numel()
        logarithms = float((self.singular + ratio).log().sum()) + zeros * math.log(ratio)
        constant = self.count * math.log(2.0 * math.pi * variance)
        return -0.5 * (self._square(ratio) / variance + logarithms + constant)

    def best(self) -> tuple[float, float, float]:
        """Ratio, prior variance and log evidence at the maximum: a search, then a polish."""
        low, high = (math.log(bound * float(self.singular.max())) for bound in _NOISE_RATIOS)
        step = (high - low) / (_NUM_RATIOS - 1)
        costs = [self._cost(low + k * step) for k in range(_NUM_RATIOS)]
        middle = low + step * min(range(_NUM_RATIOS), key=costs.__getitem__)
        found = minimize_scalar(
            self._cost, bounds=(middle - step, middle + step), method="bounded"
        )
        ratio = math.exp(float(found.x))
        return ratio, self.prior_variance(ratio), -float(found.fun)

    def _cost(self, log_ratio: float) -> float:
        ratio = math.exp(log_ratio)
        return -self.log_density(ratio, self.prior_variance(ratio))

    def _square(self, ratio: float) -> float:
        return float((self.data / (self.singular + ratio)).sum()) + self.outside / ratio


def smoothed(
    features: HarmonicFeatures,
    coefficients: Float[Tensor, "columns *others"],
    background: float = 0.0,
) -> HarmonicFeatures:
    r"""Weights of a prior learned from coefficients: bumps of a finite width, a smooth part.

    :math:`S_j^2 = \tfrac14 E_{j-1} + \tfrac12 E_j + \tfrac14 E_{j+1} + b\, t_j \sum_i E_i`
    with E the energy of each line and t, of sum one, the Student-t spectrum of a Matérn-5/2
    kernel around frequency zero. Without the average the evidence fits the weights to the
    noise. Without t the weights of a smooth part below the noise go to zero, and the deviation
    with them.

    Source: spec 6.2b, recipe 6, and the component at frequency zero of spec 2.1.
    """
    energy = features.energy(coefficients).square()
    padded = torch.cat([energy[1:2], energy, energy.new_zeros(1)])  # even about frequency zero
    average = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    if background > 0:
        spectrum = smooth_spectrum(features.omega, features.length, _BACKGROUND_LENGTH)
        average = average + background * energy.sum() * spectrum / spectrum.sum()
    weight = average.sqrt()
    largest = weight.max()
    if float(largest) == 0.0:
        return replace(features, weight=torch.ones_like(weight))
    return replace(features, weight=weight / largest + _WEIGHT_FLOOR)


def smooth_spectrum(
    omega: Float[Tensor, " m"], length: float, correlation: float
) -> Float[Tensor, " m"]:
    """Spectrum of a Matérn-5/2 kernel, one at frequency zero.

    Args:
        omega: Angular frequencies.
        length: Length of the axis.
        correlation: Correlation length of the kernel over the length of the axis.
    """
    return (1.0 + (correlation * length * omega).square() / 5.0) ** -3.0
