"""Noisy observations: what they add to a Gaussian that the equation and conditions left."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.factorize import cholesky, cholesky_logdet
from sciml.pde.problem import Problem

_JITTER = 1e-11  # of the prior variance of the observations, where they are exact
_LARGEST_COUNT = 1000


@final
@dataclass(frozen=True)
class ObservedValues:
    """All observations of a problem in one.

    Args:
        points: Where.
        values: What was measured.
        variance: Variance of the noise of each.
    """

    points: Float[Tensor, "k d"]
    values: Float[Tensor, " k"]
    variance: Float[Tensor, " k"]

    def __len__(self) -> int:
        return int(self.values.numel())

    def misfit(self, predicted: Float[Tensor, " k"]) -> float:
        """Root mean square of the misfit over the noise; of the noisy observations only."""
        noisy = self.variance > 0
        if not bool(noisy.any()):
            return 0.0
        gap = (predicted - self.values)[noisy]
        return float((gap.square() / self.variance[noisy]).mean().sqrt())


def observed_values(problem: Problem, *, noisy_only: bool = False) -> ObservedValues:
    """The observations of a problem; those without noise are left out with `noisy_only`.

    Raises:
        ValueError: If they are too many for a dense covariance.
    """
    held = [o for o in problem.observations if o.noise > 0 or not noisy_only]
    ndim = problem.domain.ndim
    empty = torch.zeros(0, dtype=torch.float64)
    found = ObservedValues(
        torch.cat([empty.reshape(0, ndim), *(o.points for o in held)]),
        torch.cat([empty, *(o.values for o in held)]),
        torch.cat([empty, *(torch.full_like(o.values, float(o.noise) ** 2) for o in held)]),
    )
    if len(found) > _LARGEST_COUNT:
        raise ValueError(
            f"GPHMSolver: expected at most {_LARGEST_COUNT} observations with a posterior, got "
            f"{len(found)}: their covariance is one dense matrix; average neighbouring ones"
        )
    return found


@final
@dataclass(frozen=True)
class Innovation:
    """Observations beside what was known before them.

    Args:
        root: Lower Cholesky factor of the covariance of the observations.
        weights: That covariance solved for the innovation, the values minus their expectation.
        log_density: Logarithm of the density of the observations.
    """

    root: Float[Tensor, "k k"]
    weights: Float[Tensor, " k"]
    log_density: float

    def explained(self, cross: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        """What the observations take off the variance of n numbers with these covariances."""
        known: Tensor = torch.linalg.solve_triangular(self.root, cross.T, upper=False)
        return known.square().sum(0)


def innovation(
    observed: ObservedValues, expected: Float[Tensor, " k"], covariance: Float[Tensor, "k k"]
) -> Innovation:
    """The observations as news about a Gaussian with this expectation and covariance there.

    Source: Rasmussen and Williams (2006), eq. 2.22–2.24, with a prior that was conditioned on
    the equation before.
    """
    floor = _JITTER * float(covariance.diagonal().mean())
    floor += (torch.finfo(torch.float64).eps * float(observed.values.abs().max())) ** 2
    noise = observed.variance.clamp_min(floor)
    root = cholesky("GPHMSolver: covariance of the observations", covariance + noise.diag())
    gap = (observed.values - expected)[:, None]
    weights = torch.cholesky_solve(gap, root)[:, 0]
    constant = len(observed) * torch.log(torch.tensor(2.0 * torch.pi, dtype=torch.float64))
    square = gap[:, 0] @ weights
    density = -0.5 * float(square + cholesky_logdet(root) + constant)
    return Innovation(root, weights, density)
