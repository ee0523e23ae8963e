"""What the direct solver finds: a sum of products of harmonic features."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.models.gp_hm.model import HarmonicFeatures
from sciml.pde.jet import MultiIndex
from sciml.pde.problem import Problem


class HarmonicSolution(ABC):
    """A sum of products of harmonic features, one factor per axis.

    Attributes:
        steps: Size of each Newton step relative to the solution.
        linear_steps: Steps of an iterative linear solver, where there is one.
        detail: Why the solve did not converge, empty where it did.
    """

    steps: tuple[float, ...]
    linear_steps: int = 0
    detail: str = ""

    @property
    @abstractmethod
    def all_features(self) -> tuple[HarmonicFeatures, ...]:
        """Features of each axis."""

    @abstractmethod
    def on_grid(
        self, lines: Sequence[Float[Tensor, " _"]], orders: Sequence[int]
    ) -> Float[Tensor, "*shape"]:
        """Mixed derivative on the tensor grid of the given lines."""

    @abstractmethod
    def evaluate(self, points: Float[Tensor, "n d"], orders: MultiIndex) -> Float[Tensor, " n"]:
        """Mixed derivative at scattered points."""

    @abstractmethod
    def centred(self) -> "HarmonicSolution":
        """The solution minus its mean over the box."""

    @abstractmethod
    def feature_coefficients(self, axis: int) -> Float[Tensor, "columns others"]:
        """Coefficients of the features of one axis; columns are orthonormal in the others."""


def learned_spectrum(
    problem: Problem, solution: HarmonicSolution
) -> Mapping[str, Mapping[str, Float[Tensor, " m"]]]:
    """Frequency (cycles per unit length) and weight, largest 1, of every line by axis."""
    spectrum = {}
    for k, (axis, features) in enumerate(
        zip(problem.domain.axes, solution.all_features, strict=True)
    ):
        size = features.energy(solution.feature_coefficients(k))
        order = torch.argsort(features.omega, stable=True)
        largest = size.max().clamp_min(torch.finfo(torch.float64).tiny)
        spectrum[axis] = {
            "frequency": features.omega[order] / (2.0 * math.pi),
            "weight": size[order] / largest,
        }
    return spectrum
