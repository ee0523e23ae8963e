"""A problem on a spectral tensor grid: residuals at the nodes, and their Jacobian."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.kronecker import kronecker_product
from sciml.linalg.modes import mode_product
from sciml.pde.conditions import FaceCondition
from sciml.pde.jet import ArrayJet, MultiIndex
from sciml.pde.problem import Coefficients, Problem
from sciml.solvers.elimination import Elimination, boundary_field, eliminate
from sciml.solvers.spectral_axis import SpectralAxis

Equation: TypeAlias = tuple[Tensor, Coefficients]
"""Residual at the nodes and its derivative by every jet entry."""

# coefficients that vary less than this along an axis, relatively, do not depend on it
SEPARABLE_TOLERANCE = 1e-12


@final
class Discretisation:
    """Collocation of a problem at the nodes of a tensor grid.

    Unknown are the values of each field at the nodes that its conditions leave; one equation
    in one field is collocated at the same nodes, so that the system is square. Several
    equations are collocated at all nodes and meant in the sense of least squares.

    Args:
        problem: The problem.
        axes: The axes of the grid.
        conditions: The conditions of each field, by axis, as many as the equation needs.
    """

    def __init__(
        self,
        problem: Problem,
        axes: Sequence[SpectralAxis],
        conditions: Mapping[str, Sequence[Sequence[FaceCondition]]],
    ) -> None:
        self.problem, self.axes = problem, tuple(axes)
        self.shape = tuple(axis.num_nodes for axis in axes)
        self.points = torch.cartesian_prod(*(axis.nodes for axis in axes)).reshape(
            -1, len(axes)
        )
        self.eliminations = {
            field: [eliminate(axis, own) for axis, own in zip(axes, each, strict=True)]
            for field, each in conditions.items()
        }
        self.square = problem.num_fields == problem.num_equations == 1

    def start(self) -> Float[Tensor, "num_fields *space"]:
        """Fields that satisfy the conditions."""
        return torch.stack(
            [
                boundary_field(self.problem, self.axes, self.eliminations[field])
                for field in self.problem.fields
            ]
        )

    def equations(self, fields: Float[Tensor, "num_fields *space"]) -> list[Equation]:
        """Every equation, linearised at nodal values."""
        jets = [
            ArrayJet(
                self.problem.domain.axes,
                {
                    index: self.derivative(values, index).flatten()
                    for index in self.problem.needs[field]
                },
            )
            for field, values in zip(self.problem.fields, fields, strict=True)
        ]
        return [
            self.problem.linearise(self.points, jets, number)
            for number in range(self.problem.num_equations)
        ]

    def derivative(
        self, values: Float[Tensor, "*space"], index: MultiIndex
    ) -> Float[Tensor, "*space"]:
        """A partial derivative of nodal values."""
        for k, order in enumerate(index):
            if order:
                matrix = self.axes[k].differentiation(order)
                values = mode_product(matrix, values, len(self.shape) - 1 - k)
        return values

    def collocated(self, residual: Float[Tensor, " n"]) -> Float[Tensor, "*interior"]:
        """The values at the nodes where a single equation is collocated."""
        kept = tuple(slice(*own.kept) for own in self._single)
        return residual.reshape(self.shape)[kept]

    def extend(self, field: str, values: Float[Tensor, "*interior"]) -> Tensor:
        """Nodal values, with homogeneous conditions, of values at the kept nodes."""
        return kronecker_product([own.extension for own in self.eliminations[field]], values)

    def apply(self, coefficients: Coefficients, values: Tensor) -> Tensor:
        """The Jacobian of a single equation times values at the kept nodes."""
        field = self.problem.fields[0]
        nodal = self.extend(field, values)
        total = torch.zeros(self.shape, dtype=torch.float64)
        for index, coefficient in coefficients[field].items():
            total = total + coefficient.reshape(self.shape) * self.derivative(nodal, index)
        return self.collocated(total.flatten())

    def dense(self, equations: Sequence[Equation]) -> Float[Tensor, "rows columns"]:
        """The Jacobian as a matrix: rows by equation and node, columns by field and node."""
        return torch.cat(
            [
                torch.cat(
                    [self._block(field, coefficients[field]) for field in self.problem.fields],
                    dim=1,
                )
                for _, coefficients in equations
            ]
        )

    def _block(self, field: str, coefficients: Mapping[MultiIndex, Tensor]) -> Tensor:
        """The derivative of one equation by one field, as a matrix."""
        own = self.eliminations[field]
        kept = [slice(*each.kept) if self.square else slice(None) for each in own]
        rows = torch.ones(self.shape, dtype=torch.bool)[tuple(kept)].numel()
        columns = math.prod(each.extension.shape[1] for each in own)
        block = torch.zeros(rows, columns, dtype=torch.float64)
        for index, coefficient in coefficients.items():
            factors = [
                (axis.differentiation(order) @ each.extension)[part]
                for axis, order, each, part in zip(self.axes, index, own, kept, strict=True)
            ]
            scale = coefficient.reshape(self.shape)[tuple(kept)].reshape(-1, 1)
            block += scale * _kronecker(factors)
        return block

    def separate(self, coefficients: Coefficients) -> tuple[list[Tensor], bool]:
        """The Jacobian of a single equation as a Kronecker sum, exactly or on average.

        Returns:
            One matrix per axis between values at the kept nodes, of the terms that
            differentiate along that axis, with coefficients averaged over the other axes; and
            whether nothing was lost by that.
        """
        dimension = len(self.shape)
        own = self._single
        kept = [slice(*each.kept) for each in own]
        matrices = [
            torch.zeros(each.extension.shape[1], each.extension.shape[1], dtype=torch.float64)
            for each in own
        ]
        exact = True
        for index, coefficient in coefficients[self.problem.fields[0]].items():
            along = [k for k, order in enumerate(index) if order]
            grid = self.collocated(coefficient)
            if len(along) > 1:
                exact = exact and not bool(grid.any())
                continue
            k = along[0] if along else _axis_of_dependence(grid)
            others = [j for j in range(dimension) if j != k]
            line = grid.mean(others) if others else grid
            shown = line.reshape([-1 if j == k else 1 for j in range(dimension)])
            spread = float((grid - shown).abs().max())
            exact = exact and spread <= SEPARABLE_TOLERANCE * float(grid.abs().max())
            derivative = self.axes[k].differentiation(index[k]) @ own[k].extension
            matrices[k] += line[:, None] * derivative[kept[k]]
        return matrices, exact

    def split(self, values: Float[Tensor, " unknowns"]) -> Float[Tensor, "num_fields *space"]:
        """Nodal values of a vector of all unknowns, with homogeneous conditions."""
        sizes = {
            field: [each.extension.shape[1] for each in own]
            for field, own in self.eliminations.items()
        }
        counts = [math.prod(sizes[field]) for field in self.problem.fields]
        parts = torch.split(values, counts)
        return torch.stack(
            [
                self.extend(field, part.reshape(sizes[field]))
                for field, part in zip(self.problem.fields, parts, strict=True)
            ]
        )

    @property
    def _single(self) -> list[Elimination]:
        return self.eliminations[self.problem.fields[0]]


def _axis_of_dependence(grid: Tensor) -> int:
    """The axis along which a grid varies most: constants and functions of one axis separate."""
    spreads = [float((grid.amax(k) - grid.amin(k)).max()) for k in range(grid.ndim)]
    return max(range(grid.ndim), key=spreads.__getitem__)


def _kronecker(factors: Sequence[Tensor]) -> Tensor:
    matrix = factors[0]
    for factor in factors[1:]:
        matrix = torch.kron(matrix, factor)
    return matrix
