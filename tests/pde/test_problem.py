"""Problems: the dry run, linearity, linearisation, systems, and refusals."""

import math

import pytest
import torch

from sciml import Box, Problem
from sciml.pde.conditions import Dirichlet, Initial, Neumann, Observations, Periodic
from sciml.pde.jet import ArrayJet

LINE = Box(("x",), (0.0,), (1.0,))
PLANE = Box(("x", "t"), (0.0, 0.0), (1.0, 2.0))
SEED = 4_600_123


def random_points(box, count):
    return torch.rand(
        count, box.ndim, dtype=torch.float64, generator=torch.Generator().manual_seed(SEED)
    )


def random_jets(problem, count):
    generator = torch.Generator().manual_seed(SEED)
    return [
        ArrayJet(
            problem.domain.axes,
            {
                index: torch.randn(count, dtype=torch.float64, generator=generator)
                for index in problem.needs[field]
            },
        )
        for field in problem.fields
    ]


def test_the_dry_run_finds_the_derivatives():
    problem = Problem(PLANE, lambda p, u: u.d(t=1) - p.x * u.d(x=2) + u.d(x=1, t=1), [])
    assert problem.needs == {"u": ((0, 1), (1, 1), (2, 0))}
    assert problem.num_equations == 1
    assert (problem.order("x"), problem.order("t")) == (2, 1)


def test_the_dry_run_of_a_system_is_by_field():
    def residual(p, u, v):
        return u.d(t=1) + v.d(x=1), v.value - u.d(x=1), u.value * v.value

    problem = Problem(PLANE, residual, [], fields=("u", "v"))
    assert problem.needs == {"u": ((0, 0), (0, 1), (1, 0)), "v": ((0, 0), (1, 0))}
    assert (problem.num_fields, problem.num_equations) == (2, 3)
    assert (problem.order("t", "u"), problem.order("t", "v")) == (1, 0)


@pytest.mark.parametrize(
    "residual",
    [
        lambda p, u: u.d(x=2) - torch.sin(500 * p.x) * 2.5e5,
        lambda p, u: torch.exp(p.x) * u.d(x=1) + u.value / (1 + p.x) - 1e-9,
        lambda p, u: 1e-6 * u.d(x=4) - u.value,
        lambda p, u: torch.where(p.x < 0.5, u.d(x=2), 3 * u.d(x=2)) - 1,
    ],
)
def test_linear_equations_are_detected(residual):
    assert Problem(LINE, residual, []).linear


@pytest.mark.parametrize(
    "residual",
    [
        lambda p, u: u.d(x=2) + 1e-4 * u.value**3,
        lambda p, u: u.d(x=2) + u.value * u.d(x=1),
        lambda p, u: u.d(x=2) + u.value.abs(),  # homogeneous of degree one, not additive
        lambda p, u: u.d(x=1) + u.value.clamp(min=0.0),
        lambda p, u: u.d(x=2) + torch.exp(u.value),
        lambda p, u: u.d(x=2) + torch.log(u.value),  # not finite at the zero field
        lambda p, u: u.d(x=2) * 1e5 + torch.sin(u.value),
    ],
)
def test_nonlinear_equations_are_detected(residual):
    assert not Problem(LINE, residual, []).linear


def test_a_system_is_linear_if_all_equations_are():
    conditions, fields = [], ("u", "v")
    one = Problem(
        LINE, lambda p, u, v: (u.d(x=1), v.d(x=1) - u.value), conditions, fields=fields
    )
    two = Problem(
        LINE, lambda p, u, v: (u.d(x=1), u.value * v.value), conditions, fields=fields
    )
    assert one.linear
    assert not two.linear


def test_linearise_gives_coefficients_and_right_hand_side_of_a_linear_equation():
    problem = Problem(
        PLANE, lambda p, u: u.d(t=1) - torch.exp(p.x) * u.d(x=2) + 3 * u.value - p.t, []
    )
    points = random_points(PLANE, 6)
    residual, coefficients = problem.linearise(points, problem.zero_jets(6))
    torch.testing.assert_close(residual, -points[:, 1])
    ones = torch.ones(6, dtype=torch.float64)
    assert set(coefficients["u"]) == {(0, 0), (0, 1), (2, 0)}
    torch.testing.assert_close(coefficients["u"][0, 0], 3 * ones)
    torch.testing.assert_close(coefficients["u"][0, 1], ones)
    torch.testing.assert_close(coefficients["u"][2, 0], -torch.exp(points[:, 0]))


def test_linearise_equals_finite_differences():
    def residual(p, u, v):
        return u.d(t=1) * v.value + torch.sin(u.d(x=2)), u.value**3 - p.x * v.d(x=1)

    problem = Problem(PLANE, residual, [], fields=("u", "v"))
    points, jets, step = random_points(PLANE, 5), random_jets(problem, 5), 1e-6
    for equation in range(2):
        value, coefficients = problem.linearise(points, jets, equation)
        torch.testing.assert_close(value, problem.residuals(points, jets)[equation])
        for k, field in enumerate(problem.fields):
            for index in problem.needs[field]:
                moved = []
                for sign in (1, -1):
                    values = dict(jets[k].values)
                    values[index] = values[index] + sign * step
                    other = [*jets]
                    other[k] = ArrayJet(PLANE.axes, values)
                    moved.append(problem.residuals(points, other)[equation])
                rate = (moved[0] - moved[1]) / (2 * step)
                torch.testing.assert_close(
                    coefficients[field][index], rate, rtol=1e-7, atol=1e-8
                )


def test_linearise_works_where_gradients_are_switched_off():
    problem = Problem(LINE, lambda p, u: u.value**2, [])
    jets = [ArrayJet(("x",), {(0,): torch.full((3,), 2.0, dtype=torch.float64)})]
    with torch.no_grad():
        residual, coefficients = problem.linearise(random_points(LINE, 3), jets)
    assert residual.tolist() == [4.0] * 3
    assert coefficients["u"][(0,)].tolist() == [4.0] * 3


def test_exact_solutions_have_one_column_per_field():
    problem = Problem(
        LINE,
        lambda p, u, v: (u.d(x=1) - v.value, v.d(x=1) + u.value),
        [],
        fields=("u", "v"),
        exact=lambda p: (torch.sin(p.x), torch.cos(p.x)),
        name="oscillator",
    )
    points = random_points(LINE, 4)
    expected = torch.stack([torch.sin(points[:, 0]), torch.cos(points[:, 0])], -1)
    torch.testing.assert_close(problem.exact(points), expected)
    assert problem.has_exact
    assert "oscillator" in repr(problem)


def test_an_unknown_solution_is_an_error():
    problem = Problem(LINE, lambda p, u: u.d(x=2), [])
    assert not problem.has_exact
    with pytest.raises(ValueError, match=r"Problem.exact: expected a problem with a known"):
        problem.exact(random_points(LINE, 2))


def test_periodic_conditions_and_boxes_say_the_same():
    by_condition = Problem(PLANE, lambda p, u: u.d(x=2), [Periodic("x")])
    by_box = Problem(
        Box(("x", "t"), (0.0, 0.0), (1.0, 2.0), (True, False)), lambda p, u: u.d(x=2), []
    )
    assert by_condition.domain == by_box.domain
    with pytest.raises(
        ValueError, match=r"expected no face on the periodic axis 'x', got Diri"
    ):
        Problem(PLANE, lambda p, u: u.d(x=2), [Periodic("x"), Dirichlet("x", "low", 0.0)])


def test_the_field_of_a_condition_may_be_left_out_if_there_is_one():
    problem = Problem(LINE, lambda p, u: u.d(x=1), [Dirichlet("x", "low", 0.0)])
    assert problem.face_conditions[0].field == "u"
    with pytest.raises(
        ValueError, match=r"to name one of the fields \('u', 'v'\), got field=No"
    ):
        Problem(
            LINE,
            lambda p, u, v: (u.d(x=1), v.d(x=1)),
            [Dirichlet("x", "low", 0.0)],
            fields=("u", "v"),
        )


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (
            [Dirichlet("y", "low", 0.0)],
            r"expected conditions on the axes \('x', 't'\), got one",
        ),
        ([Dirichlet("x", "low", 0.0)] * 2, "expected one condition of a kind per face"),
        (
            [Dirichlet("t", "low", 0.0), Initial("t", 0.0)],
            r"Initial\('t', order=0\) beside Diri",
        ),
        (
            [Neumann("x", "low", 0.0, field="w")],
            r"expected Neumann\('x', 'low'\) to name one of",
        ),
    ],
)
def test_conditions_that_do_not_fit_are_named(conditions, message):
    with pytest.raises(ValueError, match=message):
        Problem(PLANE, lambda p, u: u.d(x=2) + u.d(t=1), conditions)


def test_observations_lie_in_the_box():
    inside = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    value = torch.ones(1, dtype=torch.float64)
    problem = Problem(PLANE, lambda p, u: u.d(t=1), [Observations(inside, value, 0.1)])
    assert len(problem.observations) == 1
    assert not problem.face_conditions
    with pytest.raises(ValueError, match=r"expected observations inside .* got \[1.5, 3.0\]"):
        Problem(
            PLANE,
            lambda p, u: u.d(t=1),
            [Observations(inside + torch.tensor([1.0, 2.0]), value, 0.1)],
        )


def test_a_residual_of_the_wrong_shape_is_named():
    problem = Problem(LINE, lambda p, u: u.value.sum(), [])
    with pytest.raises(ValueError, match=r"expected equation 0 of the residual to be of shape"):
        _ = problem.needs


def test_a_residual_without_the_unknown_is_refused():
    problem = Problem(LINE, lambda p, u: p.x, [])
    with pytest.raises(ValueError, match="expected a residual that uses its jets"):
        _ = problem.needs


def test_axes_have_names_that_points_can_carry():
    for name in ("coordinates", "x 1"):
        with pytest.raises(ValueError, match="expected axis names that can be written as"):
            Problem(Box((name,), (0.0,), (1.0,)), lambda p, u: u.value, [])
    with pytest.raises(ValueError, match="expected one or more distinct field names"):
        Problem(LINE, lambda p, u, v: u.value, [], fields=("u", "u"))


def test_a_box_of_zero_length_is_refused():
    with pytest.raises(ValueError, match="expected low < high on axis 'x'"):
        Box(("x",), (math.pi,), (math.pi,))
