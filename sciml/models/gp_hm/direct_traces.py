"""Sides of a rectangle without a condition: their values are unknowns with a smooth prior."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.models.gp_hm.direct_equation import SeparableEquation
from sciml.models.gp_hm.direct_evidence import smooth_spectrum
from sciml.models.gp_hm.direct_grid import GridSystem
from sciml.models.gp_hm.model import HarmonicFeatures
from sciml.pde.conditions import Dirichlet, Side
from sciml.pde.points import Points


@final
@dataclass(frozen=True)
class OpenSide:
    """A side without a condition."""

    axis: int
    condition: Dirichlet


def with_open_sides(
    equation: SeparableEquation,
) -> tuple[SeparableEquation, tuple[OpenSide, ...]]:
    """The equation with values on every open side that agree with its corners, and these sides.

    The values are linear between the two corners where the neighbours prescribe any, zero
    where they do not; what is added to them vanishes at such corners.

    Raises:
        ValueError: If sides of both axes are open, or a side has more than one condition.
    """
    domain, sides, ends = equation.domain, list[OpenSide](), list(equation.ends)
    for k, axis in enumerate(domain.axes):
        given = [condition.side for condition in equation.ends[k]]
        if len(given) != len(set(given)):
            raise ValueError(
                f"GPHMSolver: expected one condition on a side with a posterior, got "
                f"{', '.join(map(str, equation.ends[k]))}; leave one out"
            )
        missing: list[Side] = [side for side in ("low", "high") if side not in given]
        corners = [_corner_values(equation, k, side) for side in missing]
        sides += [
            OpenSide(k, Dirichlet(axis, side, values))
            for side, values in zip(missing, corners, strict=True)
        ]
        ends[k] = (*equation.ends[k], *(s.condition for s in sides if s.axis == k))
    if len({side.axis for side in sides}) > 1:
        raise ValueError(
            "GPHMSolver: expected conditions on both sides of one axis at least, got none on "
            f"{', '.join(str(side.condition) for side in sides)}; add a condition"
        )
    return replace(equation, ends=tuple(ends)), tuple(sides)


@final
class Trace:
    r"""The values on an open side as a Gaussian process, and the solutions they make.

    On the eigenfunctions Y_b of the other axis, u = Σ β_b ξ_b(x) Y_b(y): ξ_b is one on the open
    side and solves the homogeneous equation with the eigenvalue of Y_b. The β are independent.
    Their spectrum is that of a Matérn-5/2 kernel, beside lines at the frequencies of the
    right-hand side along the same axis, of unit variance on average over the side.

    Args:
        system: The discrete equation, with a condition on the open side.
        side: The open side.
        reaction: Coefficient of u in the equation.
    """

    def __init__(self, system: GridSystem, side: OpenSide, reaction: float) -> None:
        self.axis, self.other = side.axis, 1 - side.axis
        own = system.axes[self.axis]
        values, vectors = (
            system.inverse.eigenvalues[self.axis],
            system.inverse.eigenvectors[self.axis],
        )
        across = system.inverse.eigenvalues[self.other] + reaction
        lift = own.right_inverse[:, own.essential.index(side.condition)]
        load = vectors.T @ (own.free.T @ torch.stack([own.matrix @ lift, lift], dim=1))
        # minus the residual of the lift, solved mode by mode
        shifted = values[:, None] + across
        inner = -(load[:, :1] + load[:, 1:] * across) / shifted
        self.profile = lift[:, None] + own.free @ (vectors @ inner)
        equation = system.equation
        diffusion = equation.coefficients[self.other][2]
        self._omega = (system.inverse.eigenvalues[self.other] / diffusion).abs().sqrt()
        self._length = equation.domain.extent[self.other]

    def variance(
        self, correlation: float, share: float, lines: HarmonicFeatures
    ) -> Float[Tensor, " modes"]:
        """Variance of each β.

        Args:
            correlation: Correlation length of the smooth part relative to the side.
            share: What the lines have of the variance, in [0, 1].
            lines: Features of the axis along the side; their weights are the lines.
        """
        smooth = smooth_spectrum(self._omega, self._length, correlation)
        mass = np.interp(self._omega, lines.omega, lines.weight.square())
        peaks = torch.from_numpy(mass)
        mixed = (1.0 - share) * smooth / smooth.sum() + share * peaks / peaks.sum()
        return self._length * mixed

    def responses(
        self, bases: Sequence[Float[Tensor, "n _"]], modes: Sequence[Float[Tensor, "n _"]]
    ) -> Float[Tensor, "n modes"]:
        """ξ_b(x) Y_b(y) at points, from bases and eigenfunctions of both axes there."""
        return (bases[self.axis] @ self.profile) * modes[self.other]

    def coefficients(
        self, amounts: Float[Tensor, " modes"], modes: Float[Tensor, "r modes"]
    ) -> Float[Tensor, "r1 r2"]:
        """Σ β_b ξ_b ⊗ Y_b in the bases, for the coefficients of the Y_b in theirs."""
        product = (self.profile * amounts) @ modes.T
        return product if self.axis == 0 else product.T


class _CornerValues:
    """Linear along a side between values at its two ends."""

    def __init__(self, axis: str, low: float, high: float, ends: tuple[float, float]) -> None:
        self.axis, self.low, self.high, self.ends = axis, low, high, ends

    def __call__(self, points: Points) -> Tensor:
        share = (points[self.axis] - self.low) / (self.high - self.low)
        return self.ends[0] + (self.ends[1] - self.ends[0]) * share


def _corner_values(equation: SeparableEquation, k: int, side: Side) -> _CornerValues:
    domain, other = equation.domain, 1 - k
    corner = torch.zeros(1, 2, dtype=torch.float64)
    corner[0, k] = domain.low[k] if side == "low" else domain.high[k]
    held: dict[str, float] = {}
    for condition in equation.ends[other]:
        if set(condition.coefficients) == {0}:
            end = domain.low if condition.side == "low" else domain.high
            corner[0, other] = end[other]
            held[condition.side] = float(condition.values(Points(domain.axes, corner)))
    known = next(iter(held.values()), 0.0)
    ends = (held.get("low", known), held.get("high", known))
    return _CornerValues(domain.axes[other], domain.low[other], domain.high[other], ends)
