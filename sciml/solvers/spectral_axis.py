"""One axis of a spectral grid: nodes, differentiation and interpolation matrices."""

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.domain import Box
from sciml.fft.trigonometric import dct


class SpectralAxis(ABC):
    """Nodes on [low, high] and the interpolant through values at them.

    Args:
        low: Lower end.
        high: Upper end; on a periodic axis the point identified with `low`.
        num_nodes: Number of nodes n.
    """

    def __init__(self, low: float, high: float, num_nodes: int) -> None:
        self.low, self.high, self.num_nodes = low, high, num_nodes
        self._matrices: dict[int, Tensor] = {}

    @property
    @abstractmethod
    def nodes(self) -> Float[Tensor, " n"]:
        """The nodes in ascending order."""

    @abstractmethod
    def evaluation(self, points: Float[Tensor, " p"], order: int) -> Float[Tensor, "p n"]:
        """Matrix from nodal values to a derivative of the interpolant at points."""

    @abstractmethod
    def coefficients(self, values: Float[Tensor, "*space"], axis: int) -> Tensor:
        """Magnitudes of the expansion coefficients along one axis of nodal values."""

    @abstractmethod
    def _differentiation(self, order: int) -> Tensor:
        """Matrix from nodal values to a derivative at the nodes, order ≥ 1."""

    def differentiation(self, order: int) -> Float[Tensor, "n n"]:
        """Matrix from nodal values to a derivative of the interpolant at the nodes."""
        if order not in self._matrices:
            self._matrices[order] = (
                self._differentiation(order)
                if order
                else torch.eye(self.num_nodes, dtype=torch.float64)
            )
        return self._matrices[order]


@final
class ChebyshevAxis(SpectralAxis):
    """Chebyshev–Gauss–Lobatto nodes x_j = cos(πj/(n−1)), scaled to [low, high], ends included.

    Differentiation matrices by the recursion of Welfert with accurate node differences, and
    diagonals by the negative sum of the row: the rounding error of second derivatives is a
    quarter of that of the squared first-derivative matrix (513 nodes).

    Source: Welfert, SIAM J. Numer. Anal. 34 (1997), 1640, eq. 8; Baltensperger and Trummer,
    SIAM J. Sci. Comput. 24 (2003), 1465; interpolation: Berrut and Trefethen, SIAM Review 46
    (2004), 501, eq. 5.4.
    """

    @property
    @override
    def nodes(self) -> Float[Tensor, " n"]:
        inner = self.low + (self.high - self.low) * (0.5 + 0.5 * torch.sin(self._angles))
        inner[0], inner[-1] = self.low, self.high
        return inner

    @override
    def evaluation(self, points: Float[Tensor, " p"], order: int) -> Float[Tensor, "p n"]:
        difference = points[:, None] - self.nodes
        hit = difference == 0.0
        terms = self._weights / torch.where(hit, 1.0, difference)
        matrix = terms / terms.sum(-1, keepdim=True)
        at_node = hit.any(-1)
        matrix[at_node] = hit[at_node].to(matrix.dtype)
        return matrix @ self.differentiation(order) if order else matrix

    @override
    def coefficients(self, values: Float[Tensor, "*space"], axis: int) -> Tensor:
        return dct(values, 1, (axis,)).abs()

    @override
    def _differentiation(self, order: int) -> Tensor:
        lower = self.differentiation(order - 1)
        ratio = self._weights / self._weights[:, None]
        matrix = order * (ratio * lower.diagonal()[:, None] - lower) / self._differences
        matrix.fill_diagonal_(0.0)
        return matrix - torch.diag(matrix.sum(-1))

    @property
    def _angles(self) -> Tensor:
        """θ_j with unit nodes sin θ_j, symmetric to rounding."""
        last = self.num_nodes - 1
        return (2 * torch.arange(last + 1, dtype=torch.float64) - last) * (math.pi / (2 * last))

    @property
    def _weights(self) -> Tensor:
        """Barycentric weights, up to a common factor."""
        weights = 1.0 - 2.0 * (torch.arange(self.num_nodes) % 2).double()
        weights[0] *= 0.5
        weights[-1] *= 0.5
        return weights

    @property
    def _differences(self) -> Tensor:
        """x_i − x_j by a product of sines, without cancellation; ones on the diagonal."""
        angles = self._angles
        half_sum = 0.5 * (angles[:, None] + angles)
        half_difference = 0.5 * (angles[:, None] - angles)
        differences = torch.cos(half_sum) * torch.sin(half_difference)
        return (differences * (self.high - self.low)).fill_diagonal_(1.0)


@final
class FourierAxis(SpectralAxis):
    """Equidistant nodes of a periodic axis; trigonometric interpolation.

    The highest wave of an even number of nodes is a cosine, whose odd derivatives vanish at the
    nodes.

    Source: Trefethen, Spectral Methods in MATLAB (2000), chapter 3.
    """

    @property
    @override
    def nodes(self) -> Float[Tensor, " n"]:
        unit = torch.arange(self.num_nodes, dtype=torch.float64) / self.num_nodes
        return self.low + (self.high - self.low) * unit

    @override
    def evaluation(self, points: Float[Tensor, " p"], order: int) -> Float[Tensor, "p n"]:
        count = self.num_nodes
        base = 2 * math.pi / (self.high - self.low)
        waves = torch.arange(count // 2 + 1, dtype=torch.float64)
        # cosines and sines of a wave stand for two exponentials, the mean and the highest wave
        # of an even count for one
        weights = torch.full_like(waves, 2.0 / count)
        weights[0] = 1.0 / count
        if count % 2 == 0:
            weights[-1] = 1.0 / count
        weights = weights * (base * waves) ** order
        phase = (points - self.low)[:, None] * base * waves + 0.5 * math.pi * order
        own = (self.nodes - self.low)[:, None] * base * waves
        return (weights * torch.cos(phase)) @ torch.cos(own).T + (
            weights * torch.sin(phase)
        ) @ torch.sin(own).T

    @override
    def coefficients(self, values: Float[Tensor, "*space"], axis: int) -> Tensor:
        spectrum: Tensor = torch.fft.rfft(values, dim=axis)
        return spectrum.abs()

    @override
    def _differentiation(self, order: int) -> Tensor:
        return self.evaluation(self.nodes, order)


def spectral_axes(domain: Box, resolution: tuple[int, ...]) -> tuple[SpectralAxis, ...]:
    """Fourier axes where a box is periodic, Chebyshev axes elsewhere.

    Equal axes are one object, which keeps its matrices.
    """
    kinds = {True: FourierAxis, False: ChebyshevAxis}
    keys = list(zip(domain.low, domain.high, resolution, domain.periodic, strict=True))
    distinct: dict[tuple[float, float, int, bool], SpectralAxis] = {
        (low, high, count, periodic): kinds[periodic](low, high, count)
        for low, high, count, periodic in set(keys)
    }
    return tuple(distinct[key] for key in keys)
