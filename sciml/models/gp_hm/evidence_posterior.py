"""The Gaussian posterior of a solution given rows of data: mean, derivatives, deviation."""

from functools import cached_property
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.models.gp_hm.assembly import covariance_root
from sciml.models.gp_hm.evidence_gram import (
    Hyperparameters,
    RowCovariance,
    row_cross_covariance,
)
from sciml.models.gp_hm.evidence_uncertainty import HyperparameterUncertainty
from sciml.pde.jet import MultiIndex
from sciml.pde.problem import Problem
from sciml.solvers.base import Field

_CHUNK_ENTRIES = 4_000_000
"""Numbers held at a time: points × rows × components."""


@final
class EvidencePosterior(Field):
    """A GP conditioned on rows of data, at the hyper-parameters of the largest evidence.

    Derivatives of the mean exist up to order 4 of the kernel, less what the rows of the
    equation take: twice along an axis for a second-order equation.

    Args:
        problem: What was solved.
        covariance: The rows and the kernel.
        parameters: The hyper-parameters.
        learned: Whether they were learned from the same data: the deviation then has their
            uncertainty, computed when it is first asked for.

    Raises:
        CovarianceError: If the covariance of the data is not positive definite.
    """

    def __init__(
        self,
        problem: Problem,
        covariance: RowCovariance,
        parameters: Hyperparameters,
        *,
        learned: bool = False,
    ) -> None:
        super().__init__(problem)
        self.covariance, self.learned = covariance, learned
        self.parameters = parameters.detach()
        matrix = covariance.matrix(self.parameters)
        self._root = covariance_root("EvidencePosterior: covariance of the data", matrix)
        self._weights = torch.cholesky_solve(covariance.values[:, None], self._root)

    @override
    def _evaluate(self, points: Tensor, index: MultiIndex) -> Tensor:
        parts = [self._cross(chunk, index) @ self._weights for chunk in self._chunks(points)]
        return torch.cat(parts)

    @override
    def _deviation(self, points: Tensor) -> Tensor:
        """Square root of k(x, x) − k_xᵀ G⁻¹ k_x, zero where rounding makes it negative.

        Where the hyper-parameters were learned, what their uncertainty adds comes on top.
        """
        zero = (0,) * points.shape[1]
        prior = torch.ones((), dtype=torch.float64)
        for mixture in self.parameters.mixtures:
            prior = prior * mixture.log_weights.exp().sum()
        parts = []
        for chunk in self._chunks(points):
            cross = self._cross(chunk, zero)
            known = torch.linalg.solve_triangular(self._root, cross.T, upper=False)
            variance = (prior - known.square().sum(0)).clamp_min(0.0)
            if self.learned:
                variance = variance + self._uncertainty.variance(chunk, cross)
            parts.append(variance.sqrt())
        return torch.cat(parts).unsqueeze(-1)

    @cached_property
    def _uncertainty(self) -> HyperparameterUncertainty:
        return HyperparameterUncertainty(
            self.covariance, self.parameters, self._root, self._weights
        )

    def _cross(self, points: Tensor, index: MultiIndex) -> Float[Tensor, "p n"]:
        return row_cross_covariance(
            self.covariance.kernel,
            self.parameters.mixtures,
            points,
            index,
            self.covariance.groups,
        )

    def _chunks(self, points: Tensor) -> tuple[Tensor, ...]:
        components = max(len(m.log_weights) for m in self.parameters.mixtures)
        size = max(1, _CHUNK_ENTRIES // (len(self._root) * components))
        return torch.split(points, size)
