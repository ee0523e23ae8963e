"""Quadrature of functions that are given by their values: Gauss–Legendre rules on panels."""

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.polynomial import legendre
from torch import Tensor

PANEL_POINTS = 16


def panel_rule(
    low: float, length: float, num_points: int
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Nodes in ascending order and weights of 16-point rules on equal panels.

    A wave is integrated to rounding where it has eight points per period.

    Args:
        low: Lower end.
        length: Length of the axis.
        num_points: Points at least; rounded up to whole panels.
    """
    unit, weights, _ = _unit_rule()
    count = math.ceil(num_points / PANEL_POINTS)
    half = 0.5 * length / count
    middles = low + half * (2.0 * torch.arange(count, dtype=torch.float64) + 1.0)
    nodes = middles[:, None] + half * unit
    return nodes.flatten(), (half * weights).repeat(count)


def antiderivative(
    values: Float[Tensor, " n"], length: float
) -> tuple[Float[Tensor, " n"], float]:
    """Integral from the low end to each node of `panel_rule`, and to the high end.

    Args:
        values: The integrand at the nodes.
        length: Length of the axis.
    """
    _, weights, partial = _unit_rule()
    panels = values.reshape(-1, PANEL_POINTS)
    half = 0.5 * length / panels.shape[0]
    whole = half * (panels @ weights)
    before = whole.cumsum(0) - whole
    return (before[:, None] + half * (panels @ partial.T)).flatten(), float(whole.sum())


@lru_cache(maxsize=1)
def _unit_rule() -> tuple[Tensor, Tensor, Tensor]:
    """Nodes and weights on [-1, 1], and the matrix of integrals from −1 to each node."""
    nodes, weights = legendre.leggauss(PANEL_POINTS)
    table = legendre.legvander(nodes, PANEL_POINTS)
    degree = np.arange(1, PANEL_POINTS)
    # ∫ P_k from −1 to x is (P_{k+1} − P_{k−1}) / (2k + 1), and x + 1 for k = 0
    integrals = np.empty((PANEL_POINTS, PANEL_POINTS))
    integrals[:, 0] = nodes + 1.0
    integrals[:, 1:] = (table[:, 2:] - table[:, :-2]) / (2 * degree + 1)
    # coefficients of the interpolant by quadrature, exact for the products of degree 2n − 2
    project = (table[:, :-1] * weights[:, None]).T * (np.arange(PANEL_POINTS) + 0.5)[:, None]
    matrix = torch.from_numpy(integrals @ project)
    return torch.from_numpy(nodes), torch.from_numpy(weights), matrix
