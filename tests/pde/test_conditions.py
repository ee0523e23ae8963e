"""Conditions: values, outward normals, misfits, refusals."""

import pytest
import torch

from sciml.pde.conditions import Dirichlet, Initial, Neumann, Observations, Robin
from sciml.pde.jet import FunctionJet
from sciml.pde.points import Points

AXES = ("x", "t")
LOW = Points(AXES, torch.tensor([[0.0, 0.3], [0.0, 0.9]], dtype=torch.float64))
HIGH = Points(AXES, torch.tensor([[2.0, 0.3], [2.0, 0.9]], dtype=torch.float64))


def quadratic(points):
    return points.x**2 + 3 * points.x + points.t


@pytest.mark.parametrize(
    ("condition", "points", "left"),
    [
        (Dirichlet("x", "low", 0.5), LOW, lambda t: t),
        (Dirichlet("x", "high", 0.5), HIGH, lambda t: 10 + t),
        (Neumann("x", "low", 0.5), LOW, lambda t: -3 + 0 * t),
        (Neumann("x", "high", 0.5), HIGH, lambda t: 7 + 0 * t),
        (Robin("x", "low", 0.5, 4.0), LOW, lambda t: -3 + 4 * t),
        (Robin("x", "high", 0.5, 4.0), HIGH, lambda t: 7 + 4 * (10 + t)),
        (Initial("t", 0.5), LOW, lambda t: t),
        (Initial("t", 0.5, order=1), LOW, lambda t: 1 + 0 * t),
    ],
)
def test_misfits_take_the_outward_normal(condition, points, left):
    misfit = condition.misfit(points, FunctionJet(quadratic, points))
    torch.testing.assert_close(misfit, left(points.t) - 0.5)


def test_values_are_numbers_or_functions():
    assert Dirichlet("x", "low", 2.0).values(LOW).tolist() == [2.0, 2.0]
    assert Dirichlet("x", "low", lambda points: 2 * points.t).values(LOW).tolist() == [0.6, 1.8]


def test_bad_values_are_named():
    with pytest.raises(ValueError, match=r"Dirichlet\('x', 'low'\): expected a value of shape"):
        Dirichlet("x", "low", lambda points: torch.ones(3)).values(LOW)
    with pytest.raises(ValueError, match=r"Initial\('t', order=1\): expected finite values"):
        Initial("t", float("nan"), order=1).values(LOW)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"Initial: expected order 0 \(value\) or 1"):
        Initial("t", 0.0, order=2)
    points, values = torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="expected a standard deviation of at least 0, got -1"):
        Observations(points, values, -1.0)
    with pytest.raises(ValueError, match="expected one value per point, got 2 values at 3"):
        Observations(points, values[:2], 0.1)
    with pytest.raises(ValueError, match="expected finite points and values"):
        Observations(points, values * torch.nan, 0.1)


@pytest.mark.parametrize("kind", [Dirichlet, Neumann])
def test_sides_are_low_and_high(kind):
    # refused by the shape-checking hook here, by the class itself outside of tests
    with pytest.raises((ValueError, TypeError)):
        kind("x", "left", 0.0)
