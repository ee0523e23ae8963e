"""Conditions that a collocation method can impose: per axis, as many as the order there."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml.pde.compatibility import constant_is_free
from sciml.pde.conditions import FaceCondition, Initial
from sciml.pde.points import interior_points
from sciml.pde.problem import Coefficients, Problem

NUM_PROBES = 256
PROBE_SEED = 9_176_051


def check_supported(problem: Problem) -> None:
    """Refuse problems that are no square or overdetermined systems on a tensor grid.

    Raises:
        ValueError: In words.
    """
    if problem.domain.ndim > 3:
        raise ValueError(
            f"ChebyshevCollocation: expected 1, 2 or 3 axes, got {problem.domain.ndim}; fix "
            "some of them, or take a solver without tensor grids"
        )
    if problem.observations:
        raise ValueError(
            "ChebyshevCollocation: expected conditions on faces, got Observations; a "
            "collocation method imposes conditions exactly, take GPHMSolver for noisy data"
        )
    if problem.num_equations < problem.num_fields:
        raise ValueError(
            f"ChebyshevCollocation: expected at least one equation per field, got "
            f"{problem.num_equations} for {problem.fields}; return a tuple of residuals"
        )


def check_determined(problem: Problem) -> None:
    """Refuse a single linear equation to whose solutions constants may be added.

    Raises:
        ValueError: In words.
    """
    if constant_is_free(problem):
        raise ValueError(
            "ChebyshevCollocation: expected a problem with one solution, got one that fixes "
            "derivatives only, so that a constant may be added; prescribe the value on a "
            "side, or take GPHMSolver, which gives the solution whose mean is zero"
        )


def needed_conditions(problem: Problem) -> dict[str, list[list[FaceCondition]]]:
    """The conditions of each field by axis; of too many, those where characteristics enter.

    Raises:
        ValueError: If conditions are missing, or there are more than the order of the equation
            along an axis and no rule says which to drop.
    """
    chosen: dict[str, list[list[FaceCondition]]] = {}
    for field in problem.fields:
        chosen[field] = []
        for axis in problem.domain.axes:
            own = [c for c in problem.face_conditions if (c.field, c.axis) == (field, axis)]
            chosen[field].append(_fitting(problem, field, axis, own))
    return chosen


def _fitting(
    problem: Problem, field: str, axis: str, own: Sequence[FaceCondition]
) -> list[FaceCondition]:
    order = problem.order(axis, field)
    periodic = problem.domain.periodic[problem.domain.axes.index(axis)]
    # systems are solved by least squares, which needs no count per field
    if len(own) == order or periodic or problem.num_fields > 1:
        return list(own)
    if len(own) > order == 1:
        return [_entering(problem, field, axis, own)]
    listed = ", ".join(map(str, own)) or "none"
    raise ValueError(
        f"ChebyshevCollocation: expected {order} conditions on axis {axis!r}, along which the "
        f"equation is of order {order}, got {listed}; give as many as the order"
    )


def _entering(
    problem: Problem, field: str, axis: str, own: Sequence[FaceCondition]
) -> FaceCondition:
    """The condition at the end where the characteristics of a first-order axis enter."""
    initial = [condition for condition in own if isinstance(condition, Initial)]
    if initial:
        return initial[0]
    times = {c.axis for c in problem.face_conditions if isinstance(c, Initial)}
    rates = {name: _rate(problem, field, name) for name in (axis, *times)}
    # time runs forwards, whatever sign the equation is written with
    forwards = rates[axis] * (rates[next(iter(times))] if times else 1.0)
    side = "low" if forwards > 0 else "high"
    matching = [condition for condition in own if condition.side == side]
    if not forwards or not matching:
        raise ValueError(
            f"ChebyshevCollocation: expected one condition on axis {axis!r}, where the flow "
            f"enters, got {', '.join(map(str, own))}; leave out the one where it leaves"
        )
    return matching[0]


def _linearised(problem: Problem) -> tuple[Tensor, Coefficients]:
    """The first equation at the zero field, at points inside the box."""
    generator = torch.Generator().manual_seed(PROBE_SEED)
    points = interior_points(problem.domain, NUM_PROBES, generator)
    return problem.linearise(points, problem.zero_jets(NUM_PROBES))


def _rate(problem: Problem, field: str, axis: str) -> float:
    """The sign of the coefficient of a first derivative, 0 where it changes in the box."""
    _, coefficients = _linearised(problem)
    index = tuple(int(name == axis) for name in problem.domain.axes)
    signs = coefficients[field].get(index, torch.zeros(1)).sign()
    return float(signs[0]) if bool((signs == signs[0]).all()) else 0.0
