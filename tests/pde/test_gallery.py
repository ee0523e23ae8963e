"""The gallery: golden right-hand sides, exact solutions, cases and parameters."""

import math

import pytest
import torch

from sciml import Box
from sciml.pde.checks import check_problem
from sciml.pde.conditions import Dirichlet
from sciml.pde.gallery import (
    advection,
    allen_cahn_1d,
    allen_cahn_2d,
    poisson_1d,
    poisson_2d,
    poisson_3d,
)
from sciml.pde.jet import FunctionJet
from sciml.pde.points import Points, face_points, interior_points
from tests.golden import golden

GOLDEN_CASES = {
    "poisson_1d-single_sin": lambda: poisson_1d("single_sin"),
    "poisson_1d-mix_sin": lambda: poisson_1d("mix_sin"),
    "poisson_1d-sin_cos": lambda: poisson_1d("sin_cos"),
    "poisson_1d-x_time_sinx": lambda: poisson_1d("x_time_sinx"),
    "poisson_1d-x2_add_sinx": lambda: poisson_1d("x2_add_sinx"),
    "allencahn_1d-single_sin": lambda: allen_cahn_1d("single_sin"),
    "allencahn_1d-sin_cos": lambda: allen_cahn_1d("sin_cos"),
    "poisson_2d-sin_sin": lambda: poisson_2d("sin_sin"),
    "poisson_2d-sin_add_cos": lambda: poisson_2d("sin_add_cos"),
    "allencahn_2d-mix-sincos": lambda: allen_cahn_2d("mix_sincos"),
    "advection-sin": lambda: advection("sin", sides="all"),
}
ALL = {
    **GOLDEN_CASES,
    "poisson_1d-mix_sin-cosine": lambda: poisson_1d("mix_sin", form="cosine"),
    "advection-inflow": lambda: advection("sin", sides="inflow"),
    "advection-leftwards": lambda: advection("sin", sides="inflow", beta=-3.0),
    "poisson_3d-sin_sin_sin": lambda: poisson_3d("sin_sin_sin"),
    "poisson_3d-sin_add_exp": lambda: poisson_3d("sin_add_exp"),
}


@pytest.mark.parametrize("name", GOLDEN_CASES)
def test_solutions_and_right_hand_sides_equal_the_golden_ones(name):
    data, problem = golden("gp_hm_problems.npz"), GOLDEN_CASES[name]()
    keys = [f"{name}__{axis}" for axis in "xy"[: problem.domain.ndim]]
    lines = [torch.from_numpy(data[key]) for key in keys]
    points = torch.cartesian_prod(*lines).reshape(-1, len(lines))
    u = torch.from_numpy(data[f"{name}__u"]).flatten()
    f = torch.from_numpy(data[f"{name}__f"]).flatten()
    torch.testing.assert_close(problem.exact(points)[:, 0], u, rtol=1e-12, atol=1e-12)
    (minus_f,) = problem.residuals(points, problem.zero_jets(len(points)))
    # equal to 1e-12 of the largest right-hand side (cancelling terms are as large)
    torch.testing.assert_close(-minus_f, f, rtol=0, atol=1e-12 * max(1.0, float(f.abs().max())))


@pytest.mark.parametrize("name", [name for name in GOLDEN_CASES if "1d" not in name])
def test_boundary_values_equal_the_golden_ones(name):
    """The golden values stand on the first and last rows and columns of the golden grid."""
    data, problem = golden("gp_hm_problems.npz"), GOLDEN_CASES[name]()
    axes = problem.domain.axes
    lines = [torch.from_numpy(data[f"{name}__{key}"]) for key in "xy"[: len(axes)]]
    box = Box(axes, tuple(float(s[0]) for s in lines), tuple(float(s[-1]) for s in lines))
    given = {(c.axis, c.side): c for c in problem.face_conditions}
    values = [
        given[axis, side].values(Points(axes, face_points(box, axis, side, lines)))
        for axis in axes
        for side in ("low", "high")
    ]
    expected = torch.from_numpy(data[f"{name}__bvals"]).flatten()
    torch.testing.assert_close(torch.cat(values), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_exact_solution_satisfies_equation_and_conditions(name):
    problem = ALL[name]()
    check_problem(problem)
    points = Points(
        problem.domain.axes,
        interior_points(problem.domain, 50, torch.Generator().manual_seed(7_001_303)),
    )

    def column(at: Points) -> torch.Tensor:
        return problem.exact(at.coordinates)[:, 0]

    jet = FunctionJet(column, points)
    (residual,) = problem.residuals(points.coordinates, [jet])
    (right,) = problem.residuals(points.coordinates, problem.zero_jets(50))
    assert float(residual.abs().max()) <= 1e-8 * max(1.0, float(right.abs().max()))
    lines = [problem.domain.points_along(k, 5) for k in range(problem.domain.ndim)]
    for condition in problem.face_conditions:
        face = Points(
            problem.domain.axes,
            face_points(problem.domain, condition.axis, condition.side, lines),
        )
        assert float(condition.misfit(face, FunctionJet(column, face)).abs().max()) < 1e-8


@pytest.mark.parametrize("name", ALL)
def test_linearity_is_detected(name):
    assert ALL[name]().linear == (not name.startswith("allen"))


def test_right_hand_sides_equal_the_formulas_of_the_paper():
    x = torch.linspace(0.1, 6.0, 41, dtype=torch.float64)[:, None]

    def source(problem):
        return -problem.residuals(x, problem.zero_jets(41))[0]

    s = x[:, 0]
    cosine = -torch.sin(s) - 40 * torch.sin(20 * s) - 500 * torch.cos(100 * s)
    box = Box(("x",), (0.0,), (2 * math.pi,))
    got = source(poisson_1d("mix_sin", form="cosine", domain=box))
    torch.testing.assert_close(got, cosine, rtol=0, atol=1e-9)
    product = -(36 + 1e4) * torch.sin(6 * s) * torch.cos(100 * s)
    product -= 1200 * torch.cos(6 * s) * torch.sin(100 * s)
    torch.testing.assert_close(source(poisson_1d("sin_cos")), product, rtol=0, atol=1e-8)


def test_domains_and_frequencies_are_arguments():
    box = Box(("x", "y"), (-1.0, 0.0), (2.0, 0.5))
    problem = poisson_2d("sin_sin", domain=box, frequencies=(3.0, 5.0))
    assert problem.domain == box
    point = torch.tensor([[0.3, 0.2]], dtype=torch.float64)
    expected = math.sin(0.9) * math.sin(1.0)
    assert float(problem.exact(point)) == pytest.approx(expected)
    (minus_f,) = problem.residuals(point, problem.zero_jets(1))
    assert float(minus_f) == pytest.approx(34 * expected)


def test_published_domains():
    assert poisson_1d("x2_add_sinx").domain.high == (1.0,)
    assert poisson_1d("x_time_sinx").domain.high == (2 * math.pi,)
    assert allen_cahn_2d().domain.high == (1.0, 1.0)
    assert advection().domain.axes == ("x", "t")


def test_a_periodic_axis_takes_no_boundary_data():
    box = Box(("x", "y"), (0.0, 0.0), (2 * math.pi, 1.0), (True, False))
    problem = poisson_2d("sin_sin", domain=box, frequencies=(3, 2))
    assert {c.axis for c in problem.face_conditions} == {"y"}


def test_inflow_stands_where_the_flow_enters():
    for beta, side in ((2.0, "low"), (-2.0, "high")):
        problem = advection("sin", sides="inflow", beta=beta)
        (condition,) = (c for c in problem.conditions if isinstance(c, Dirichlet))
        assert (condition.axis, condition.side) == ("x", side)
    assert len(advection("sin", sides="all", beta=-2.0).conditions) == 4


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"poisson_1d: expected one of the cases \['mix_sin'"):
        poisson_1d("single_cos")
    with pytest.raises(ValueError, match=r"expected form= with the case 'mix_sin' only"):
        poisson_1d("single_sin", form="cosine")
    with pytest.raises(ValueError, match=r"poisson_2d: expected 2 angular frequencies"):
        poisson_2d("sin_sin", frequencies=(3.0,))
    with pytest.raises(ValueError, match=r"expected a box with axes \('x',\), got \('y',\)"):
        allen_cahn_1d("sin_cos", domain=Box(("y",), (0.0,), (1.0,)))
    with pytest.raises(ValueError, match=r"advection: expected a speed beta other than 0"):
        advection(beta=0.0)
