"""The evidence of rows of data, its exact gradient, and L-BFGS on it.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), eq. 5.8, 5.9.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import scipy.optimize
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.factorize import cholesky_logdet
from sciml.models.gp_hm.assembly import CovarianceError, covariance_root
from sciml.models.gp_hm.evidence_gram import Hyperparameters, RowCovariance

_LOG_NOISE_BOUNDS = (-46.0, 5.0)
_LOG_BOUND = 40.0
"""Weights and scales stay between e⁻⁴⁰ and e⁴⁰, where none of their powers overflows."""

_UPHILL = 1e3
"""What a step into parameters without a Cholesky factor costs, in nats a row."""


@final
@dataclass(frozen=True)
class Search:
    """How a search for the largest evidence went.

    Args:
        parameters: The best found.
        history: Negative log evidence of the start and after each iteration.
        num_evaluations: How often the evidence was computed.
        message: What ended it.
    """

    parameters: Hyperparameters
    history: tuple[float, ...]
    num_evaluations: int
    message: str


def negative_log_evidence(
    covariance: RowCovariance, parameters: Hyperparameters
) -> tuple[float, Float[Tensor, " size"]]:
    """½ yᵀ G⁻¹ y + ½ log|G| + ½ n log 2π, and its gradient in `parameters.vector`.

    One Cholesky factor and one inverse; the gradient is ``½ (G⁻¹ − α αᵀ)`` pulled back through
    the assembly of G, nothing is differentiated through the factorisation.

    Raises:
        CovarianceError: If the covariance of the data is not positive definite.
    """
    leaves = parameters.replaced(parameters.vector)
    with torch.enable_grad():
        matrix = covariance.matrix(leaves)
    fixed = matrix.detach()
    root = covariance_root("negative_log_evidence: covariance of the data", fixed)
    values = covariance.values
    weights = torch.cholesky_solve(values[:, None], root)
    gradients = torch.autograd.grad(
        matrix,
        leaves.tensors,
        (torch.cholesky_inverse(root) - weights @ weights.T) / 2,
        allow_unused=True,
        materialize_grads=True,
    )
    constant = len(values) * math.log(2 * math.pi)
    value = values @ weights[:, 0] + cholesky_logdet(root) + constant
    return float(value) / 2, torch.cat([part.reshape(-1) for part in gradients])


def maximise_evidence(
    covariance: RowCovariance, start: Hyperparameters, max_steps: int
) -> Search:
    """L-BFGS from `start`; parameters without a Cholesky factor count as uphill.

    Raises:
        CovarianceError: If the covariance at the start is not positive definite.
    """
    best, _ = negative_log_evidence(covariance, start)
    history = [best]
    uphill = best + _UPHILL * len(covariance.values)
    units = _units(covariance, start)

    def objective(vector: Any) -> tuple[float, Any]:
        parameters = start.replaced(torch.from_numpy(vector) * units)
        try:
            value, gradient = negative_log_evidence(covariance, parameters)
        except CovarianceError:
            return uphill, np.zeros_like(vector)
        return value, (gradient * units).numpy()

    def record(intermediate_result: Any) -> None:
        history.append(float(intermediate_result.fun))

    result = scipy.optimize.minimize(
        objective,
        (start.vector / units).numpy(),
        jac=True,
        method="L-BFGS-B",
        bounds=_bounds(start),
        callback=record,
        options={"maxiter": max_steps, "maxcor": 20, "ftol": 1e-12, "gtol": 1e-6},
    )
    found = (
        start if not result.fun <= best else start.replaced(torch.from_numpy(result.x) * units)
    )
    return Search(found.detach(), tuple(history), int(result.nfev), str(result.message))


def _units(covariance: RowCovariance, parameters: Hyperparameters) -> Tensor:
    """Steps of equal weight: a unit of a logarithm, a tenth of a line that an axis tells apart.

    The first step of L-BFGS has length one; a whole cycle of a frequency would lose its line.
    """
    parts = []
    for axis, mixture in zip(covariance.axes, parameters.mixtures, strict=True):
        length = float(axis.nodes[-1] - axis.nodes[0])
        for tensor, unit in zip(mixture.tensors, (1.0, 1.0, 0.1 / length), strict=True):
            parts.append(torch.full_like(tensor, unit))
    return torch.cat([*parts, torch.ones(1, dtype=torch.float64)])


def _bounds(parameters: Hyperparameters) -> list[tuple[float | None, float | None]]:
    bounds: list[tuple[float | None, float | None]] = []
    for mixture in parameters.mixtures:
        count = len(mixture.log_weights)
        bounds += [(-_LOG_BOUND, _LOG_BOUND)] * (2 * count) + [(None, None)] * count
    return [*bounds, _LOG_NOISE_BOUNDS]
