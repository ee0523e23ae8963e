"""Orthonormal bases of one axis, made from weighted harmonic features by an SVD."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import final

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.models.gp_hm.model import HarmonicFeatures

GAUSS_SURPLUS = 40  # quadrature nodes beyond half the phase of the fastest feature


class AxisBasis(ABC):
    """Functions of one coordinate, orthonormal in the inner product of their own nodes.

    Args:
        features: The weighted features that the functions are combined from.
        nodes: Where the equation is sampled.
        test: Maps samples at `nodes` to inner products with the functions.
        combination: Coefficients of the functions in the features (weights included).
        symmetric: Whether `operator` gives symmetric matrices.
    """

    symmetric: bool

    def __init__(
        self,
        features: HarmonicFeatures,
        nodes: Float[Tensor, " n"],
        test: Float[Tensor, "r n"],
        combination: Float[Tensor, "columns r"],
    ) -> None:
        self.features = features
        self.nodes = nodes
        self.test = test
        self.combination = combination

    @property
    def size(self) -> int:
        """Number of functions r."""
        return self.test.shape[0]

    @abstractmethod
    def at_nodes(self, order: int = 0) -> Float[Tensor, "n r"]:
        """Derivative of the given order of all functions at `nodes`."""

    @abstractmethod
    def evaluate(self, points: Float[Tensor, " p"], order: int = 0) -> Float[Tensor, "p r"]:
        """Derivative of the given order of all functions at any points of the axis."""

    @abstractmethod
    def operator(self, coefficients: Mapping[int, float]) -> Float[Tensor, "r r"]:
        """Matrix of the sum of coefficient × derivative of that order, in this basis."""


@final
class NodalBasis(AxisBasis):
    r"""Strong form: orthonormal on uniform nodes; derivatives of the features are exact.

    The operator is the Galerkin matrix :math:`Q^T \Phi^{(i)} V Σ^{-1}` of spec 6.2. It is not
    symmetric, except on a periodic axis with periodic features, where it is.
    """

    def __init__(
        self, features: HarmonicFeatures, nodes: Float[Tensor, " n"], *, cut: float
    ) -> None:
        left, singular, right = truncated_svd(features.evaluate(nodes) * features.scales, cut)
        combination = features.scales[:, None] * right / singular
        super().__init__(features, nodes, left.T.contiguous(), combination)
        self.symmetric = False
        self._values = left

    @override
    def at_nodes(self, order: int = 0) -> Float[Tensor, "n r"]:
        return self._values if order == 0 else self.evaluate(self.nodes, order)

    @override
    def evaluate(self, points: Float[Tensor, " p"], order: int = 0) -> Float[Tensor, "p r"]:
        return self.features.evaluate(points, order) @ self.combination

    @override
    def operator(self, coefficients: Mapping[int, float]) -> Float[Tensor, "r r"]:
        total = torch.zeros(self.size, self.size, dtype=torch.float64)
        for order, coefficient in coefficients.items():
            total += coefficient * (self.test @ self.at_nodes(order))
        return total


@final
class LegendreBasis(AxisBasis):
    r"""Weak form: orthonormal in L² and stored as Legendre series; second order, symmetric.

    Trailing functions are differences of features with coefficients up to 1/cut, so values and
    derivatives taken from the features carry independent noise and Galerkin orthogonality is
    lost. Every function is therefore replaced by the polynomial through its values at the
    Gauss–Legendre nodes (spec 6.2b, recipe 1), which Gauss quadrature integrates exactly: the
    stiffness is consistent with integration by parts to rounding.

    Args:
        features: The weighted features.
        num_nodes: Gauss nodes; None takes half the phase of the fastest feature over the axis
            plus 40.
        sample: Uniform nodes where the equation is to be sampled (weak-N); None samples at the
            Gauss nodes (weak-G).
        cut: Singular values below this fraction of the largest are dropped.
    """

    def __init__(
        self,
        features: HarmonicFeatures,
        *,
        cut: float,
        num_nodes: int | None = None,
        sample: Float[Tensor, " n"] | None = None,
    ) -> None:
        self.symmetric = True
        count = num_nodes if num_nodes is not None else gauss_count(features)
        unit, weights = gauss_rule(count)
        self._middle = features.low + 0.5 * features.length
        self._half = 0.5 * features.length
        gauss, root = self._middle + self._half * unit, (self._half * weights).sqrt()
        scaled = features.evaluate(gauss) * features.scales
        combination = features.scales[:, None]
        if sample is not None:
            _, singular, right = truncated_svd(features.evaluate(sample) * features.scales, cut)
            scaled, combination = scaled @ (right / singular), combination * right / singular
        left, singular, right = truncated_svd(
            root[:, None] * scaled, cut if sample is None else 0.0
        )
        combination = (
            combination * right / singular
            if sample is None
            else combination @ (right / singular)
        )
        # orthonormal Legendre polynomials at the nodes times sqrt(weight) are orthogonal
        polynomials = self._polynomials(gauss, count)
        self._series = [(root[:, None] * polynomials).T @ left]
        self._gauss, self._root = gauss, root
        if sample is None:
            nodes, test = gauss, (left * root[:, None]).T.contiguous()
        else:
            nodes, test = sample, torch.linalg.pinv(self.evaluate(sample), rtol=1e-9)
        super().__init__(features, nodes, test, combination)

    @override
    def at_nodes(self, order: int = 0) -> Float[Tensor, "n r"]:
        return self.evaluate(self.nodes, order)

    @override
    def evaluate(self, points: Float[Tensor, " p"], order: int = 0) -> Float[Tensor, "p r"]:
        while len(self._series) <= order:
            self._series.append(differentiated(self._series[-1]) / self._half)
        series = self._series[order]
        return self._polynomials(points, series.shape[0]) @ series

    @override
    def operator(self, coefficients: Mapping[int, float]) -> Float[Tensor, "r r"]:
        gradient = self._root[:, None] * self.evaluate(self._gauss, 1)
        total = -coefficients.get(2, 0.0) * (gradient.T @ gradient)
        return total + coefficients.get(0, 0.0) * torch.eye(self.size, dtype=torch.float64)

    def _polynomials(self, points: Tensor, count: int) -> Tensor:
        """Orthonormal Legendre polynomials of the axis at points."""
        unit = ((points - self._middle) / self._half).numpy()
        degree = np.arange(count)
        table = np.polynomial.legendre.legvander(unit, count - 1) * np.sqrt(degree + 0.5)
        return torch.from_numpy(table) / math.sqrt(self._half)


@lru_cache(maxsize=32)
def gauss_rule(count: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Gauss–Legendre nodes and weights on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def gauss_count(features: HarmonicFeatures) -> int:
    """Gauss nodes that resolve the products of the features: ω L / 2 and some more."""
    return math.ceil(0.5 * features.largest_omega * features.length) + GAUSS_SURPLUS


def differentiated(series: Float[Tensor, "count r"]) -> Float[Tensor, "count r"]:
    r"""Derivative on [-1, 1] of series of orthonormal Legendre polynomials.

    For :math:`Σ c_k P_k` it is :math:`c'_k = (2k + 1) (c_{k+1} + c_{k+3} + …)`.
    """
    count = series.shape[0]
    norm = (torch.arange(count, dtype=torch.float64) + 0.5).sqrt()[:, None]
    plain = series * norm
    higher = torch.zeros_like(plain)
    for parity in range(2):
        part = plain[parity::2].flip(0).cumsum(0).flip(0)
        # sums from k + 1 on: the other parity, shifted by one
        target = higher[1 - parity :: 2]
        source = part if parity else part[1:]
        target[: source.shape[0]] = source[: target.shape[0]]
    return 2.0 * norm * higher


def truncated_svd(
    matrix: Float[Tensor, "n m"], cut: float
) -> tuple[Float[Tensor, "n r"], Float[Tensor, " r"], Float[Tensor, "m r"]]:
    """Left vectors, singular values above `cut` times the largest, and right vectors."""
    try:
        left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
    except RuntimeError:
        # the divide-and-conquer driver can fail on finite matrices; QR iteration does not
        parts = scipy.linalg.svd(
            matrix.numpy(), full_matrices=False, lapack_driver="gesvd", check_finite=True
        )
        left, singular, right = (torch.from_numpy(part) for part in parts)
    rank = int((singular > cut * singular[0]).sum())
    return left[:, :rank], singular[:rank], right[:rank].T
