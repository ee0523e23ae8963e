"""Solutions as interpolants: the function itself, and the variance of its posterior."""

import logging
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.pde.jet import MultiIndex
from sciml.pde.problem import Problem
from sciml.solvers.base import Field
from sciml.solvers.spectral_axis import spectral_axes
from sciml.solvers.spectral_field import SpectralField

log = logging.getLogger(__name__)

FIRST_RESOLUTION = {1: 64, 2: 48, 3: 32}
LARGEST_RESOLUTION = {1: 4096, 2: 768, 3: 128}
SMALLEST_TAIL, LEAST_GAIN = 1e-13, 0.1
# a variance costs a millisecond a point in two dimensions, and few digits of it are enough
LARGEST_VARIANCE_RESOLUTION = {1: 2048, 2: 96, 3: 32}
SMALLEST_VARIANCE_TAIL, LARGEST_VARIANCE_TAIL = 1e-8, 1e-2


@final
class PosteriorField(Field):
    """A solution with the variance of its posterior as an interpolant.

    The variance is smooth where the standard deviation is not: beside a boundary with values it
    is the square of the distance. Values below zero, rounding, count as zero.

    Args:
        problem: What was solved.
        mean: The solution.
        variance: Its variance, one field for each of the solution's.
    """

    def __init__(self, problem: Problem, mean: Field, variance: SpectralField) -> None:
        super().__init__(problem)
        self.mean, self.variance = mean, variance

    @override
    def _evaluate(self, points: Tensor, index: MultiIndex) -> Tensor:
        return self.mean.d(points, **dict(zip(self.axes, index, strict=True)))

    @override
    def _deviation(self, points: Tensor) -> Tensor:
        return self.variance(points).clamp_min(0.0).sqrt()


def with_posterior(problem: Problem, field: Field) -> Field:
    """The same field with its posterior variance as an interpolant, where it has a posterior.

    Standard deviations of a solver may cost as much a point as its solve; those of an
    interpolant are cheap, and can be kept in a file. Where the variance oscillates faster than
    the nodes resolve, that is said: between the nodes it is then that of others nearby.

    Args:
        problem: What was solved.
        field: A solution of it.
    """
    if isinstance(field, PosteriorField) or not _has_posterior(problem, field):
        return field
    ndim = problem.domain.ndim
    variance = _resolved(
        problem,
        _Variance(problem, field),
        largest=LARGEST_VARIANCE_RESOLUTION[ndim],
        smallest_tail=SMALLEST_VARIANCE_TAIL,
    )
    tail = max(variance.coefficient_tail())
    if tail > LARGEST_VARIANCE_TAIL:
        log.warning(
            "the posterior variance oscillates between %s nodes (tail %.1g): standard "
            "deviations here and in the saved solution are good to a factor only",
            tuple(variance.values.shape[1:]),
            tail,
        )
    return PosteriorField(problem, field, variance)


def interpolant(problem: Problem, field: Field) -> SpectralField:
    """The field through its values at spectral nodes, as many as its coefficients need.

    Nodes are doubled axis by axis until the highest coefficients are 1e-13 of the largest or
    no longer fall, at most to 4096, 768² and 128³.

    Args:
        problem: What was solved.
        field: A solution of it; one that is such an interpolant is returned as it is.
    """
    if isinstance(field, SpectralField):
        return field
    if isinstance(field, PosteriorField):
        return interpolant(problem, field.mean)
    largest = LARGEST_RESOLUTION[problem.domain.ndim]
    return _resolved(problem, field, largest=largest, smallest_tail=SMALLEST_TAIL)


@final
class _Variance(Field):
    """The square of the standard deviation of a field, as a field."""

    def __init__(self, problem: Problem, field: Field) -> None:
        super().__init__(problem)
        self._field = field

    @override
    def _evaluate(self, points: Tensor, index: MultiIndex) -> Tensor:
        return self._field.std(points).square()


def _has_posterior(problem: Problem, field: Field) -> bool:
    """Whether a field has a standard deviation; it says so by raising."""
    ends = zip(problem.domain.low, problem.domain.high, strict=True)
    middle = torch.tensor([[0.5 * (low + high) for low, high in ends]], dtype=torch.float64)
    try:
        field.std(middle)
    except ValueError:
        return False
    return True


def _resolved(
    problem: Problem, field: Field, *, largest: int, smallest_tail: float
) -> SpectralField:
    ndim = problem.domain.ndim
    resolution = (min(FIRST_RESOLUTION[ndim], largest),) * ndim
    last = (float("inf"),) * ndim
    while True:
        axes = spectral_axes(problem.domain, resolution)
        nodes = torch.meshgrid(*(axis.nodes for axis in axes), indexing="ij")
        values = field(torch.stack(nodes, dim=-1).reshape(-1, ndim)).detach()
        found = SpectralField(problem, axes, values.T.reshape(-1, *resolution))
        tails = found.coefficient_tail()
        rough = [
            tail > smallest_tail and count < largest and not LEAST_GAIN * before < tail < 1e-6
            for tail, before, count in zip(tails, last, resolution, strict=True)
        ]
        if not any(rough):
            return found
        last = tuple(
            tail if more else before
            for tail, before, more in zip(tails, last, rough, strict=True)
        )
        resolution = tuple(
            min(2 * count, largest) if more else count
            for count, more in zip(resolution, rough, strict=True)
        )
