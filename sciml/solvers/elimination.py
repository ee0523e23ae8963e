"""Face conditions on a spectral axis, by eliminating the nodes at its ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.factorize import lu_solve
from sciml.linalg.modes import mode_product
from sciml.pde.conditions import FaceCondition
from sciml.pde.points import Points, face_points
from sciml.pde.problem import Problem
from sciml.solvers.spectral_axis import SpectralAxis


@final
@dataclass(frozen=True, eq=False)
class Elimination:
    """The conditions B u = g of one field along one axis.

    Every u with B u = g is ``lift @ g + extension @ interior values``.

    Args:
        conditions: The conditions, those at the low end first.
        rows: B, one row per condition.
        lift: Right inverse of B whose columns are polynomials of the lowest degrees.
        extension: Basis of the null space of B, the identity at the nodes that are kept.
        kept: First and one past the last node that is kept.
    """

    conditions: tuple[FaceCondition, ...]
    rows: Float[Tensor, "m n"]
    lift: Float[Tensor, "n m"]
    extension: Float[Tensor, "n interior"]
    kept: tuple[int, int]


def eliminate(axis: SpectralAxis, conditions: Sequence[FaceCondition]) -> Elimination:
    """Eliminate as many nodes at each end of an axis as there are conditions there."""
    low = [condition for condition in conditions if condition.side == "low"]
    high = [condition for condition in conditions if condition.side == "high"]
    count, own = axis.num_nodes, len(low) + len(high)
    rows = torch.zeros(own, count, dtype=torch.float64)
    for row, condition in enumerate((*low, *high)):
        node = 0 if condition.side == "low" else count - 1
        for order, factor in condition.coefficients.items():
            rows[row] += factor * axis.differentiation(order)[node]
    kept = slice(len(low), count - len(high))
    ends = torch.cat([torch.arange(kept.start), torch.arange(kept.stop, count)])
    name = "ChebyshevCollocation: conditions on one axis"
    inverse = lu_solve(name, rows[:, ends], torch.eye(own, dtype=torch.float64))
    extension = torch.zeros(count, count - own, dtype=torch.float64)
    extension[kept] = torch.eye(count - own, dtype=torch.float64)
    extension[ends] = -inverse @ rows[:, kept]
    lift = _smooth_lift(axis, rows)
    return Elimination((*low, *high), rows, lift, extension, (kept.start, kept.stop))


def _smooth_lift(axis: SpectralAxis, rows: Tensor) -> Tensor:
    """Right inverse of the conditions within the polynomials of degree up to their number."""
    middle, half = 0.5 * (axis.low + axis.high), 0.5 * (axis.high - axis.low)
    angles = torch.acos(((axis.nodes - middle) / half).clamp(-1.0, 1.0))
    degrees = torch.arange(rows.shape[0] + 1, dtype=torch.float64)
    polynomials = torch.cos(angles[:, None] * degrees)
    # one degree more than conditions: constants cannot meet a Neumann condition
    lift: Tensor = polynomials @ torch.linalg.pinv(rows @ polynomials)
    return lift


def boundary_field(
    problem: Problem, axes: Sequence[SpectralAxis], eliminations: Sequence[Elimination]
) -> Float[Tensor, "*space"]:
    """A smooth field that satisfies the conditions on all faces.

    The Boolean sum over the axes: each corrects what the earlier ones left, and spoils none of
    their conditions where the data agree at the edges.
    """
    domain = problem.domain
    lines = [axis.nodes for axis in axes]
    shape = [axis.num_nodes for axis in axes]
    field = torch.zeros(shape, dtype=torch.float64)
    for k, own in enumerate(eliminations):
        if not own.conditions:
            continue
        targets = []
        for condition in own.conditions:
            face = Points(
                domain.axes, face_points(domain, condition.axis, condition.side, lines)
            )
            across = shape[:k] + shape[k + 1 :]
            targets.append(condition.values(face).reshape(across))
        trailing = len(axes) - 1 - k
        gap = torch.stack(targets, dim=k) - mode_product(own.rows, field, trailing)
        field = field + mode_product(own.lift, gap, trailing)
    return field
