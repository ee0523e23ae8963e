"""What the uncertainty of the hyper-parameters adds to a posterior of the solution.

The hyper-parameters θ are known to the covariance C, the inverse of the Fisher information of
the data with that of a wide prior. The mean of the solution moves with θ, and to first order
its variance grows by ``J C Jᵀ``, J the derivative of the mean by θ.

Source: Kackar and Harville, J. Amer. Statist. Assoc. 79 (1984), 853–862, for the term; Mardia
and Marshall, Biometrika 71 (1984), 135–146, for the information of a covariance.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.factorize import cholesky
from sciml.models.gp_hm.evidence_gram import (
    Hyperparameters,
    RowCovariance,
    row_cross_covariance,
)

_STEP = 1e-4  # of a difference; matrices are smooth and computed to rounding
_PRIOR_DEVIATION = 3.0  # of logarithms; of frequencies in lines that an axis tells apart


@final
class HyperparameterUncertainty:
    r"""Covariance of the hyper-parameters and the derivative of the posterior mean by them.

    The information is :math:`F_{ij} = ½ tr(G^{-1} ∂_i G G^{-1} ∂_j G)`, G the covariance of the
    data: positive semi-definite also where the evidence is not concave. The prior bounds what
    the data do not see, such as the frequency of a component without weight. Two assemblies of
    G for each hyper-parameter.

    Args:
        covariance: The rows.
        parameters: The hyper-parameters of the largest evidence.
        root: Lower Cholesky factor of G there.
        weights: :math:`G^{-1} y`.
    """

    def __init__(
        self,
        covariance: RowCovariance,
        parameters: Hyperparameters,
        root: Float[Tensor, "n n"],
        weights: Float[Tensor, "n 1"],
    ) -> None:
        self.covariance, self._weights = covariance, weights
        self._pairs = _shifted(covariance, parameters)
        scaled, moved = [], []
        for ahead, behind in self._pairs:
            change = (covariance.matrix(ahead) - covariance.matrix(behind)) / (2.0 * _STEP)
            half = torch.linalg.solve_triangular(root, change, upper=False)
            whole = torch.linalg.solve_triangular(root, half.T, upper=False)
            scaled.append(whole.flatten())
            moved.append(-torch.cholesky_solve(change @ weights, root))
        table = torch.stack(scaled)
        information = 0.5 * table @ table.T
        information.diagonal().add_(_PRIOR_DEVIATION**-2)
        self._root = cholesky("HyperparameterUncertainty: information", information)
        self._moved = torch.cat(moved, dim=1)

    def variance(
        self, points: Float[Tensor, "p d"], cross: Float[Tensor, "p n"]
    ) -> Float[Tensor, " p"]:
        """What they add to the variance at points with covariance `cross` to the rows."""
        zero = (0,) * points.shape[1]
        groups, kernel = self.covariance.groups, self.covariance.kernel
        columns = []
        for ahead, behind in self._pairs:
            ends = [
                row_cross_covariance(kernel, held.mixtures, points, zero, groups)
                for held in (ahead, behind)
            ]
            columns.append((ends[0] - ends[1]) @ self._weights / (2.0 * _STEP))
        jacobian = torch.cat(columns, dim=1) + cross @ self._moved
        known: Tensor = torch.linalg.solve_triangular(self._root, jacobian.T, upper=False)
        return known.square().sum(0)


def _shifted(
    covariance: RowCovariance, parameters: Hyperparameters
) -> list[tuple[Hyperparameters, Hyperparameters]]:
    """A step ahead and one behind in every hyper-parameter, in units of the prior."""
    units = []
    for axis, mixture in zip(covariance.axes, parameters.mixtures, strict=True):
        count = mixture.frequencies.numel()
        length = float(axis.nodes[-1] - axis.nodes[0])
        units += [1.0] * (2 * count) + [1.0 / length] * count
    centre = parameters.vector
    steps = _STEP * torch.diag(torch.tensor([*units, 1.0], dtype=torch.float64))
    return [
        (
            parameters.replaced(centre + step).detach(),
            parameters.replaced(centre - step).detach(),
        )
        for step in steps
    ]
