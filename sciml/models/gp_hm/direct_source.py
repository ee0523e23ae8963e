"""The right-hand side on two axes as a Gaussian process with a learned, separable spectrum."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.kronecker import kronecker_product
from sciml.linalg.modes import outer_product
from sciml.models.gp_hm.direct_basis import truncated_svd
from sciml.models.gp_hm.direct_evidence import SingularData, smoothed
from sciml.models.gp_hm.model import HarmonicFeatures

_CUT = 1e-12


@final
@dataclass(frozen=True)
class SourceAxis:
    """Functions of one axis that the samples tell apart: singular directions of its features.

    Args:
        features: The weighted features.
        combination: Coefficients of the functions in the features (weights included).
        vectors: Orthonormal vectors along which their samples at the nodes lie.
        singular: Lengths of these samples.
    """

    features: HarmonicFeatures
    combination: Float[Tensor, "columns r"]
    vectors: Float[Tensor, "n r"]
    singular: Float[Tensor, " r"]

    def evaluate(self, points: Float[Tensor, " p"]) -> Float[Tensor, "p r"]:
        """The functions at points of the axis."""
        return self.features.evaluate(points) @ self.combination


@final
@dataclass(frozen=True)
class SourcePosterior:
    r"""f = Σ z_ij h_i(x) h_j(y) with independent Gaussian z, given noisy samples of f.

    Args:
        axes: The functions of each axis.
        mean: Mean of z.
        variance: Variance of z.
        prior_variance: Variance of every z before the samples.
        noise_variance: Variance of the noise of a sample.
        evidence: Logarithm of the density of the samples.
    """

    axes: tuple[SourceAxis, ...]
    mean: Float[Tensor, "*ranks"]
    variance: Float[Tensor, "*ranks"]
    prior_variance: float
    noise_variance: float
    evidence: float

    def on_grid(self, lines: Sequence[Float[Tensor, " _"]]) -> Float[Tensor, "*shape"]:
        """Mean of f on the tensor grid of the lines."""
        factors = [axis.evaluate(line) for axis, line in zip(self.axes, lines, strict=True)]
        return kronecker_product(factors, self.mean)

    def learned(self) -> list[HarmonicFeatures]:
        """The features of each axis with weights learned from the mean."""
        found = []
        for k, axis in enumerate(self.axes):
            # functions of the other axes are orthogonal on the nodes, of length `singular`
            ones = [
                torch.ones_like(other.singular) if j == k else other.singular
                for j, other in enumerate(self.axes)
            ]
            scaled = (self.mean * outer_product(ones)).movedim(k, 0).flatten(1)
            found.append(smoothed(axis.features, axis.combination @ scaled))
        return found


def condition_source(
    features: Sequence[HarmonicFeatures],
    nodes: Sequence[Float[Tensor, " _"]],
    samples: Float[Tensor, "*shape"],
) -> SourcePosterior:
    r"""Posterior of f under a prior with the weights of the features, from samples on a grid.

    The covariance of the samples is :math:`s_p K_1 ⊗ K_2 + s_e I`, diagonal in the singular
    directions of each axis: no matrix of the size of the grid, and no iteration. The two
    variances maximise the evidence.

    Source: Saatçi, Scalable Inference for Structured Gaussian Process Models (2011), §5.2, in
    square-root form.

    Args:
        features: Weighted features of each axis.
        nodes: Nodes of each axis.
        samples: f at the nodes.
    """
    axes = []
    for own, line in zip(features, nodes, strict=True):
        left, singular, right = truncated_svd(own.evaluate(line) * own.scales, _CUT)
        axes.append(SourceAxis(own, own.scales[:, None] * right, left, singular))
    along = kronecker_product([axis.vectors.T for axis in axes], samples)
    lengths = outer_product([axis.singular for axis in axes])
    total, inside = float(samples.square().sum()), float(along.square().sum())
    data = SingularData(
        lengths.square().flatten(),
        along.square().flatten(),
        max(total - inside, 0.0),
        samples.numel(),
    )
    ratio, prior, evidence = data.best()
    filtered = lengths.square() + ratio
    return SourcePosterior(
        tuple(axes),
        lengths / filtered * along,
        prior * ratio / filtered,
        prior,
        ratio * prior,
        evidence,
    )
