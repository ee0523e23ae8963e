"""A Gaussian over solutions on a rectangle: mean and deviation, observations included."""

import math
from dataclasses import replace
from itertools import product
from typing import final

import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from sciml.linalg.kronecker import kronecker_product
from sciml.models.gp_hm.direct_observations import Innovation, ObservedValues, innovation
from sciml.models.gp_hm.direct_plane_equation import PlaneEquation
from sciml.models.gp_hm.direct_source import SourcePosterior

_NEGLIGIBLE = 1e-6  # of the integrated variance, all of the functions of an axis left out
_CHUNK_ENTRIES = 4_000_000
_CORRELATIONS = (0.1, 0.2, 0.4)  # of the values on an open side, over its length
_SHARES = (0.0, 0.5)  # of the frequencies of the right-hand side in these values
_AMPLITUDES = (1e-3, 1e3)  # of these values, over the size of the observations


@final
class PlanePosterior:
    r"""Solutions u = Σ z_ij U_ij + Σ β_b u_b with independent Gaussian z and β, and a mean.

    U_ij solves the equation for the right-hand side h_i(x) h_j(y), u_b for the values Y_b on an
    open side. At a point, :math:`U = Γ_1 (ψ_1 ψ_2^T / Λ) Γ_2^T` in the eigenfunctions ψ: two
    products of small matrices. Functions that together make less than a millionth of the
    integrated variance are left out of the deviation, not of the mean.

    Args:
        plane: The equation.
        source: Posterior of its right-hand side.
        observed: Observations of the solution.
    """

    def __init__(
        self, plane: PlaneEquation, source: SourcePosterior, observed: ObservedValues
    ) -> None:
        self.plane = plane
        projected = [plane.projected(k, axis) for k, axis in enumerate(source.axes)]
        kept = _kept(projected, plane.divisor, source.variance)
        self._projected = [matrix[rows] for matrix, rows in zip(projected, kept, strict=True)]
        self._variance = source.variance[kept[0]][:, kept[1]]
        self._lines = [axis.features for axis in source.axes]
        self._trace_variance = self._trace_shapes(_CORRELATIONS[1], _SHARES[0])
        self.solution = plane.solve(source)
        self._news: Innovation | None = None
        if len(observed):
            self._observe(observed)

    @property
    def ranks(self) -> tuple[int, int]:
        """Functions of each axis that the deviation is made of."""
        first, second = self._projected
        return first.shape[0], second.shape[0]

    def deviation(self, points: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        """Posterior standard deviation of the solution at points."""
        parts = []
        for chunk in torch.split(points, self._chunk):
            responses = self._responses(chunk)
            variance = (responses.square() * self._amounts).sum(1)
            if self._news is not None:
                cross = (responses * self._amounts) @ self._seen.T
                variance = (variance - self._news.explained(cross)).clamp_min(0.0)
            parts.append(variance.sqrt())
        return torch.cat(parts) if parts else points.new_zeros(0)

    @property
    def _chunk(self) -> int:
        widest = max(self.plane.divisor.shape[1], self.ranks[1])
        return max(1, _CHUNK_ENTRIES // (widest * max(*self.ranks, 1)))

    @property
    def _amounts(self) -> Tensor:
        """Variances of all z and β in one vector."""
        return torch.cat([self._variance.flatten(), *self._trace_variance])

    def _responses(self, points: Tensor) -> Tensor:
        """U_ij and u_b at points, one row each."""
        bases = self.plane.at(points)
        modes = [own @ matrix for own, matrix in zip(bases, self.plane.modes, strict=True)]
        first, second = self._projected
        half = (first * modes[0][:, None]) @ self.plane.divisor.reciprocal()
        inner = (half * modes[1][:, None]) @ second.T
        traces = [trace.responses(bases, modes) for trace in self.plane.traces]
        return torch.cat([inner.flatten(1), *traces], dim=1)

    def _observe(self, observed: ObservedValues) -> None:
        parts = [self._responses(chunk) for chunk in torch.split(observed.points, self._chunk)]
        self._seen = torch.cat(parts)
        expected = self.solution.evaluate(observed.points, (0, 0))
        if self.plane.traces:
            self._learn_traces(observed, expected)
        covariance = (self._seen * self._amounts) @ self._seen.T
        self._news = innovation(observed, expected, covariance)
        moved = self._amounts * (self._seen.T @ self._news.weights)
        count = self._variance.numel()
        inner = moved[:count].reshape(self._variance.shape)
        factors = [matrix.T for matrix in self._projected]
        modal = kronecker_product(factors, inner) / self.plane.divisor
        total = self.solution.coefficients + kronecker_product(self.plane.modes, modal)
        for trace in self.plane.traces:
            modes = self.plane.modes[trace.other]
            amounts = moved[count : count + modes.shape[1]]
            count += modes.shape[1]
            total = total + trace.coefficients(amounts, modes)
        self.solution = replace(self.solution, coefficients=total)

    def _trace_shapes(self, correlation: float, share: float) -> list[Tensor]:
        return [
            trace.variance(correlation, share, self._lines[trace.other])
            for trace in self.plane.traces
        ]

    def _learn_traces(self, observed: ObservedValues, expected: Tensor) -> None:
        """Variance and spectrum of the values on open sides with the largest evidence."""
        count = self._variance.numel()
        inner, outer = self._seen[:, :count], self._seen[:, count:]
        known = (inner * self._variance.flatten()) @ inner.T
        size = float((observed.values - expected).square().mean())
        bounds = [math.log(max(size, 1e-300) * ratio**2) for ratio in _AMPLITUDES]
        best = math.inf
        for correlation, share in product(_CORRELATIONS, _SHARES):
            shapes = self._trace_shapes(correlation, share)
            unit = (outer * torch.cat(shapes)) @ outer.T

            def cost(logarithm: float, unit: Tensor = unit) -> float:
                covariance = known + math.exp(logarithm) * unit
                return -innovation(observed, expected, covariance).log_density

            found = minimize_scalar(cost, bounds=bounds, method="bounded")
            if float(found.fun) < best:
                best = float(found.fun)
                factor = math.exp(float(found.x))
                self._trace_variance = [factor * shape for shape in shapes]


def _kept(projected: list[Tensor], divisor: Tensor, variance: Tensor) -> list[Tensor]:
    """Which functions of each axis matter: ∫ Var u is a sum over all pairs of them."""
    first, second = (matrix.square() for matrix in projected)
    shares = (first @ divisor.square().reciprocal() @ second.T) * variance
    kept = []
    for k in range(2):
        share = shares.sum(1 - k)
        ascending = share.argsort()
        dropped = share[ascending].cumsum(0) <= _NEGLIGIBLE * share.sum()
        kept.append(ascending[~dropped].sort().values)
    return kept
