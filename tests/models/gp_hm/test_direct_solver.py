"""`GPHMSolver` through `sciml.solve`: choices, evaluation, errors in words."""

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_resolution import (
    check_resolution,
    chosen_resolution,
    largest_frequency,
    refined_resolution,
)
from sciml.models.gp_hm.solver import GPHMSolver
from sciml.pde.conditions import Dirichlet
from sciml.pde.gallery.advection import advection
from sciml.pde.gallery.poisson import poisson_1d, poisson_2d
from sciml.pde.problem import Problem
from sciml.solution import SolverError
from sciml.solvers.base import solve


def test_nothing_given_means_chosen():
    problem = poisson_1d("x2_add_sinx", frequencies=(120.0,))
    solution = solve(problem, GPHMSolver())
    points = torch.linspace(0, 1, 301, dtype=torch.float64)[:, None]
    exact = problem.exact(points)
    assert float((solution.value(points) - exact).norm() / exact.norm()) < 1e-10
    assert solution.stats["resolution"] == chosen_resolution(problem)
    for name in ("residual_norm", "boundary_misfit", "num_passes", "seconds", "spectrum"):
        assert name in solution.stats


def test_field_is_a_function_with_derivatives():
    problem = poisson_2d("sin_add_cos", frequencies=(2.0, 5.0))
    solution = solve(problem, GPHMSolver((40, 36)))
    generator = torch.Generator().manual_seed(7_001_131)
    points = 6.2 * torch.rand(50, 2, dtype=torch.float64, generator=generator)
    u = solution.value
    assert tuple(u(points).shape) == (50, 1)
    x, y = points.unbind(1)
    slope = 2 * torch.cos(2 * x) * torch.cos(5 * x) - 5 * torch.sin(2 * x) * torch.sin(5 * x)
    torch.testing.assert_close(u.d(points, x=1)[:, 0], slope, rtol=0, atol=1e-7)
    residual = u.d(points, x=2) + u.d(points, y=2)
    h = [
        -(4 + 25) * torch.sin(2 * s) * torch.cos(5 * s)
        - 20 * torch.cos(2 * s) * torch.sin(5 * s)
        for s in (x, y)
    ]
    torch.testing.assert_close(residual[:, 0], h[0] + h[1], rtol=0, atol=1e-5)
    # a grid takes another way through the axes than scattered points
    lines = [torch.linspace(0.3, 5.9, 21, dtype=torch.float64) for _ in range(2)]
    grid = torch.cartesian_prod(*lines)
    shuffled = torch.randperm(len(grid), generator=generator)
    apart = torch.cat([u(grid[k : k + 1]) for k in range(0, 441, 40)])
    torch.testing.assert_close(u(grid)[::40], apart, rtol=0, atol=1e-12)
    torch.testing.assert_close(u(grid[shuffled]), u(grid)[shuffled], rtol=0, atol=0)
    with pytest.raises(ValueError, match="expected a solution with a posterior"):
        u.std(points)


def test_an_aliased_axis_is_named():
    problem = poisson_2d("sin_sin", frequencies=(6.0, 40.0))
    with pytest.raises(ValueError, match=r"axis 'y' needs about \d+ points .* frequency 6\.\d"):
        GPHMSolver((40, 60)).solve(problem)
    check_resolution(problem, (40, 84))


def test_frequencies_are_found_in_the_data():
    inflow = advection("sin", sides="inflow")
    # f = 0: the boundary data have it, one cycle in 2π along x and 200 times that in t
    assert largest_frequency(inflow, 1, 0.03) == pytest.approx(200 / 6.283185, abs=1.0)
    assert largest_frequency(poisson_1d("sin_cos"), 0, 0.03) == pytest.approx(
        106 / 6.283185, abs=0.1
    )


def test_refinement_ends():
    assert refined_resolution((40, 60)) == (60, 90)
    assert refined_resolution((600, 720)) == (720, 720)
    assert refined_resolution((720, 720)) is None


def test_what_does_not_converge_raises_with_the_reason():
    problem = poisson_1d("x2_add_sinx")
    options = DirectOptions(num_passes=1, repair=False, tolerance=1e-9)
    with pytest.raises(SolverError, match="raise the resolution") as caught:
        solve(problem, GPHMSolver(165, options=options))
    assert caught.value.solution.stats["residual_norm"] > 1e-9


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kernel": "se"}, ValueError, "have no lattice"),
        ({"kernel": "rbf", "inference": "adam"}, ValueError, "expected a kernel of"),
        ({"inference": "exact"}, ValueError, "'direct', 'adam' or 'evidence'"),
        ({"kappa": -1.0}, ValueError, "expected kappa > 0"),
        ({"resolution": 4}, ValueError, "at least 8 points"),
        ({"options": DirectOptions(), "inference": "adam"}, TypeError, "AdamOptions"),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        GPHMSolver(**arguments)


def test_resolution_and_axes_have_to_match():
    problem = poisson_1d("sin_cos")
    with pytest.raises(ValueError, match="one for each of"):
        GPHMSolver((300, 300)).solve(problem)
    axes = ("x", "y", "z", "w")
    box = Box(axes, (0.0,) * 4, (1.0,) * 4)
    four = Problem(
        box,
        lambda p, u: sum(u.d(**{axis: 2}) for axis in axes),
        [Dirichlet(axis, side, 0.0) for axis in axes for side in ("low", "high")],
    )
    with pytest.raises(ValueError, match="at most three axes"):
        GPHMSolver().solve(four)


def test_kappa_reaches_the_lattice():
    problem = poisson_1d("x2_add_sinx", frequencies=(60.0,))
    options = DirectOptions(repair=False)
    few = solve(problem, GPHMSolver(80, kappa=1.9, options=options))
    many = solve(problem, GPHMSolver(80, kappa=2.3, options=options))
    counts = [len(s.stats["spectrum"]["x"]["weight"]) for s in (few, many)]
    assert counts[0] < counts[1]
