"""Problems that leave a constant free, and what their data have to satisfy."""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.domain import Box
from sciml.pde.conditions import FaceCondition
from sciml.pde.points import Points, face_points, interior_points
from sciml.pde.problem import Problem
from sciml.pde.quadrature import antiderivative, panel_rule

NUM_PROBES, PROBE_SEED = 256, 9_176_051
# of the sizes of both integrals; a contradiction is left in the residual of the solution
TOLERANCE = 1e-6
_BLOCK = 1 << 18  # points of the box held at once


def constant_is_free(problem: Problem) -> bool:
    """Whether constants may be added to the solutions of a linear equation for one field.

    So it is where neither the equation nor a condition on a face has the value itself:
    derivatives on all sides, or periodic ones. Observations are not looked at.
    """
    if not problem.linear or problem.num_fields > 1 or problem.num_equations > 1:
        return False
    if any(condition.coefficients.get(0) for condition in problem.face_conditions):
        return False
    generator = torch.Generator().manual_seed(PROBE_SEED)
    points = interior_points(problem.domain, NUM_PROBES, generator)
    _, rates = problem.linearise(points, problem.zero_jets(NUM_PROBES))
    reaction = rates[problem.fields[0]].get((0,) * problem.domain.ndim)
    return reaction is None or not bool(reaction.any())


def check_compatible(problem: Problem, resolution: Sequence[int]) -> None:
    r"""Refuse derivatives on all sides that contradict the right-hand side.

    With :math:`Σ_k ∂_k(a_k ∂_k u) = f` and ∂u/∂n = g on the sides that are not periodic,
    :math:`∫ f = Σ_k ∮ a_k g`. On one axis a u″ + b u′ = f takes this form with the factor
    :math:`\exp(∫ b/a) / a`, scaled to one at the low end; on several axes the equation must
    have it. Nothing is refused where a side that is not periodic has no condition: it lets
    any flux through.

    Args:
        problem: A problem that leaves a constant free (`constant_is_free`).
        resolution: Uniform nodes of each axis that resolve the right-hand side.

    Raises:
        ValueError: Naming both integrals.
    """
    if not is_closed(problem):
        return
    if problem.domain.ndim == 1:
        integrals = _line_integrals(problem, resolution[0])
    else:
        integrals = _box_integrals(problem, resolution)
    if integrals is None:
        return
    source, flux, size = integrals
    if not abs(source - flux) <= TOLERANCE * size:
        if not problem.face_conditions:
            raise ValueError(
                "solve: expected a right-hand side whose integral over a periodic box is 0, "
                f"got {source:.6g}; subtract its mean, there is no solution otherwise"
            )
        raise ValueError(
            "solve: expected a right-hand side whose integral is the flux through the sides, "
            f"got {source:.6g} where the derivatives on the sides give {flux:.6g}; correct one "
            "of them, or give a value on a side, there is no solution otherwise"
        )


def is_closed(problem: Problem) -> bool:
    """Whether every side has a condition or is periodic."""
    given = {(condition.axis, condition.side) for condition in problem.face_conditions}
    open_axes = problem.domain.periodic.count(False)
    return len(given) == 2 * open_axes


def _box_integrals(problem: Problem, resolution: Sequence[int]) -> tuple[float, float, float]:
    """∫ f, Σ ∮ a g and the size of both, by quadrature on panels."""
    domain = problem.domain
    rules = [
        panel_rule(low, extent, 2 * count)
        for low, extent, count in zip(domain.low, domain.extent, resolution, strict=True)
    ]
    source, size = 0.0, 0.0
    for points, weights in _blocks(domain, rules):
        (residual,) = problem.residuals(points, problem.zero_jets(points.shape[0]))
        source -= float(weights @ residual)
        size += float(weights @ residual.abs())
    flux = 0.0
    lines = [line for line, _ in rules]
    for condition in problem.face_conditions:
        k = domain.axes.index(condition.axis)
        points = face_points(domain, condition.axis, condition.side, lines)
        others = _outer([weights for j, (_, weights) in enumerate(rules) if j != k])
        density = others * _second(problem, points, k) * _outward(condition, points, domain)
        flux += float(density.sum())
        size += float(density.abs().sum())
    return source, flux, size


def _line_integrals(problem: Problem, count: int) -> tuple[float, float, float] | None:
    """∫ p f / a, p g at both ends and the size of both; None where no factor p is known."""
    domain = problem.domain
    extent = domain.extent[0]
    nodes, weights = panel_rule(domain.low[0], extent, 2 * count)
    points = nodes[:, None]
    residual, coefficients = problem.linearise(points, problem.zero_jets(nodes.numel()))
    rates = coefficients[problem.fields[0]]
    constant = all(float(rate.max() - rate.min()) == 0.0 for rate in rates.values())
    if domain.periodic[0] and constant:
        return float(-weights @ residual), 0.0, float(weights @ residual.abs())
    if max(order for (order,) in rates) != 2:
        return None
    second = rates[(2,)]
    ends = torch.tensor([[domain.low[0]], [domain.low[0] + extent]], dtype=torch.float64)
    first = _second(problem, ends[:1], 0)
    exponent, total = antiderivative(rates.get((1,), torch.zeros_like(second)) / second, extent)
    factor = float(first) * exponent.exp() / second
    # around a period the factor has to come back to where it began
    closed = not domain.periodic[0] or abs(total) <= TOLERANCE
    if not (closed and math.isfinite(total) and bool(factor.isfinite().all())):
        return None
    density = weights * factor * residual
    flux, size = 0.0, float(density.abs().sum())
    for condition in problem.face_conditions:
        high = condition.side == "high"
        end = ends[1:] if high else ends[:1]
        leaves = float(first * _outward(condition, end, domain)) * math.exp(high * total)
        flux, size = flux + leaves, size + abs(leaves)
    return -float(density.sum()), flux, size


def _outward(condition: FaceCondition, points: Tensor, domain: Box) -> Tensor:
    """∂u/∂n: the factor of a derivative condition is ±1, the direction of the normal."""
    sign = 1.0 if condition.side == "high" else -1.0
    return condition.values(Points(domain.axes, points)) * sign / condition.coefficients[1]


def _second(problem: Problem, points: Tensor, k: int) -> Float[Tensor, " n"]:
    """Coefficient of the second derivative along axis k."""
    _, rates = problem.linearise(points, problem.zero_jets(points.shape[0]))
    index = tuple(2 * (j == k) for j in range(problem.domain.ndim))
    return rates[problem.fields[0]][index]


def _blocks(
    domain: Box, rules: Sequence[tuple[Tensor, Tensor]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Points of the tensor rule and their weights, some hyperplanes at a time."""
    lines, weights = zip(*rules, strict=True)
    across = math.prod(line.numel() for line in lines[1:])
    size = max(1, _BLOCK // across)
    for line, own in zip(lines[0].split(size), weights[0].split(size), strict=True):
        grid = torch.meshgrid(line, *lines[1:], indexing="ij")
        yield (
            torch.stack(grid, dim=-1).reshape(-1, domain.ndim),
            _outer([own, *weights[1:]]),
        )


def _outer(factors: Sequence[Tensor]) -> Tensor:
    """Products of one number of each factor, in C order."""
    total = torch.ones(1, dtype=torch.float64)
    for factor in factors:
        total = (total[:, None] * factor).flatten()
    return total
