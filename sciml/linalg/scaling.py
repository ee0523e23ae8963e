"""Solves of right-hand sides whose squares would overflow or vanish."""

import dataclasses
import math

import torch
from torch import Tensor

from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSolver
from sciml.solution import Solution, Status


def solve_scaled(
    solver: LinearSolver,
    operator: LinearOperator,
    b: Tensor,
    start: Tensor | None,
    preconditioner: LinearOperator | None,
) -> Solution[Tensor]:
    """`solver.solve`, on b over a power of two where ‖b‖ cannot be computed in its precision.

    A norm squares the entries, so that it is infinite or zero for b of 1e200 or 1e-200 (in
    float32 of 1e20 or 1e-25) although A x = b is harmless. Scaling by powers of two is exact.
    Right-hand sides are scaled one by one, all alike where an absolute tolerance compares them.
    A solution that leaves the range of its precision when it is scaled back is NONFINITE.
    """
    axes = tuple(range(-len(operator.out_shape), 0))
    scale = _scale(b, axes, together=solver.atol > 0)
    if scale is None:
        return solver.solve(operator, b, x0=start, preconditioner=preconditioner)
    if solver.atol > 0:
        solver = dataclasses.replace(solver, atol=solver.atol / float(scale.max()))
    solution = solver.solve(
        operator,
        b / scale,
        x0=None if start is None else start / scale,
        preconditioner=preconditioner,
    )
    own, value = scale.squeeze(axes), solution.value * scale
    stats = dict(solution.stats)
    for name in {"residual_norm", "tolerance"} & stats.keys():
        stats[name] = stats[name] * own
    overflown = solution.converged & ~torch.isfinite(value).flatten(-len(axes)).all(-1)
    return dataclasses.replace(
        solution,
        value=value,
        status=Status.NONFINITE if bool(overflown.any()) else solution.status,
        converged=solution.converged & ~overflown,
        history=solution.history * own,
        stats=stats,
    )


def _scale(b: Tensor, axes: tuple[int, ...], *, together: bool) -> Tensor | None:
    """A power of two near the largest entry of each field; None where none is needed."""
    limits = torch.finfo(b.dtype)
    largest = b.detach().abs().amax(axes, keepdim=True)
    # entries of a millionth of the largest one still count in the norm
    low, high = limits.tiny**0.5 * 1e6, limits.max**0.5 * 1e-6
    if bool(((largest == 0) | ((largest > low) & (largest < high))).all()):
        return None
    if together:
        largest = largest.max().expand_as(largest)
    # no smaller than the least normal number: the reciprocals of others overflow
    exponent = (torch.frexp(largest).exponent - 1).clamp(min=math.frexp(limits.tiny)[1])
    return torch.where(largest == 0, 1.0, torch.exp2(exponent.to(b.dtype)))
