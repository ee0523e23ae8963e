"""Residual norms and boundary misfits are relative and see what is wrong."""

import math

import pytest
import torch

from sciml import Box, Problem
from sciml.pde.conditions import Dirichlet, Neumann
from sciml.pde.points import interior_points
from sciml.solvers.base import Field
from sciml.solvers.misfit import boundary_misfit, residual_norm

BOX = Box(("x", "y"), (0.0, 0.0), (1.0, 2.0))


class Wave(Field):
    """a sin(πx) cos(πy/2)."""

    amplitude = 1.0

    def _evaluate(self, points, index):
        x, y = math.pi * points[:, :1], 0.5 * math.pi * points[:, 1:]
        along_x = math.pi ** index[0] * torch.sin(x + 0.5 * math.pi * index[0])
        along_y = (0.5 * math.pi) ** index[1] * torch.cos(y + 0.5 * math.pi * index[1])
        return self.amplitude * along_x * along_y


def problem(scale=1.0):
    def source(points):
        wave = torch.sin(math.pi * points.x) * torch.cos(0.5 * math.pi * points.y)
        return -1.25 * math.pi**2 * wave

    def bottom(points):
        return scale * torch.sin(math.pi * points.x)

    return Problem(
        BOX,
        lambda p, u: scale * (u.d(x=2) + u.d(y=2) - source(p)),
        [
            Dirichlet("x", "low", 0.0),
            Dirichlet("x", "high", 0.0),
            Dirichlet("y", "low", lambda p: bottom(p) / scale),
            Neumann("y", "high", 0.0),
        ],
    )


def points():
    return interior_points(BOX, 500, torch.Generator().manual_seed(1_802_207))


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_the_solution_has_none(scale):
    field = Wave(problem(scale))
    assert residual_norm(problem(scale), field, points()) < 1e-14
    assert boundary_misfit(problem(scale), field) < 1e-14


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_they_are_relative(scale):
    field = Wave(problem(scale))
    field.amplitude = 1.01
    assert residual_norm(problem(scale), field, points()) == pytest.approx(0.01 / 1.0, rel=0.1)
    # the Dirichlet side of y is missed by 1 %
    assert boundary_misfit(problem(scale), field) == pytest.approx(0.01, rel=0.05)


def test_a_derivative_condition_is_seen():
    field = Wave(problem())
    wrong = Problem(BOX, lambda p, u: u.d(x=2), [Neumann("y", "low", 1.0)])
    assert boundary_misfit(wrong, field) > 0.5
