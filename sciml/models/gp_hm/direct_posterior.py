"""Posterior of the lattice solver in one dimension: smoothed weights and an evidence each."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from sciml.models.gp_hm.direct_basis import truncated_svd
from sciml.models.gp_hm.direct_discretisation import LineDiscretisation
from sciml.models.gp_hm.direct_field import HarmonicField
from sciml.models.gp_hm.direct_line import LineSolution, LineSystem
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.lattice import HarmonicFeatures
from sciml.models.gp_hm.selection import Judge
from sciml.pde.problem import Problem
from sciml.solution import Solution, Status
from sciml.solvers.base import Callback, Field

_CONDITION_WEIGHT = 1e3  # conditions are exact: their rows count as a thousand of the equation
_NUM_PASSES = 6  # the weights have settled by then
_CUT = 1e-14
_NOISE_RATIOS = (1e-26, 1e6)  # of noise to prior variance, searched on a logarithmic scale
_NUM_RATIOS = 129


@final
@dataclass(frozen=True)
class LinePosterior:
    """A Gaussian over the coefficients of weighted features.

    Args:
        features: The weighted features.
        mean: Mean of the coefficients divided by the weights.
        vectors: Right singular vectors V of the weighted rows.
        gains: What the data take of the prior variance along each of them, in [0, 1].
        prior_variance: Variance of a coefficient divided by its weight, before the data.
        noise_variance: Variance of the noise of a scaled row.
        evidence: Logarithm of the density of the data.
    """

    features: HarmonicFeatures
    mean: Float[Tensor, " columns"]
    vectors: Float[Tensor, "columns r"]
    gains: Float[Tensor, " r"]
    prior_variance: float
    noise_variance: float
    evidence: float

    def deviation(self, points: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
        """Posterior standard deviation of the solution at points."""
        rows = self.features.evaluate(points[:, 0]) * self.features.scales
        along = rows @ self.vectors
        # the part outside the singular vectors keeps its prior; no difference of large numbers
        outside = rows - along @ self.vectors.T
        variance = (along.square() * (1.0 - self.gains)).sum(1) + outside.square().sum(1)
        return (self.prior_variance * variance).sqrt()


def solve_posterior(
    problem: Problem,
    resolution: Sequence[int],
    options: DirectOptions,
    callback: Callback | None = None,
) -> Solution[Field]:
    r"""Posterior mean and deviation of a linear problem on one axis with a noisy equation.

    With weights S, coefficients :math:`a = S z, z \sim N(0, s_p I)`, and independent noise
    :math:`s_e` of the scaled rows, prior and noise variance maximise the evidence in the
    singular basis of the rows. The next weights are :math:`S_j^2 = \tfrac14 E_{j-1} + \tfrac12
    E_j + \tfrac14 E_{j+1}` with :math:`E = a_c^2 + a_s^2`: without this finite width of the
    bumps the evidence fits the weights to the noise and the deviation is far too small.

    Source: spec 6.2b, recipe 6; Rasmussen and Williams (2006), §5.4.1.

    Args:
        problem: A linear equation for one field on one axis.
        resolution: Uniform nodes of the only axis.
        options: Options; the first of `nyquist_fractions` is the lattice.
        callback: Called after each pass.

    Raises:
        ValueError: If the problem is nonlinear or has more than one axis.
    """
    if problem.domain.ndim != 1 or not problem.linear:
        raise ValueError(
            "GPHMSolver: expected a linear problem on one axis with posterior=True, got "
            f"{problem!r}; use inference='evidence', or drop the posterior"
        )
    began = time.perf_counter()
    discretisation = LineDiscretisation(problem, resolution, options)
    judge = Judge(problem, discretisation.nodes)
    fractions = options.nyquist_fractions or discretisation.fractions
    (features,) = discretisation.lattices(fractions[0])
    history = []
    posterior, solution = None, None
    residual_norm, misfit, scale = math.inf, math.inf, 1.0
    for number in range(_NUM_PASSES):
        if solution is not None:
            features = smoothed(features, solution.coefficients)
        posterior, scale = _condition(problem, discretisation.nodes[0], features)
        solution = LineSolution(features, features.scales * posterior.mean, (), 0)
        residual_norm, misfit = judge(solution)
        history.append(posterior.evidence)
        if callback is not None:
            callback(
                number + 1,
                {"residual_norm": residual_norm, "evidence": posterior.evidence},
            )
    if posterior is None or solution is None:
        raise ValueError("solve_posterior: expected at least one pass, got none; raise it")
    good = math.isfinite(residual_norm) and misfit < math.sqrt(options.tolerance)
    return Solution(
        value=HarmonicField(problem, solution, posterior.deviation),
        status=Status.CONVERGED if good else Status.STAGNATION,
        converged=torch.tensor(good),
        num_steps=_NUM_PASSES,
        history=torch.tensor(history, dtype=torch.float64),
        stats={
            "solver": "GPHMSolver(inference='direct', posterior)",
            "residual_norm": residual_norm,
            "boundary_misfit": misfit,
            "resolution": tuple(resolution),
            "num_passes": _NUM_PASSES,
            "noise": math.sqrt(posterior.noise_variance) * scale,
            "evidence": posterior.evidence,
            "seconds": time.perf_counter() - began,
        },
    )


def smoothed(
    features: HarmonicFeatures, coefficients: Float[Tensor, " columns"]
) -> HarmonicFeatures:
    """Weights averaged over neighbouring lines: bumps of a finite width."""
    energy = features.energy(coefficients).square()
    padded = torch.cat([energy[1:2], energy, energy.new_zeros(1)])  # even about frequency zero
    average = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    weight = average.sqrt()
    return replace(features, weight=weight / weight.max() + 1e-8)


def _condition(
    problem: Problem, nodes: Tensor, features: HarmonicFeatures
) -> tuple[LinePosterior, float]:
    system = LineSystem(problem, nodes, features)
    rows, right, scale = system.rows()
    conditions = rows.shape[0] - nodes.numel()
    weight = torch.ones_like(right)
    weight[:conditions] = _CONDITION_WEIGHT
    left, singular, vectors = truncated_svd(weight[:, None] * rows, _CUT)
    y = left.T @ (weight * right)
    outside = float((weight * right).square().sum() - y.square().sum())
    data = _SingularData(singular.square(), y.square(), max(outside, 0.0), right.numel())
    ratio, prior, evidence = data.best()
    filtered = singular.square() + ratio
    posterior = LinePosterior(
        features,
        vectors @ (singular / filtered * y),
        vectors,
        singular.square() / filtered,
        prior,
        ratio * prior,
        evidence,
    )
    return posterior, scale


@final
@dataclass(frozen=True)
class _SingularData:
    """Squares of singular values and of the data along them, and what lies outside."""

    singular: Tensor
    data: Tensor
    outside: float
    count: int

    def prior_variance(self, ratio: float) -> float:
        """The best prior variance for a ratio of noise to prior variance, in closed form."""
        inside = float((self.data / (self.singular + ratio)).sum())
        return (inside + self.outside / ratio) / self.count

    def cost(self, log_ratio: float) -> float:
        """Minus the logarithm of the evidence, maximised over the prior variance."""
        ratio = math.exp(log_ratio)
        zeros = self.count - self.singular.numel()
        logarithms = float((self.singular + ratio).log().sum()) + zeros * log_ratio
        variance = max(self.prior_variance(ratio), 1e-300)
        constant = self.count * (1.0 + math.log(2.0 * math.pi))
        return 0.5 * (self.count * math.log(variance) + logarithms + constant)

    def best(self) -> tuple[float, float, float]:
        """Ratio, prior variance and log evidence at the maximum: a search, then a polish."""
        low, high = (math.log(bound * float(self.singular.max())) for bound in _NOISE_RATIOS)
        step = (high - low) / (_NUM_RATIOS - 1)
        costs = [self.cost(low + k * step) for k in range(_NUM_RATIOS)]
        middle = low + step * min(range(_NUM_RATIOS), key=costs.__getitem__)
        found = minimize_scalar(
            self.cost, bounds=(middle - step, middle + step), method="bounded"
        )
        ratio = math.exp(float(found.x))
        return ratio, self.prior_variance(ratio), -float(found.fun)
