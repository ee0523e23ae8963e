"""Manufactured problems with every kind of condition and equation, for collocation."""

import math

import torch

from sciml import Box, Problem
from sciml.pde.conditions import Dirichlet, Initial, Neumann, Robin
from sciml.pde.jet import FunctionJet
from sciml.pde.manufactured import manufactured
from sciml.pde.points import interior_points

SEED = 3_118_069
LINE = Box(("x",), (-1.0,), (2.0,))
PLANE = Box(("x", "y"), (0.0, -1.0), (2.0, 1.5))
STRIP = Box(("x", "t"), (0.0, 0.0), (1.0, 1.0))
BRICK = Box(("x", "y", "z"), (0.0,) * 3, (1.0, 1.5, 2.0))


def derivative(function, factor=1.0, plus=0.0, **orders):
    """factor · ∂function + plus · function, as the value of a condition."""

    def value(points):
        return factor * FunctionJet(function, points).d(**orders) + plus * function(points)

    return value


def error(problem, solution):
    points = interior_points(problem.domain, 500, torch.Generator().manual_seed(SEED))
    exact = problem.exact(points)
    return float((solution.value(points) - exact).norm() / exact.norm())


def laplace(points, u):
    total = u.d(**{points.axes[0]: 2})
    for axis in points.axes[1:]:
        total = total + u.d(**{axis: 2})
    return total


def wavy(points):
    return torch.sin(2 * points.x + 0.3) * torch.exp(0.5 * points.x * points.y)


def moving(points):
    return torch.sin(3 * points.x) * torch.exp(-points.t) + points.x


def standing(points):
    return torch.sin(3 * points.x + 1) * torch.cos(4 * points.t)


def in_space(function):
    return [Dirichlet("x", "low", function), Dirichlet("x", "high", function)]


def line_with_sides():
    def exact(points):
        return torch.exp(torch.sin(2 * points.x))

    return manufactured(
        LINE,
        lambda p, u: u.d(x=2) + torch.cos(p.x) * u.d(x=1) - 2 * u.value,
        exact,
        conditions=[
            Robin("x", "low", derivative(exact, -1.0, 2.0, x=1), 2.0),
            Neumann("x", "high", derivative(exact, x=1)),
        ],
    )


def plane_with_sides():
    return manufactured(
        PLANE,
        laplace,
        wavy,
        conditions=[
            Dirichlet("x", "low", wavy),
            Neumann("x", "high", derivative(wavy, x=1)),
            Neumann("y", "low", derivative(wavy, -1.0, y=1)),
            Robin("y", "high", derivative(wavy, 1.0, 3.0, y=1), 3.0),
        ],
    )


def mixed_derivatives():
    def operator(p, u):
        bent = (1 + 0.5 * torch.sin(p.x * p.y)) * u.d(x=2) + u.d(y=2)
        return bent + 0.3 * u.d(x=1, y=1) - torch.exp(p.x - p.y) * u.value

    return manufactured(PLANE, operator, wavy)


def disc():
    """u_rr + u_r/r + u_φφ/r² = 0, whose coefficients have no value at r = 0."""
    box = Box(("r", "phi"), (0.0, 0.0), (1.0, 2 * math.pi), (False, True))

    def exact(points):
        return torch.exp(points.r * torch.cos(points.phi))

    def operator(p, u):
        return u.d(r=2) + u.d(r=1) / p.r + u.d(phi=2) / p.r**2

    return manufactured(
        box,
        operator,
        exact,
        conditions=[Dirichlet("r", "low", 1.0), Dirichlet("r", "high", exact)],
    )


def separable_coefficients():
    def operator(p, u):
        along_x = torch.exp(0.3 * p.x) * u.d(x=2) + torch.sin(p.x) * u.d(x=1)
        return along_x + (2 + p.y) * u.d(y=2) - p.y**2 * u.value

    return manufactured(PLANE, operator, wavy)


def periodic_strip():
    box = Box(("x", "y"), (0.0, 0.0), (2 * math.pi, 1.0), (True, False))
    return manufactured(
        box, laplace, lambda p: torch.exp(torch.cos(p.x)) * torch.sin(3 * p.y + 0.2)
    )


def heat():
    return manufactured(
        STRIP,
        lambda p, u: u.d(t=1) - 0.1 * u.d(x=2),
        moving,
        conditions=[Initial("t", moving), *in_space(moving)],
    )


def wave():
    return manufactured(
        STRIP,
        lambda p, u: u.d(t=2) - u.d(x=2),
        standing,
        conditions=[
            Initial("t", standing),
            Initial("t", derivative(standing, t=1), order=1),
            *in_space(standing),
        ],
    )


def burgers():
    return manufactured(
        STRIP,
        lambda p, u: u.d(t=1) + u.value * u.d(x=1) - 0.05 * u.d(x=2),
        moving,
        conditions=[Initial("t", moving), *in_space(moving)],
    )


def beam():
    def exact(points):
        return torch.sin(2 * points.x)

    slopes = [
        Neumann("x", "low", derivative(exact, -1.0, x=1)),
        Neumann("x", "high", derivative(exact, x=1)),
    ]
    return manufactured(
        LINE, lambda p, u: u.d(x=4) + u.value, exact, conditions=[*in_space(exact), *slopes]
    )


def acoustics():
    """u_t + v_x = 0, v_t + u_x = 0, solved by a wave to each side."""

    def right(points):
        return torch.sin(2 * (points.x - points.t))

    def left(points):
        return torch.cos(2 * (points.x + points.t))

    def u(points):
        return right(points) + left(points)

    def v(points):
        return right(points) - left(points)

    return Problem(
        STRIP,
        lambda p, u, v: (u.d(t=1) + v.d(x=1), v.d(t=1) + u.d(x=1)),
        [
            Initial("t", u, field="u"),
            Initial("t", v, field="v"),
            Dirichlet("x", "low", u, field="u"),
            Dirichlet("x", "high", u, field="u"),
        ],
        fields=("u", "v"),
        exact=lambda points: (u(points), v(points)),
    )


def brick():
    return manufactured(
        BRICK,
        lambda p, u: laplace(p, u) - u.value,
        lambda p: torch.exp(0.5 * p.x * p.z) * torch.sin(2 * p.y),
    )


def nonlinear_brick():
    return manufactured(
        BRICK,
        lambda p, u: laplace(p, u) - u.value**3,
        lambda p: torch.exp(0.5 * p.x * p.z) * torch.sin(2 * p.y),
    )
