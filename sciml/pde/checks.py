"""What has to hold before a problem is handed to a solver."""

from itertools import combinations

import torch
from torch import Tensor

from sciml.pde.conditions import FaceCondition, Initial
from sciml.pde.jet import ArrayJet
from sciml.pde.points import Points, face_points, interior_points
from sciml.pde.problem import Problem

NUM_PROBES = 2048
PROBE_SEED = 5_901_347
POINTS_PER_EDGE = 17
# data that come from one function agree to rounding, also where arguments are in the hundreds
CORNER_TOLERANCE = 1e-8


def check_problem(problem: Problem) -> None:
    """Refuse a problem whose solution cannot be unique, finite and continuous.

    Raises:
        ValueError: If an axis has fewer conditions than the order of its derivatives, the
            residual is not finite at points of the box, or values prescribed on two faces
            differ where the faces meet.
        TypeError: If the residual is not of float64.
    """
    # observations may stand in for conditions: that is what inverse problems are
    if not problem.observations:
        for axis, periodic in zip(problem.domain.axes, problem.domain.periodic, strict=True):
            if not periodic:
                _check_count(problem, axis)
    _check_finite(problem)
    prescribed = [c for c in problem.face_conditions if tuple(c.coefficients) == (0,)]
    for first, second in combinations(prescribed, 2):
        if first.field == second.field and first.axis != second.axis:
            _check_corner(problem, first, second)


def _check_count(problem: Problem, axis: str) -> None:
    order = problem.order(axis)
    own = [condition for condition in problem.face_conditions if condition.axis == axis]
    if len(own) >= order:
        return
    given = ", ".join(map(str, own)) or "none"
    if order == 2 and len(own) == 1 and isinstance(own[0], Initial):
        remedy = f"add the initial velocity, Initial({axis!r}, value, order=1)"
    else:
        remedy = f"add Dirichlet, Neumann or Robin sides, Initial values, or Periodic({axis!r})"
    raise ValueError(
        f"solve: expected at least {order} conditions on axis {axis!r}, along which the "
        f"equation is of order {order}, got {given}; {remedy}"
    )


def _check_finite(problem: Problem) -> None:
    """Non-finite for zero, positive and negative jets alike: not the doing of the solution."""
    generator = torch.Generator().manual_seed(PROBE_SEED)
    points = interior_points(problem.domain, NUM_PROBES, generator)
    finite = torch.zeros(NUM_PROBES, dtype=torch.bool)
    for value in (0.0, 1.0, -1.0):
        jets = [
            ArrayJet(jet.axes, {index: zero + value for index, zero in jet.values.items()})
            for jet in problem.zero_jets(NUM_PROBES)
        ]
        residuals = problem.residuals(points, jets)
        for residual in residuals:
            if residual.dtype != torch.float64:
                raise TypeError(
                    f"solve: expected a residual in torch.float64, got {residual.dtype}; "
                    "equations are real and solved in double precision, convert with .double()"
                )
        equations = torch.stack(residuals)
        finite |= torch.isfinite(equations).all(0)
    if not bool(finite.all()):
        where = [round(x, 6) for x in points[~finite][0].tolist()]
        raise ValueError(
            f"solve: expected a finite residual, got NaN or infinity at "
            f"{int((~finite).sum())} of {NUM_PROBES} points of the box, one of them "
            f"{dict(zip(problem.domain.axes, where, strict=True))}; check the right-hand side "
            "and the coefficients there"
        )


def _check_corner(problem: Problem, first: FaceCondition, second: FaceCondition) -> None:
    domain = problem.domain
    lines = [domain.points_along(k, POINTS_PER_EDGE) for k in range(domain.ndim)]
    faces = [face_points(domain, c.axis, c.side, lines) for c in (first, second)]
    pairs = zip((first, second), faces, strict=True)
    scale = max(_largest(c.values(Points(domain.axes, face))) for c, face in pairs)
    k = domain.axes.index(second.axis)
    lines[k] = face_points(domain, second.axis, second.side, lines)[:1, k]
    edge = Points(domain.axes, face_points(domain, first.axis, first.side, lines))
    here, there = first.values(edge), second.values(edge)
    gap = (here - there).abs()
    if float(gap.max()) > CORNER_TOLERANCE * scale:
        worst = int(gap.argmax())
        raise ValueError(
            f"solve: expected conditions that agree where faces meet, got {first} = "
            f"{float(here[worst]):.6g} and {second} = {float(there[worst]):.6g} at "
            f"{edge.coordinates[worst].tolist()}; correct one of them, or smooth the jump"
        )


def _largest(values: Tensor) -> float:
    return float(values.abs().max())
