"""How well a field satisfies its problem: what every solver reports and may select by."""

import math

import torch
from torch import Tensor

from sciml.pde.jet import ArrayJet
from sciml.pde.points import Points, face_points
from sciml.pde.problem import Problem
from sciml.solvers.base import Field

_SIZE_POINTS = 509
"""A prime, so that no regular oscillation is sampled at its zeros only."""


def residual_norm(problem: Problem, field: Field, points: Tensor) -> float:
    """‖residual‖₂ over the 2-norm of the largest of its terms, at given points.

    The terms are the right-hand side (the residual of the zero field) and c_α ∂^α u for each
    derivative α, so that 1 means that nothing is balanced, for zero right-hand sides too.

    Args:
        problem: The problem.
        field: A solution of it, exact or not.
        points: Where, (n, d); not the points at which a collocation method was solved.
    """
    jets = field.jets(points, problem.needs)
    zeros = problem.zero_jets(points.shape[0])
    squares, scales = 0.0, 0.0
    right_hand_sides = problem.residuals(points, zeros)
    for equation, right in enumerate(right_hand_sides):
        residual, coefficients = problem.linearise(points, jets, equation)
        terms = [right] + [
            coefficients[name][index] * jet.values[index]
            for name, jet in zip(problem.fields, jets, strict=True)
            for index in coefficients[name]
        ]
        squares += float(residual.square().sum())
        # a logarithm has no value at the zero field
        scales += max(float(t.square().sum()) for t in terms if bool(t.isfinite().all()))
    return math.sqrt(squares / scales) if scales > 0 else math.sqrt(squares)


def boundary_misfit(problem: Problem, field: Field, points_per_axis: int = 33) -> float:
    """Largest relative 2-norm of the misfit of a face condition, on grids of the faces."""
    domain = problem.domain
    # cell centres: between the nodes that a solver imposes the condition at
    lines = [domain.points_along(k, points_per_axis, "cell") for k in range(domain.ndim)]
    worst = 0.0
    # root mean square of each field; few points could all lie on zeros of an oscillation
    inside = field(_diagonal(problem, _SIZE_POINTS))
    sizes = inside.square().mean(dim=0).sqrt().tolist()
    for condition in problem.face_conditions:
        points = face_points(domain, condition.axis, condition.side, lines)
        k = problem.fields.index(condition.field or problem.fields[0])
        values, scale = {}, float(condition.values(Points(domain.axes, points)).norm())
        for order, factor in condition.coefficients.items():
            index = tuple(order * (axis == condition.axis) for axis in domain.axes)
            values[index] = field.d(points, **{condition.axis: order})[:, k]
            scale = max(scale, abs(factor) * float(values[index].norm()))
        misfit = condition.misfit(Points(domain.axes, points), ArrayJet(domain.axes, values))
        # measured against the whole field where a condition is homogeneous
        scale = max(scale, math.sqrt(points.shape[0]) * sizes[k])
        worst = max(worst, float(misfit.norm()) / scale if scale > 0 else 0.0)
    return worst


def _diagonal(problem: Problem, num_points: int) -> Tensor:
    """Points on the diagonal of the box."""
    lines = [
        problem.domain.points_along(k, num_points, "cell") for k in range(problem.domain.ndim)
    ]
    return torch.stack(lines, dim=-1)
