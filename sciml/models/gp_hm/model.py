r"""The model of the direct solver: harmonic features of one axis with weights to be learned.

The prior of a solution is the Gaussian process of weighted features: the GP-HM mixture with
means fixed on a lattice :math:`\mu_j = j / (\kappa L)` and bumps of zero width. Its covariance
is :math:`\sum_j S_j^2 \cos \omega_j (x - x')`, in d dimensions the product over the axes; the
weights S are what is learned. Atoms :math:`t^k \cos \omega s, t^k \sin \omega s` add means off
the lattice, with a finite width. Bumps of finite width and their kernels, which the published
method and the evidence learn, stand in `sciml.models.gp_hm.kernels`.
"""

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.pde.quadrature import panel_rule

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

    def averages(self) -> Float[Tensor, " columns"]:
        """Mean over the axis of all functions, without weights."""
        # the product of a power and a wave is as fast as the wave
        periods = self.largest_omega * self.length / (2.0 * math.pi)
        nodes, weights = panel_rule(self.low, self.length, math.ceil(8.0 * periods) + 64)
        return (weights / self.length) @ self.evaluate(nodes)

    def energy(self, coefficients: Float[Tensor, "columns *others"]) -> Float[Tensor, " m"]:
        """Root of the sum of squares of the two coefficients of each line, over all others."""
        squares = coefficients.reshape(2, self.num_lines, -1).square()
        return squares.sum(dim=(0, 2)).sqrt()

    def reweighted(
        self, coefficients: Float[Tensor, "columns *others"], *, keep_constant: bool = False
    ) -> "HarmonicFeatures":
        r"""The same lines with :math:`S_j = \sqrt{a_c^2 + a_s^2} / \max + 10^{-8}`.

        The fixed point of the joint maximum a posteriori estimate under a log-uniform prior of
        the weights: the paper's prior, solved in closed form.

        Args:
            coefficients: Of the functions of this axis.
            keep_constant: Whether the constant keeps the largest weight, for a solution without
                a mean in a basis that has to hold constants.
        """
        size = self.energy(coefficients)
        if keep_constant:
            size = torch.where((self.omega == 0) & (self.degree == 0), size.max(), size)
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
