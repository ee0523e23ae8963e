"""Conditional means of the GP given nodal values, as functions with derivatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.linalg.kronecker import KroneckerOperator
from sciml.models.gp_hm.assembly import cross_matrix
from sciml.models.gp_hm.kernels import MixtureKernel, MixtureParameters
from sciml.pde.jet import MultiIndex
from sciml.pde.problem import Problem
from sciml.solvers.base import Field

_CHUNK_ENTRIES = 4_000_000
"""Numbers held at a time where scattered points meet a grid of nodes."""


@final
@dataclass(frozen=True)
class GridMean:
    """Σ_i α_i Π_k k_k(x_k − x_{k, i_k}), the conditional mean of values on a tensor grid.

    Args:
        kernel: The kernel of every axis.
        mixtures: Its parameters on each axis.
        nodes: Coordinates along each axis.
        weights: α = ⊗ K_k⁻¹ U.
    """

    kernel: MixtureKernel
    mixtures: tuple[MixtureParameters, ...]
    nodes: tuple[Float[Tensor, "_"], ...]
    weights: Float[Tensor, "*space"]

    def on_grid(
        self, lines: Sequence[Float[Tensor, "_"]], index: MultiIndex | None = None
    ) -> Float[Tensor, "*points"]:
        """The derivative of multi-index `index` on the tensor grid of `lines`."""
        orders = (0,) * len(lines) if index is None else index
        return KroneckerOperator(self._crosses(lines, orders)).mv(self.weights)

    def at(self, points: Float[Tensor, "n d"], index: MultiIndex) -> Float[Tensor, " n"]:
        """The derivative of multi-index `index` at scattered points."""
        size = max(1, _CHUNK_ENTRIES // self.weights.numel() * self.weights.shape[0])
        parts = [self._at(chunk, index) for chunk in torch.split(points, size)]
        return torch.cat(parts) if parts else points.new_zeros(0)

    def _at(self, points: Tensor, index: MultiIndex) -> Tensor:
        """One axis after another, each point keeping what is left of the grid."""
        first, *others = self._crosses(points.unbind(-1), index)
        held = (first @ self.weights.reshape(first.shape[1], -1)).reshape(
            len(points), *self.weights.shape[1:]
        )
        for cross in others:
            held = torch.einsum("ni,ni...->n...", cross, held)
        return held

    def _crosses(self, lines: Sequence[Tensor], orders: MultiIndex) -> list[Tensor]:
        axes = zip(self.mixtures, lines, self.nodes, orders, strict=True)
        return [cross_matrix(self.kernel, *axis) for axis in axes]


@final
class GridMeanField(Field):
    """A solution that is a sum of conditional means: one, or two after two stages.

    It has no posterior: the published method estimates nodal values by optimisation, and the
    variance given those values says nothing about their error.

    Args:
        problem: What was solved.
        means: The terms of the sum.
    """

    def __init__(self, problem: Problem, means: Sequence[GridMean]) -> None:
        super().__init__(problem)
        self.means = tuple(means)

    def on_grid(self, lines: Sequence[Float[Tensor, "_"]]) -> Float[Tensor, "*points"]:
        """The solution on the tensor grid of `lines`, by one product an axis."""
        return torch.stack([mean.on_grid(lines) for mean in self.means]).sum(0)

    @override
    def _evaluate(self, points: Tensor, index: MultiIndex) -> Tensor:
        values = torch.stack([mean.at(points, index) for mean in self.means])
        return values.sum(0).unsqueeze(-1)
