r"""Harmonic features of one axis: a lattice of lines, and atoms between them.

The mixture of the GP-HM spectrum with means fixed on :math:`\mu_j = j / (\kappa L)` and bumps
of zero width is a weighted sum of cosines and sines; its weights are what is learned. Atoms
:math:`t^k \cos \omega s, t^k \sin \omega s` add means off the lattice, with a finite width.
"""

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

_WEIGHT_FLOOR = 1e-8  # of the largest weight; a line can come back in a later pass


@final
@dataclass(frozen=True, eq=False)
class HarmonicFeatures:
    r"""Weighted functions :math:`t^k \cos ωs` and :math:`t^k \sin ωs` of one axis.

    Here s is the distance from the middle of the axis and t = 2 s / L. Columns come in pairs
    (cosine, sine) of one line; the sine of a line of frequency zero is left out by a zero
    weight.

    Args:
        low: Lower end of the axis.
        length: Length L of the axis.
        omega: Angular frequency of each line, radians per unit length.
        degree: Power k of each line.
        weight: Weight S of each line: the square root of its spectral mass.
        num_lattice: How many lines, the first ones, are the lattice; the others are atoms.
    """

    low: float
    length: float
    omega: Float[Tensor, " m"]
    degree: Float[Tensor, " m"]
    weight: Float[Tensor, " m"]
    num_lattice: int

    @property
    def num_lines(self) -> int:
        """Number of lines m; there are 2 m functions."""
        return self.omega.numel()

    @property
    def largest_omega(self) -> float:
        """Largest angular frequency."""
        return float(self.omega.max())

    @property
    def scales(self) -> Float[Tensor, " columns"]:
        """Weight of every function, cosines first."""
        sine = torch.where((self.omega == 0), 0.0, self.weight)
        return torch.cat([self.weight, sine])

    def evaluate(
        self, points: Float[Tensor, " n"], order: int = 0
    ) -> Float[Tensor, "n columns"]:
        """Derivative of the given order of all functions, without weights: cosines, then sines.

        Leibniz' rule on the power and the harmonic, exact to rounding.
        """
        s = points - (self.low + 0.5 * self.length)
        t = (2.0 / self.length) * s
        angle = s[:, None] * self.omega
        cosine, sine = angle.cos(), angle.sin()
        lattice = _harmonic_derivative(cosine, sine, self.omega, order)
        if self.num_lattice == self.num_lines:
            return torch.cat(lattice, dim=1)
        total = [torch.zeros_like(cosine), torch.zeros_like(sine)]
        falling = torch.ones_like(self.degree)  # k (k - 1) … (k - i + 1)
        for i in range(order + 1):
            power = t[:, None] ** (self.degree - i).clamp_min(0.0)
            factor = math.comb(order, i) * (2.0 / self.length) ** i * falling * power
            for k, part in enumerate(_harmonic_derivative(cosine, sine, self.omega, order - i)):
                total[k] += factor * part
            falling = falling * (self.degree - i)
        return torch.cat(total, dim=1)

    def energy(self, coefficients: Float[Tensor, "columns *others"]) -> Float[Tensor, " m"]:
        """Root of the sum of squares of the two coefficients of each line, over all others."""
        squares = coefficients.reshape(2, self.num_lines, -1).square()
        return squares.sum(dim=(0, 2)).sqrt()

    def reweighted(self, coefficients: Float[Tensor, "columns *others"]) -> "HarmonicFeatures":
        r"""The same lines with :math:`S_j = \sqrt{a_c^2 + a_s^2} / \max + 10^{-8}`.

        The fixed point of the joint maximum a posteriori estimate under a log-uniform prior of
        the weights: the paper's prior, solved in closed form.
        """
        size = self.energy(coefficients)
        largest = float(size.max())
        if largest == 0.0:
            return replace(self, weight=torch.ones_like(self.weight))
        return replace(self, weight=size / largest + _WEIGHT_FLOOR)


def harmonic_lattice(
    low: float, length: float, *, highest_frequency: float, kappa: float
) -> HarmonicFeatures:
    r"""Lines :math:`\mu_j = j / (\kappa L)`, j = 0 … ⌊κ L F⌋ + 1, with equal weights.

    Args:
        low: Lower end of the axis.
        length: Length L.
        highest_frequency: F, in cycles per unit length.
        kappa: Lines per period of the axis. Not an integer: with κ = 2 and L = 2π every
            integer angular frequency would lie on the lattice, which flatters tests.
    """
    count = math.floor(kappa * length * highest_frequency) + 2
    index = torch.arange(count, dtype=torch.float64)
    return HarmonicFeatures(
        low=low,
        length=length,
        omega=2.0 * math.pi * index / (kappa * length),
        degree=torch.zeros(count, dtype=torch.float64),
        weight=torch.ones(count, dtype=torch.float64),
        num_lattice=count,
    )


def _harmonic_derivative(
    cosine: Tensor, sine: Tensor, omega: Tensor, order: int
) -> tuple[Tensor, Tensor]:
    """Derivative of cos ωs and sin ωs: a turn by a quarter and a factor ω each time."""
    turns = ((cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine))
    first, second = turns[order % 4]
    if order == 0:
        return first, second
    factor = omega**order
    return first * factor, second * factor
