"""Linear functionals of the solution that data are given for: what the evidence conditions on.

The equation at grid nodes, conditions on faces and observations are all of one form: a row
``Σ_α c_α ∂^α u(x_i) = y_i``, with noise of a variance that is known or learned.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sciml.models.gp_hm.assembly import uniform_spacing
from sciml.pde.jet import MultiIndex
from sciml.pde.points import Points, face_points
from sciml.pde.problem import Problem
from sciml.solvers.base import Field

_MAX_OPERATOR_ORDER = 2
"""Covariances of two rows need twice as many derivatives, and Matérn-5/2 has four."""

_SAME_NODE = 1e-9
"""Distance, relative to the spacing, below which a coordinate counts as that of a node."""


@final
@dataclass(frozen=True)
class RowGroup:
    """Functionals of one kind, each at a point.

    Args:
        points: Where.
        terms: Coefficients c_α by multi-index, in units that make the values of order 1.
        values: y.
        variance: Known variance of the noise.
        learned: Whether noise of a learned variance comes on top.
    """

    points: Float[Tensor, "n d"]
    terms: Mapping[MultiIndex, Float[Tensor, " n"]]
    values: Float[Tensor, " n"]
    variance: float
    learned: bool

    def __len__(self) -> int:
        return int(self.points.shape[0])


@final
@dataclass(frozen=True)
class AxisCoordinates:
    """The coordinates that occur on one axis: uniform nodes, then all others.

    Args:
        nodes: Uniform nodes.
        others: Coordinates that are not nodes.
    """

    nodes: Float[Tensor, " n"]
    others: Float[Tensor, " m"]

    def locate(self, coordinates: Float[Tensor, " k"]) -> Int[Tensor, " k"]:
        """Index of each coordinate among nodes and others."""
        known = torch.cat([self.nodes, self.others])
        order = known.argsort()
        near = torch.searchsorted(known[order], coordinates.contiguous())
        near = near.clamp(1, len(known) - 1)
        left, right = known[order[near - 1]], known[order[near]]
        return order[near - (coordinates - left < right - coordinates).long()]


def axis_coordinates(
    nodes: Float[Tensor, " n"], coordinates: Float[Tensor, " k"]
) -> AxisCoordinates:
    """The nodes, and of `coordinates` those that are none of them, once each."""
    spacing = uniform_spacing(nodes)
    position = (coordinates - nodes[0]) / spacing
    nearest = position.round()
    is_node = (position - nearest).abs() < _SAME_NODE
    is_node &= (nearest >= 0) & (nearest < len(nodes))
    return AxisCoordinates(nodes, torch.unique(coordinates[~is_node]))


@final
class ProblemRows:
    """The rows of a problem with its equation sampled on a grid.

    Args:
        problem: One equation for one field, of order two at most along each axis.
        nodes: Uniform nodes along each axis.

    Raises:
        ValueError: If the problem is not of that kind.
    """

    def __init__(self, problem: Problem, nodes: list[Tensor]) -> None:
        check_evidence_problem(problem)
        self.problem, self.nodes = problem, nodes
        grid = torch.stack(torch.meshgrid(*nodes, indexing="ij"), dim=-1)
        self.grid = grid.reshape(-1, problem.domain.ndim)
        self.conditions = [*self._face_groups(), *self._observation_groups()]

    def groups(self, field: Field | None = None) -> list[RowGroup]:
        """All rows, with the equation linearised at a field; None linearises at zero."""
        problem = self.problem
        jets = (
            problem.zero_jets(len(self.grid))
            if field is None
            else field.jets(self.grid, problem.needs)
        )
        residual, coefficients = problem.linearise(self.grid, jets)
        terms = coefficients[problem.fields[0]]
        right = sum((c * jets[0].values[index] for index, c in terms.items()), -residual)
        largest = float(right.abs().max())
        # a homogeneous equation is measured by its operator
        scale = largest or max(float(c.abs().max()) for c in terms.values())
        scaled = {index: c / scale for index, c in terms.items() if bool(c.any())}
        equation = RowGroup(self.grid, scaled, right / scale, 0.0, learned=True)
        return [*self.conditions, equation]

    def axes(self) -> list[AxisCoordinates]:
        """The coordinates of all rows, axis by axis."""
        points = torch.cat([self.grid, *(group.points for group in self.conditions)])
        pairs = zip(self.nodes, points.unbind(-1), strict=True)
        return [axis_coordinates(nodes, column) for nodes, column in pairs]

    def _face_groups(self) -> list[RowGroup]:
        """One group a face; points that an earlier face with values holds are left out."""
        domain = self.problem.domain
        groups: list[RowGroup] = []
        held: list[tuple[int, float]] = []
        for condition in self.problem.face_conditions:
            axis = domain.axes.index(condition.axis)
            points = face_points(domain, condition.axis, condition.side, self.nodes)
            if condition.coefficients == {0: 1.0}:
                for other, end in held:
                    gap = (points[:, other] - end).abs()
                    points = points[gap > _SAME_NODE * domain.extent[other]]
                held.append((axis, float(points[0, axis]) if len(points) else math.nan))
            values = condition.values(Points(domain.axes, points))
            terms = {
                tuple(order * (k == axis) for k in range(domain.ndim)): torch.full_like(
                    values, factor
                )
                for order, factor in condition.coefficients.items()
            }
            groups.append(RowGroup(points, terms, values, 0.0, learned=False))
        return groups

    def _observation_groups(self) -> list[RowGroup]:
        zero = (0,) * self.problem.domain.ndim
        return [
            RowGroup(
                observed.points,
                {zero: torch.ones_like(observed.values)},
                observed.values,
                float(observed.noise) ** 2,
                learned=False,
            )
            for observed in self.problem.observations
        ]


def check_evidence_problem(problem: Problem) -> None:
    """Refuse problems that rows cannot express.

    Raises:
        ValueError: If there are several fields or equations, a periodic axis, or a derivative
            of higher order than two along an axis.
    """
    if problem.num_fields != 1 or problem.num_equations != 1:
        raise ValueError(
            "solve_evidence: expected one field and one equation, got "
            f"{problem.num_fields} and {problem.num_equations}; take ChebyshevCollocation for "
            "systems"
        )
    if any(problem.domain.periodic):
        raise ValueError(
            "solve_evidence: expected no periodic axis, got periodic="
            f"{problem.domain.periodic}; take inference='direct'"
        )
    for axis in problem.domain.axes:
        if problem.order(axis) > _MAX_OPERATOR_ORDER:
            raise ValueError(
                "solve_evidence: expected an operator of order at most "
                f"{_MAX_OPERATOR_ORDER} along an axis, got {problem.order(axis)} along "
                f"{axis!r}: covariances of the equation need twice as many derivatives of the "
                "kernel, and Matérn-5/2 bumps have four; take inference='direct'"
            )
