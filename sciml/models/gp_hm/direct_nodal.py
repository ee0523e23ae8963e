"""Nodal axes of a variational form: one polynomial or Fourier series, quadrature at nodes."""

import math
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float
from numpy.polynomial import legendre
from scipy.special import roots_jacobi
from torch import Tensor
from typing_extensions import override

from sciml.solvers.spectral_axis import FourierAxis


class NodalAxis(ABC):
    """Nodes of one axis with weights of quadrature and the derivative of the interpolant.

    Args:
        nodes: The nodes in ascending order.
        weights: Weights of the quadrature at the nodes; they sum to the length of the axis.
        differentiation: Matrix from nodal values to the derivative of their interpolant there.
        periodic: Whether the last node is a neighbour of the first one.
    """

    def __init__(
        self,
        nodes: Float[Tensor, " n"],
        weights: Float[Tensor, " n"],
        differentiation: Float[Tensor, "n n"],
        *,
        periodic: bool,
    ) -> None:
        self.nodes, self.weights, self.differentiation = nodes, weights, differentiation
        self.periodic = periodic

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""
        return self.nodes.numel()

    @property
    @abstractmethod
    def spacings(self) -> Float[Tensor, " edges"]:
        """Distances of neighbours; on a periodic axis the last one goes around."""

    @abstractmethod
    def evaluation(self, points: Float[Tensor, " p"]) -> Float[Tensor, "p n"]:
        """Matrix from nodal values to those of their interpolant at points."""


@final
class LobattoAxis(NodalAxis):
    r"""Legendre–Gauss–Lobatto nodes: the ends and the extrema of :math:`P_{n-1}`.

    The quadrature is exact for polynomials of degree 2n − 3, which makes the mass matrix
    diagonal and keeps integration by parts exact.

    Source: Canuto, Hussaini, Quarteroni and Zang, Spectral Methods: Fundamentals in Single
    Domains (2006), eqs. 2.3.12 to 2.3.15 and 2.3.28.

    Args:
        low: Lower end of the axis.
        length: Its length.
        num_nodes: Number of nodes n ≥ 3.
    """

    def __init__(self, low: float, length: float, num_nodes: int) -> None:
        unit, weights, differentiation, values = _lobatto_rule(num_nodes)
        self._low, self._length, self._unit = low, length, unit
        self._barycentric = 1.0 / values
        nodes = low + 0.5 * length * (unit + 1.0)
        nodes[-1] = low + length
        super().__init__(
            nodes, 0.5 * length * weights, differentiation * (2.0 / length), periodic=False
        )

    @property
    @override
    def spacings(self) -> Float[Tensor, " edges"]:
        return self.nodes.diff()

    @override
    def evaluation(self, points: Float[Tensor, " p"]) -> Float[Tensor, "p n"]:
        unit = 2.0 * (points - self._low) / self._length - 1.0
        difference = unit[:, None] - self._unit
        hit = difference == 0.0
        terms = self._barycentric / torch.where(hit, 1.0, difference)
        matrix = terms / terms.sum(-1, keepdim=True)
        at_node = hit.any(-1)
        matrix[at_node] = hit[at_node].to(matrix.dtype)
        return matrix


@final
class HarmonicAxis(NodalAxis):
    """Equidistant nodes of a periodic axis and the Fourier series through them.

    An odd number of nodes: the highest wave of an even one has no derivative at the nodes and
    would be a null vector of the form.

    Args:
        low: Lower end of the axis.
        length: Its period.
        num_nodes: Smallest number of nodes; one more where it is even.
    """

    def __init__(self, low: float, length: float, num_nodes: int) -> None:
        count = num_nodes + 1 - num_nodes % 2
        self._series = FourierAxis(low, low + length, count)
        self._spacing = length / count
        super().__init__(
            self._series.nodes,
            torch.full((count,), self._spacing, dtype=torch.float64),
            self._series.differentiation(1),
            periodic=True,
        )

    @property
    @override
    def spacings(self) -> Float[Tensor, " edges"]:
        return torch.full_like(self.nodes, self._spacing)

    @override
    def evaluation(self, points: Float[Tensor, " p"]) -> Float[Tensor, "p n"]:
        return self._series.evaluation(points, 0)


@lru_cache(maxsize=8)
def _lobatto_rule(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nodes, weights and differentiation matrix on [-1, 1], and P_{n-1} at the nodes."""
    degree = count - 1
    inner = torch.from_numpy(roots_jacobi(degree - 1, 1.0, 1.0)[0])
    unit = torch.cat(
        [inner.new_tensor([-1.0]), 0.5 * (inner - inner.flip(0)), inner.new_ones(1)]
    )
    values = torch.from_numpy(legendre.legvander(unit.numpy(), degree)[:, degree].copy())
    weights = 2.0 / (degree * (degree + 1) * values.square())
    difference = (unit[:, None] - unit).fill_diagonal_(math.inf)
    differentiation = values[:, None] / values / difference
    # a constant has the derivative zero, to rounding
    differentiation -= torch.diag(differentiation.sum(1))
    return unit, weights, differentiation, values
