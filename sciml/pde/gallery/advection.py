"""Linear advection β u_x + u_t = 0 at high speed."""

from typing import Literal

import torch
from torch import Tensor

from sciml.domain import Box
from sciml.pde.conditions import Condition, Dirichlet, Initial, Side
from sciml.pde.gallery.cases import Case, choose_case, choose_domain
from sciml.pde.jet import Jet
from sciml.pde.manufactured import Solution
from sciml.pde.points import Points
from sciml.pde.problem import Problem


def _travelling_sin(speed: float) -> Solution:
    return lambda points: torch.sin(points.x - speed * points.t)


CASES = {"sin": Case(_travelling_sin, (200.0,), 1.0)}


def advection(
    case: str = "sin",
    *,
    sides: Literal["all", "inflow"] = "all",
    beta: float = 200.0,
    domain: Box | None = None,
) -> Problem:
    """Advection β u_x + u_t = 0 in a rectangle of space and time, from the values on its sides.

    Args:
        case: ``sin`` sin(x − βt).
        sides: "all" gives the values on all four sides, the final time included, as published;
            "inflow" the initial values and the side where the flow enters, which determine the
            solution.
        beta: Speed β, not zero.
        domain: Box of axes x and t; [0, 1]² by default.

    Raises:
        ValueError: If the case or the choice of sides is unknown, the speed is zero, or the box
            has other axes.
    """
    chosen = choose_case("advection", CASES, case)
    if sides not in ("all", "inflow"):
        raise ValueError(
            f"advection: expected sides='all' or 'inflow', got {sides!r}; choose one"
        )
    if beta == 0:
        raise ValueError("advection: expected a speed beta other than 0, got 0; give one")
    exact = chosen.solution(beta)
    inflow: Side = "low" if beta > 0 else "high"
    outflow: Side = "high" if beta > 0 else "low"
    conditions: list[Condition] = [Initial("t", exact), Dirichlet("x", inflow, exact)]
    if sides == "all":
        conditions += [Dirichlet("x", outflow, exact), Dirichlet("t", "high", exact)]

    def residual(points: Points, u: Jet) -> Tensor:
        return beta * u.d(x=1) + u.d(t=1)

    return Problem(
        choose_domain("advection", chosen, ("x", "t"), domain),
        residual,
        conditions,
        exact=exact,
        name=f"advection-{case}",
    )
