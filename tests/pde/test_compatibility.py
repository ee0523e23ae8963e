"""Problems that leave a constant free, and data that contradict each other."""

import math

import pytest
import torch

from sciml import Box, Problem
from sciml.pde.compatibility import check_compatible, constant_is_free
from sciml.pde.conditions import Dirichlet, Initial, Neumann, Observations, Periodic, Robin
from sciml.pde.jet import FunctionJet

LINE = Box(("x",), (0.4,), (1.9,))
PLANE = Box(("x", "y"), (0.4, -0.2), (1.9, 0.7))


def slopes(u, axes):
    """The outward derivatives of a function on all sides."""

    def slope(axis, sign):
        return lambda points: sign * FunctionJet(u, points).d(**{axis: 1})

    return [
        Neumann(axis, side, slope(axis, sign))
        for axis in axes
        for side, sign in (("low", -1.0), ("high", 1.0))
    ]


def wave(points):
    u = torch.sin(7.3 * points.x + 0.2)
    return u * torch.cos(5.1 * points.y) if "y" in points.axes else u


def manufactured(operator, box, surplus=0.0, u=wave):
    return Problem(
        box,
        lambda p, v: operator(p, v) - operator(p, FunctionJet(u, p)) - surplus,
        slopes(u, box.axes),
    )


def with_drift(points, u):
    """Not in divergence form: the factor is exp(∫ b/a) / a."""
    return (1.5 + torch.sin(3.0 * points.x)) * u.d(x=2) + points.x.exp() * u.d(x=1)


def in_divergence_form(points, u):
    a = torch.exp(points.x * points.y)
    along = points.y * u.d(x=1) + points.x * u.d(y=1)
    return a * (u.d(x=2) + u.d(y=2) + along)


def test_what_has_the_value_itself_leaves_no_constant():
    def free(conditions, residual=lambda p, u: u.d(x=2) - 1.0):
        return constant_is_free(Problem(LINE, residual, conditions))

    flat = slopes(wave, "x")
    assert free(flat)
    assert free([Periodic("x")])
    assert free([flat[0], Robin("x", "high", 1.0, 0.0)])
    assert not free([flat[0], Robin("x", "high", 1.0, 0.1)])
    assert not free([flat[0], Dirichlet("x", "high", 1.0)])
    assert not free([Initial("x", 0.0), Initial("x", 0.0, order=1)])
    assert not free(flat, lambda p, u: u.d(x=2) + 1e-3 * u.value)
    assert not free(flat, lambda p, u: u.d(x=2) + u.d(x=1) ** 2)


@pytest.mark.parametrize(
    ("operator", "box"),
    [(lambda p, u: -3.0 * u.d(x=2), LINE), (with_drift, LINE), (in_divergence_form, PLANE)],
    ids=["constant", "drift", "divergence form"],
)
def test_manufactured_data_are_compatible_and_others_are_not(operator, box):
    check_compatible(manufactured(operator, box), (60,) * box.ndim)
    for surplus in (1e-3, -1e-3):
        with pytest.raises(ValueError, match="whose integral is the flux through the sides"):
            check_compatible(manufactured(operator, box, surplus), (60,) * box.ndim)


def test_both_integrals_are_named():
    sides = [Neumann("x", "low", 0.25), Neumann("x", "high", 1.0)]
    problem = Problem(LINE, lambda p, u: 2.0 * u.d(x=2) - 4.0, sides)
    message = r"got 6 where the derivatives on the sides give 2\.5; correct one of them"
    with pytest.raises(ValueError, match=message):
        check_compatible(problem, (40,))
    around = Problem(LINE, lambda p, u: u.d(x=2) + u.d(x=1) - 4.0, [Periodic("x")])
    with pytest.raises(ValueError, match="over a periodic box is 0, got 6; subtract its mean"):
        check_compatible(around, (40,))


def test_a_velocity_at_the_low_end_counts_as_a_slope():
    sides = [Initial("x", 0.5, order=1), Neumann("x", "high", 2.0)]
    check_compatible(Problem(LINE, lambda p, u: u.d(x=2) - 1.0, sides), (40,))


def test_where_no_factor_is_known_nothing_is_refused():
    """A drift around a period has a factor that does not come back to where it began."""
    box = Box(("x",), (0.0,), (2.0 * math.pi,))
    problem = Problem(
        box, lambda p, u: u.d(x=2) + (2.0 + p.x.sin()) * u.d(x=1) - 1.0, [Periodic("x")]
    )
    check_compatible(problem, (40,))
    check_compatible(
        Problem(box, lambda p, u: (2.0 + p.x.sin()) * u.d(x=1) - 1.0, [Periodic("x")]), (40,)
    )


def test_a_side_without_a_condition_lets_any_flux_through():
    one = torch.ones(1, 1, dtype=torch.float64)
    observed = Observations(one, one[0], 0.1)
    problem = Problem(LINE, lambda p, u: u.d(x=2) - 1.0, [Neumann("x", "low", 5.0), observed])
    assert constant_is_free(problem)
    check_compatible(problem, (40,))
