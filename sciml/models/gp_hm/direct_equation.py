"""Equations whose derivatives act along one axis each, with constant coefficients."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.domain import Box
from sciml.pde.conditions import FaceCondition
from sciml.pde.jet import ArrayJet, MultiIndex
from sciml.pde.points import Points, face_points, interior_points
from sciml.pde.problem import Problem

_PROBE_SEED = 9_176_353
_PROBE_POINTS = 64
_CONSTANT_TOLERANCE = 1e-10  # spread of a coefficient, relative to its largest value


@final
@dataclass(frozen=True, eq=False)
class SeparableEquation:
    """Σ_k Σ_i c_{k,i} ∂_kⁱ u + N(x, u) = 0, with conditions on the ends of the axes.

    N holds the right-hand side, a reaction and any nonlinearity in the value of u.

    Args:
        problem: Where it comes from.
        coefficients: c_{k,i} by order i ≥ 1, one mapping per axis.
        ends: The face conditions, sorted by axis.
        varying: Whether the coefficients vary in space; c_{k,i} are then their means.
    """

    problem: Problem
    coefficients: tuple[dict[int, float], ...]
    ends: tuple[tuple[FaceCondition, ...], ...]
    varying: bool = False

    @property
    def domain(self) -> Box:
        """The box of the problem."""
        return self.problem.domain

    @property
    def order(self) -> int:
        """Highest derivative."""
        return max((order for axis in self.coefficients for order in axis), default=0)

    def position(self, condition: FaceCondition) -> Float[Tensor, " 1"]:
        """Coordinate of the face of a condition."""
        k = self.domain.axes.index(condition.axis)
        end = self.domain.low[k] if condition.side == "low" else self.domain.high[k]
        return torch.tensor([end], dtype=torch.float64)

    def sample(self, lines: Sequence[Float[Tensor, " _"]]) -> "Samples":
        """The equation at the points of a tensor grid."""
        return Samples(self, lines)


@final
class Samples:
    """N(x, u) of an equation at the points of a tensor grid.

    For a linear equation N is sampled once, N = r₀ + c u; otherwise at every call.

    Args:
        equation: The equation.
        lines: Coordinates along each axis.
    """

    def __init__(
        self, equation: SeparableEquation, lines: Sequence[Float[Tensor, " _"]]
    ) -> None:
        self.equation, self.lines = equation, tuple(lines)
        self.shape = tuple(line.numel() for line in lines)
        grid = torch.meshgrid(*lines, indexing="ij")
        self.points = torch.stack(grid, dim=-1).reshape(-1, len(lines))
        zero = torch.zeros(self.shape, dtype=torch.float64)
        self.offset, reaction, self._rates = self._linearise(zero)
        self.reaction = reaction
        self._faces: dict[FaceCondition, Tensor] = {}
        self._linear = equation.problem.linear
        self._constant = float(reaction.mean())
        # a constant reaction needs no field of its own
        spread = float((reaction - self._constant).abs().max())
        self._varying = None if spread <= _CONSTANT_TOLERANCE else reaction

    def remainder(
        self, value: Float[Tensor, "*shape"]
    ) -> tuple[Float[Tensor, "*shape"], float]:
        """N(x, u) and the mean of its derivative by u."""
        if not self._linear:
            remainder, reaction, _ = self._linearise(value)
            return remainder, float(reaction.mean())
        if self._varying is not None:
            return self.offset + self._varying * value, self._constant
        if self._constant != 0.0:
            return self.offset + self._constant * value, self._constant
        return self.offset, 0.0

    def with_offset(self, offset: Float[Tensor, "*shape"]) -> "Samples":
        """The same equation with another N(x, 0); what the faces ask for is shared."""
        other = copy(self)
        other.offset = offset
        return other

    def face(self, condition: FaceCondition) -> Float[Tensor, "*face"]:
        """Data of a condition on the grid of its face."""
        if condition not in self._faces:
            domain = self.equation.domain
            points = face_points(domain, condition.axis, condition.side, self.lines)
            values = condition.values(Points(domain.axes, points))
            k = domain.axes.index(condition.axis)
            shape = [n for j, n in enumerate(self.shape) if j != k]
            self._faces[condition] = values.reshape(shape)
        return self._faces[condition]

    def derivative(self, index: MultiIndex) -> Float[Tensor, "*shape"]:
        """Coefficient of one derivative of a linear equation, zero where it has none."""
        rate = self._rates.get(index)
        return torch.zeros_like(self.offset) if rate is None else rate.reshape(self.shape)

    def _linearise(self, value: Tensor) -> tuple[Tensor, Tensor, Mapping[MultiIndex, Tensor]]:
        """N, its derivative by u, and those by the derivatives of u, all of which are zero."""
        problem = self.equation.problem
        (field,) = problem.fields
        zero = (0,) * len(self.shape)
        values = dict(problem.zero_jets(self.points.shape[0])[0].values)
        values[zero] = value.reshape(-1)
        jet = ArrayJet(problem.domain.axes, values)
        residual, coefficients = problem.linearise(self.points, [jet])
        reaction = coefficients[field].get(zero)
        if reaction is None:
            reaction = torch.zeros_like(residual)
        rates = coefficients[field]
        return residual.reshape(self.shape), reaction.reshape(self.shape), rates


def separable_equation(problem: Problem) -> SeparableEquation:
    """Read the coefficients of a problem off its residual.

    Raises:
        ValueError: If the problem has several fields, mixed derivatives, or derivatives
            with coefficients that vary with the solution.
    """
    if problem.num_fields != 1 or problem.num_equations != 1:
        raise ValueError(
            f"GPHMSolver: expected one field and one equation, got fields {problem.fields} and "
            f"{problem.num_equations} equations; eliminate the others"
        )
    coefficients: list[dict[int, float]] = [{} for _ in problem.domain.axes]
    varying = False
    for index, values in _probe(problem).items():
        axes = [k for k, order in enumerate(index) if order]
        if not axes:
            continue
        named = dict(zip(problem.domain.axes, index, strict=True))
        if len(axes) > 1:
            raise ValueError(
                f"GPHMSolver: expected derivatives along one axis each, got the mixed one "
                f"{named}; rotate the coordinates, or use ChebyshevCollocation"
            )
        largest = float(values.abs().max())
        mean = float(values.mean())
        if float((values - mean).abs().max()) > _CONSTANT_TOLERANCE * largest:
            if not problem.linear:
                raise ValueError(
                    "GPHMSolver: expected constant coefficients of derivatives in a nonlinear "
                    f"equation in more than one dimension, got between "
                    f"{float(values.min()):.3g} and {float(values.max()):.3g} for {named}; use "
                    "ChebyshevCollocation"
                )
            varying = True
        coefficients[axes[0]][index[axes[0]]] = mean
    ends = tuple(
        tuple(c for c in problem.face_conditions if c.axis == axis)
        for axis in problem.domain.axes
    )
    return SeparableEquation(problem, tuple(coefficients), ends, varying)


def _probe(problem: Problem) -> dict[MultiIndex, Tensor]:
    """Coefficients of the linearised residual at random points and two random jets."""
    generator = torch.Generator().manual_seed(_PROBE_SEED)
    points = interior_points(problem.domain, _PROBE_POINTS, generator)
    (field,) = problem.fields
    found: dict[MultiIndex, list[Tensor]] = {index: [] for index in problem.needs[field]}
    for _ in range(2):
        values = {
            index: torch.randn(_PROBE_POINTS, dtype=torch.float64, generator=generator)
            for index in found
        }
        _, rates = problem.linearise(points, [ArrayJet(problem.domain.axes, values)])
        for index, rate in rates[field].items():
            found[index].append(rate)
    return {index: torch.cat(rates) for index, rates in found.items()}
