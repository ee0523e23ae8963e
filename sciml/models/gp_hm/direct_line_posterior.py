"""A Gaussian over solutions on one axis: rows in their singular basis, observations beside."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from sciml.models.gp_hm.direct_basis import truncated_svd
from sciml.models.gp_hm.direct_evidence import SingularData, smoothed
from sciml.models.gp_hm.direct_line import LineSolution, LineSystem
from sciml.models.gp_hm.direct_observations import Innovation, ObservedValues, innovation
from sciml.models.gp_hm.model import HarmonicFeatures
from sciml.pde.problem import Problem

_CONDITION_WEIGHT = 1e3  # conditions are exact: their rows count as a thousand of the equation
_CUT = 1e-14
_TINY = 1e-300
_MAX_EVALUATIONS = 120  # of the evidence beside noisy observations
BACKGROUNDS = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # smooth parts, of the energy of all lines


@final
@dataclass(frozen=True)
class LinePosterior:
    """A Gaussian over the coefficients of weighted features, divided by the weights.

    Args:
        features: The weighted features.
        mean: Mean of the coefficients divided by the weights.
        vectors: Right singular vectors V of the weighted rows.
        gains: What the data take of the prior variance along each of them, in [0, 1].
        prior_variance: Variance of a coefficient divided by its weight, before the data.
        noise_variance: Variance of the noise of a scaled row.
        evidence: Logarithm of the density of the data.
        observed: Weighted features at the noisy observations.
        news: What the noisy observations add, where there are any.
    """

    features: HarmonicFeatures
    mean: Float[Tensor, " columns"]
    vectors: Float[Tensor, "columns r"]
    gains: Float[Tensor, " r"]
    prior_variance: float
    noise_variance: float
    evidence: float
    observed: Float[Tensor, "k columns"]
    news: Innovation | None = None

    @property
    def coefficients(self) -> Float[Tensor, " columns"]:
        """Mean of the coefficients of the features."""
        return self.features.scales * self.mean

    @property
    def solution(self) -> LineSolution:
        """The mean."""
        return LineSolution(self.features, self.coefficients, (), 0)

    def deviation(self, points: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
        """Posterior standard deviation of the solution at points."""
        rows = self.features.evaluate(points[:, 0]) * self.features.scales
        # the part outside the singular vectors keeps its prior; no difference of large numbers
        along = rows @ self.vectors
        outside = rows - along @ self.vectors.T
        variance = (along.square() * (1.0 - self.gains)).sum(1) + outside.square().sum(1)
        variance = self.prior_variance * variance
        if self.news is not None:
            other = self.observed @ self.vectors
            cross = (along * (1.0 - self.gains)) @ other.T
            # one projection is enough: what lies outside is orthogonal to what lies along
            cross = self.prior_variance * (cross + outside @ self.observed.T)
            variance = (variance - self.news.explained(cross)).clamp_min(0.0)
        return variance.sqrt()


@final
class LineData:
    """The rows of a problem on one axis, and posteriors for given weights.

    Args:
        problem: A linear equation for one field.
        nodes: Where the equation is sampled.
        observed: Noisy observations.

    Attributes:
        scale: What the rows of the equation were divided by in the last posterior.
    """

    def __init__(
        self, problem: Problem, nodes: Float[Tensor, " n"], observed: ObservedValues
    ) -> None:
        self.problem, self.nodes, self.observed = problem, nodes, observed
        self.scale = 1.0

    def learn(
        self, posterior: LinePosterior, levels: Iterable[int]
    ) -> dict[int, LinePosterior]:
        """Under weights learned from another posterior, for levels of their smooth part."""
        coefficients = posterior.coefficients
        return {
            level: self.condition(
                smoothed(posterior.features, coefficients, BACKGROUNDS[level])
            )
            for level in levels
        }

    def condition(self, features: HarmonicFeatures) -> LinePosterior:
        """The posterior under the weights of the features."""
        rows, right, self.scale = LineSystem(self.problem, self.nodes, features).rows()
        weight = torch.ones_like(right)
        weight[: rows.shape[0] - self.nodes.numel()] = _CONDITION_WEIGHT
        left, singular, vectors = truncated_svd(weight[:, None] * rows, _CUT)
        y = left.T @ (weight * right)
        outside = float((weight * right).square().sum() - y.square().sum())
        data = SingularData(singular.square(), y.square(), max(outside, 0.0), right.numel())
        return _LineRows(features, singular, vectors, y, data, self.observed).posterior()


@final
@dataclass(frozen=True)
class _LineRows:
    """Rows in their singular basis, beside noisy observations."""

    features: HarmonicFeatures
    singular: Tensor
    vectors: Tensor
    y: Tensor
    data: SingularData
    observed: ObservedValues

    def posterior(self) -> LinePosterior:
        """At the ratio of variances and the prior variance of the largest evidence."""
        ratio, prior, evidence = self.data.best()
        if not len(self.observed):
            return self._condition(ratio, prior, evidence)
        # data without a right-hand side say nothing of the prior variance, observations do
        size = float(self.observed.values.square().mean())
        spread = float(self._seen[0].square().sum(1).mean())
        priors = [max(prior, _TINY), max(size / max(spread, _TINY), _TINY)]
        prior = max(priors, key=lambda value: self._condition(ratio, value).evidence)
        start = (math.log(ratio), math.log(prior))
        found = minimize(
            lambda x: -self._condition(math.exp(x[0]), math.exp(x[1])).evidence,
            start,
            method="Nelder-Mead",
            options={"maxfev": _MAX_EVALUATIONS, "fatol": 1e-2, "xatol": 1e-2},
        )
        return self._condition(math.exp(found.x[0]), math.exp(found.x[1]))

    def _condition(
        self, ratio: float, prior: float, evidence: float | None = None
    ) -> LinePosterior:
        if evidence is None:
            evidence = self.data.log_density(ratio, prior)
        filtered = self.singular.square() + ratio
        gains = self.singular.square() / filtered
        mean = self.vectors @ (self.singular / filtered * self.y)
        seen, along, outside, news = *self._seen, None
        if len(self.observed):
            kept = along * (1.0 - gains)
            covariance = kept @ along.T + outside @ outside.T
            news = innovation(self.observed, seen @ mean, prior * covariance)
            evidence += news.log_density
            gain = self.vectors @ (kept.T @ news.weights) + outside.T @ news.weights
            mean = mean + prior * gain
        return LinePosterior(
            self.features, mean, self.vectors, gains, prior, ratio * prior, evidence, seen, news
        )

    @cached_property
    def _seen(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the observations, what of them the equation knows about, and the rest."""
        seen = self.features.evaluate(self.observed.points[:, 0]) * self.features.scales
        along = seen @ self.vectors
        return seen, along, seen - along @ self.vectors.T
