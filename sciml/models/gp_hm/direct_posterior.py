"""Posterior of the lattice solver in one dimension: smoothed weights and an evidence each."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from sciml.models.gp_hm.direct_basis import truncated_svd
from sciml.models.gp_hm.direct_discretisation import LineDiscretisation
from sciml.models.gp_hm.direct_evidence import SingularData, smoothed
from sciml.models.gp_hm.direct_field import HarmonicField
from sciml.models.gp_hm.direct_line import LineSolution, LineSystem
from sciml.models.gp_hm.direct_observations import (
    Innovation,
    ObservedValues,
    innovation,
    observed_values,
)
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.model import HarmonicFeatures
from sciml.models.gp_hm.selection import Judge
from sciml.pde.problem import Problem
from sciml.solution import Solution, Status
from sciml.solvers.base import Callback, Field

_CONDITION_WEIGHT = 1e3  # conditions are exact: their rows count as a thousand of the equation
_NUM_PASSES = 6  # the weights have settled by then
_CUT = 1e-14
_TINY = 1e-300
_MAX_EVALUATIONS = 120  # of the evidence beside noisy observations
_BACKGROUNDS = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the energy of all lines


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


def solve_line_posterior(
    problem: Problem,
    resolution: Sequence[int],
    options: DirectOptions,
    callback: Callback | None = None,
) -> Solution[Field]:
    r"""Posterior mean and deviation of a linear problem on one axis with a noisy equation.

    With weights S, coefficients :math:`a = S z, z \sim N(0, s_p I)`, and independent noise
    :math:`s_e` of the scaled rows, prior and noise variance maximise the evidence in the
    singular basis of the rows, noisy observations included. The next weights are smoothed
    energies of the mean plus a smooth part, whose size is that of the largest evidence.

    Source: spec 6.2b, recipe 6; Rasmussen and Williams (2006), §5.4.1.

    Args:
        problem: A linear equation for one field on one axis.
        resolution: Uniform nodes of the only axis.
        options: Options; the first of `nyquist_fractions` is the lattice.
        callback: Called after each pass.

    Raises:
        ValueError: If the problem is nonlinear, or has several fields or too many observations.
    """
    if not problem.linear:
        raise ValueError(
            f"GPHMSolver: expected a linear problem with posterior=True, got {problem!r}; use "
            "inference='evidence', or drop the posterior"
        )
    began = time.perf_counter()
    discretisation = LineDiscretisation(problem, resolution, options)
    judge = Judge(problem, discretisation.nodes)
    fractions = options.nyquist_fractions or discretisation.fractions
    (features,) = discretisation.lattices(fractions[0])
    observed = observed_values(problem, noisy_only=True)
    data = _LineData(problem, discretisation.nodes[0], observed)
    posterior, level = data.condition(features), 0
    history: list[float] = []
    residual_norm, misfit = math.inf, math.inf
    for number in range(1, _NUM_PASSES + 1):
        if number > 1:
            # every size of the smooth part at first, later the neighbours of the last one
            near = range(max(level - 1, 1), min(level + 2, len(_BACKGROUNDS)))
            found = data.learn(
                posterior, [0, *near] if number > 2 else range(len(_BACKGROUNDS))
            )
            level = max(found, key=lambda k: found[k].evidence)
            posterior = found[level]
        history.append(posterior.evidence)
        residual_norm, misfit = judge(posterior.solution)
        if callback is not None:
            known = {"residual_norm": residual_norm, "evidence": posterior.evidence}
            callback(number, known)
    predicted = posterior.solution.on_grid([observed.points[:, 0]], (0,))
    good = math.isfinite(residual_norm) and misfit < math.sqrt(options.tolerance)
    return Solution(
        value=HarmonicField(problem, posterior.solution, posterior.deviation),
        status=Status.CONVERGED if good else Status.STAGNATION,
        converged=torch.tensor(good),
        num_steps=_NUM_PASSES,
        history=torch.tensor(history, dtype=torch.float64),
        stats={
            "solver": "GPHMSolver(inference='direct', posterior)",
            "residual_norm": residual_norm,
            "boundary_misfit": misfit,
            "observation_misfit": observed.misfit(predicted),
            "resolution": tuple(resolution),
            "num_passes": _NUM_PASSES,
            "noise": math.sqrt(posterior.noise_variance) * data.scale,
            "background": _BACKGROUNDS[level],
            "evidence": posterior.evidence,
            "seconds": time.perf_counter() - began,
        },
    )


@final
class _LineData:
    """The rows of a problem on one axis, and posteriors for given weights."""

    def __init__(self, problem: Problem, nodes: Tensor, observed: ObservedValues) -> None:
        self.problem, self.nodes, self.observed = problem, nodes, observed
        self.scale = 1.0

    def learn(
        self, posterior: LinePosterior, levels: Iterable[int]
    ) -> dict[int, LinePosterior]:
        """Under weights learned from another posterior, for levels of their smooth part."""
        coefficients = posterior.coefficients
        return {
            level: self.condition(
                smoothed(posterior.features, coefficients, _BACKGROUNDS[level])
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
