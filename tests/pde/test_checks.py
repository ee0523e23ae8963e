"""What `solve` refuses before any solver starts."""

import pytest
import torch

from sciml import Box, Problem
from sciml.pde.checks import check_problem
from sciml.pde.conditions import Dirichlet, Initial, Neumann, Observations, Periodic, Robin

LINE = Box(("x",), (0.0,), (1.0,))
PLANE = Box(("x", "t"), (0.0, 0.0), (1.0, 2.0))
SIDES = [Dirichlet("x", "low", 0.0), Dirichlet("x", "high", 0.0)]


def wave(points, u):
    return u.d(t=2) - u.d(x=2)


def test_missing_conditions_are_counted_by_axis():
    problem = Problem(LINE, lambda p, u: u.d(x=2) - 1, [])
    with pytest.raises(
        ValueError, match=r"at least 2 conditions on axis 'x', .* got none; add"
    ):
        check_problem(problem)
    half = Problem(LINE, lambda p, u: u.d(x=2) - 1, SIDES[:1])
    with pytest.raises(
        ValueError, match=r"got Dirichlet\('x', 'low'\); add Dirichlet, Neumann"
    ):
        check_problem(half)


def test_second_order_in_time_asks_for_the_initial_velocity():
    with pytest.raises(ValueError, match=r"add the initial velocity, Initial\('t', value, ord"):
        check_problem(Problem(PLANE, wave, [*SIDES, Initial("t", 0.0)]))
    check_problem(Problem(PLANE, wave, [*SIDES, Initial("t", 0.0), Initial("t", 0.0, order=1)]))


@pytest.mark.parametrize(
    "conditions",
    [
        [Neumann("x", "low", 0.0), Robin("x", "high", 0.0, 1.0)],
        [Dirichlet("x", "low", 0.0), Neumann("x", "low", 0.0)],
        [Periodic("x")],
        [Observations(torch.rand(3, 1).double(), torch.zeros(3).double(), 0.1)],
    ],
)
def test_enough_conditions_pass(conditions):
    check_problem(Problem(LINE, lambda p, u: u.d(x=2) - u.value - 1, conditions))


def test_an_axis_without_derivatives_needs_no_conditions():
    check_problem(Problem(PLANE, lambda p, u: u.d(x=2) - p.t, SIDES))


def test_equations_are_of_double_precision():
    def residual(points, u):
        return (u.d(x=2) - torch.sin(points.x)).float()

    with pytest.raises(TypeError, match=r"in torch\.float64, got torch\.float32; .* convert"):
        check_problem(Problem(LINE, residual, SIDES))


def test_right_hand_sides_with_nan_are_located():
    def residual(points, u):
        return u.d(x=2) - torch.sqrt(points.x - 0.25)

    with pytest.raises(
        ValueError, match=r"NaN or infinity at \d+ of 2048 points .* {'x': 0\.[012]"
    ):
        check_problem(Problem(LINE, residual, SIDES))


def test_a_logarithm_of_the_solution_is_no_bad_right_hand_side():
    check_problem(Problem(LINE, lambda p, u: u.d(x=2) - torch.log(u.value), SIDES))


def test_conflicting_data_at_corners_are_named():
    conditions = [*SIDES, Initial("t", lambda points: torch.cos(points.x))]
    with pytest.raises(
        ValueError,
        match=r"agree where faces meet, got Dirichlet\('x', 'low'\) = 0 and "
        r"Initial\('t', order=0\) = 1 at \[0.0, 0.0\]",
    ):
        check_problem(Problem(PLANE, lambda p, u: u.d(t=1) - u.d(x=2), conditions))


def test_conflicts_along_an_edge_are_found():
    box = Box(("x", "y", "z"), (0.0,) * 3, (1.0,) * 3)

    def data(points):
        return points.x + points.y * points.z

    def other(points):
        return data(points) + 1e-3 * points.z * (1 - points.z)

    def residual(points, u):
        return u.d(x=2) + u.d(y=2) + u.d(z=2)

    faces = [Dirichlet(a, s, data) for a in "xyz" for s in ("low", "high")]
    check_problem(Problem(box, residual, faces))
    # agrees at the corners of the edge, not along it
    bad = [
        Dirichlet("y", "high", other),
        *(c for c in faces if str(c) != "Dirichlet('y', 'high')"),
    ]
    with pytest.raises(ValueError, match=r"expected conditions that agree where faces meet"):
        check_problem(Problem(box, residual, bad))


def test_high_frequencies_do_not_look_like_conflicts():
    def data(points):
        return torch.sin(500 * points.x - 300 * points.t)

    faces = [Dirichlet(a, s, data) for a in ("x", "t") for s in ("low", "high")]
    check_problem(Problem(PLANE, lambda p, u: u.d(x=2) + u.d(t=2), faces))
