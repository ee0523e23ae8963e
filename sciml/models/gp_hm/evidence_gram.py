"""Covariance of linear functionals of a GP, and what a Gaussian posterior needs of it.

For rows i and j with coefficients c_α and c_β at points x_i and y_j the covariance is
``Σ_αβ c_α c_β (−1)^|β| Π_k k_k^(α_k + β_k)(x_ik − y_jk)``. Kernels are evaluated on the
coordinates that occur on each axis, at the lags of the uniform ones, and gathered by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.models.gp_hm.assembly import cross_matrix, toeplitz_matrices, uniform_spacing
from sciml.models.gp_hm.evidence_rows import AxisCoordinates, RowGroup
from sciml.models.gp_hm.kernels import MixtureKernel, MixtureParameters


@final
@dataclass(frozen=True)
class Hyperparameters:
    """What the evidence is maximised over.

    Args:
        mixtures: Kernel parameters of each axis.
        log_noise: Log variance of the noise of the equation, in the units of its rows.
    """

    mixtures: tuple[MixtureParameters, ...]
    log_noise: Float[Tensor, ""]

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, three an axis, then the noise."""
        return [tensor for mixture in self.mixtures for tensor in mixture.tensors] + [
            self.log_noise
        ]

    @property
    def vector(self) -> Float[Tensor, " size"]:
        """All numbers in one vector."""
        return torch.cat([tensor.detach().reshape(-1) for tensor in self.tensors])

    def detach(self) -> "Hyperparameters":
        """A copy of the same values that no gradient reaches."""
        mixtures = tuple(mixture.detach() for mixture in self.mixtures)
        return Hyperparameters(mixtures, self.log_noise.detach().clone())

    def replaced(self, vector: Float[Tensor, " size"]) -> "Hyperparameters":
        """The same structure with other numbers, ready for gradients."""
        sizes = [tensor.numel() for tensor in self.tensors]
        parts = [part.clone().requires_grad_() for part in torch.split(vector, sizes)]
        mixtures = tuple(
            MixtureParameters(*parts[3 * k : 3 * k + 3]) for k in range(len(self.mixtures))
        )
        return Hyperparameters(mixtures, parts[-1].reshape(()).detach().requires_grad_())


@final
class RowCovariance:
    """The covariance matrix of rows as a function of the hyper-parameters.

    Args:
        kernel: The kernel of every axis.
        axes: The coordinates that occur on each axis.
        groups: The rows.
        jitter: Added to the diagonal of each group, relative to its mean prior variance.
    """

    def __init__(
        self,
        kernel: MixtureKernel,
        axes: Sequence[AxisCoordinates],
        groups: Sequence[RowGroup],
        jitter: float,
    ) -> None:
        self.kernel, self.axes, self.groups, self.jitter = (
            kernel,
            tuple(axes),
            tuple(groups),
            jitter,
        )
        self._places = [
            [
                axis.locate(column)
                for axis, column in zip(axes, g.points.unbind(-1), strict=True)
            ]
            for g in groups
        ]
        indices = [{index for group in groups for index in group.terms}] * 2
        self._orders = [
            sorted({a[k] + b[k] for a in indices[0] for b in indices[1]})
            for k in range(len(self.axes))
        ]

    @property
    def values(self) -> Float[Tensor, " n"]:
        """Right-hand sides of all rows."""
        return torch.cat([group.values for group in self.groups])

    def matrix(self, parameters: Hyperparameters) -> Float[Tensor, "n n"]:
        """Covariance of the data: rows of the prior, noise and jitter."""
        tables = [self._table(k, mixture) for k, mixture in enumerate(parameters.mixtures)]
        blocks: dict[tuple[int, int], Tensor] = {}
        for i in range(len(self.groups)):
            for j in range(i, len(self.groups)):
                blocks[i, j] = self._block(tables, i, j)
                if i != j:
                    blocks[j, i] = blocks[i, j].T
        count = range(len(self.groups))
        prior = torch.cat([torch.cat([blocks[i, j] for j in count], 1) for i in count])
        diagonal = torch.cat(
            [self._noise(k, blocks[k, k].diagonal(), parameters) for k in count]
        )
        return prior + torch.diag(diagonal)

    def _noise(self, k: int, prior: Tensor, parameters: Hyperparameters) -> Tensor:
        """Diagonal that is added to the rows of group k."""
        group = self.groups[k]
        added = group.variance + self.jitter * prior.mean()
        if group.learned:
            added = added + parameters.log_noise.exp()
        return added.expand(len(group))

    def _table(self, k: int, mixture: MixtureParameters) -> dict[int, Tensor]:
        """Kernel derivatives by order, between all coordinates of axis k."""
        axis, orders = self.axes[k], self._orders[k]
        spacing = uniform_spacing(axis.nodes)
        lags = toeplitz_matrices(self.kernel, mixture, len(axis.nodes), spacing, orders)
        if not len(axis.others):
            return dict(zip(orders, lags, strict=True))
        known = torch.cat([axis.nodes, axis.others])
        tables = {}
        for order, uniform in zip(orders, lags, strict=True):
            beside = cross_matrix(self.kernel, mixture, axis.nodes, axis.others, order)
            below = cross_matrix(self.kernel, mixture, axis.others, known, order)
            tables[order] = torch.cat([torch.cat([uniform, beside], 1), below])
        return tables

    def _block(self, tables: list[dict[int, Tensor]], i: int, j: int) -> Tensor:
        """Prior covariance of groups i and j."""
        left, right = self.groups[i], self.groups[j]
        total = left.values.new_zeros(len(left), len(right))
        gathered: dict[tuple[int, int], Tensor] = {}
        for a, first in left.terms.items():
            for b, second in right.terms.items():
                product = first[:, None] * ((-1) ** sum(b) * second)
                for k, table in enumerate(tables):
                    key = (k, a[k] + b[k])
                    if key not in gathered:
                        rows = table[key[1]].index_select(0, self._places[i][k])
                        gathered[key] = rows.index_select(1, self._places[j][k])
                    product = product * gathered[key]
                total = total + product
        return total


def row_cross_covariance(
    kernel: MixtureKernel,
    mixtures: Sequence[MixtureParameters],
    points: Float[Tensor, "p d"],
    index: tuple[int, ...],
    groups: Sequence[RowGroup],
) -> Float[Tensor, "p n"]:
    """Covariance of ∂^index u at any points with all rows."""
    columns = []
    for group in groups:
        total = points.new_zeros(len(points), len(group))
        factors: dict[tuple[int, int], Tensor] = {}
        for b, coefficients in group.terms.items():
            product = ((-1) ** sum(b) * coefficients).expand(len(points), -1)
            for k, mixture in enumerate(mixtures):
                key = (k, index[k] + b[k])
                if key not in factors:
                    factors[key] = cross_matrix(
                        kernel, mixture, points[:, k], group.points[:, k], key[1]
                    )
                product = product * factors[key]
            total = total + product
        columns.append(total)
    return torch.cat(columns, 1)
