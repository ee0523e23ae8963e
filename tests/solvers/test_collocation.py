"""Chebyshev collocation: many digits for every kind of condition and equation."""

import pytest
import torch

import sciml
from sciml import Box, ChebyshevCollocation
from sciml.pde.gallery import advection, allen_cahn_1d, poisson_1d, poisson_2d
from sciml.pde.jet import FunctionJet
from sciml.pde.points import Points, interior_points
from tests.solvers.collocation_problems import (
    BRICK,
    PLANE,
    SEED,
    acoustics,
    beam,
    brick,
    burgers,
    disc,
    error,
    heat,
    line_with_sides,
    mixed_derivatives,
    nonlinear_brick,
    periodic_strip,
    plane_with_sides,
    separable_coefficients,
    wave,
    wavy,
)

# problem, resolution, error, method
CASES = {
    "Robin and Neumann": (line_with_sides, 56, 1e-10, "LU"),
    "fourth order": (beam, 25, 1e-10, "LU"),
    "sides of all kinds": (plane_with_sides, (24, 29), 1e-10, "separable"),
    "separable coefficients": (separable_coefficients, (24, 21), 1e-12, "separable"),
    "mixed derivatives": (mixed_derivatives, (24, 21), 1e-12, "LU"),
    "mixed derivatives, large": (mixed_derivatives, (52, 45), 1e-11, "GMRES"),
    "disc": (disc, (18, 21), 1e-10, "LU"),
    "periodic, odd": (periodic_strip, (31, 22), 1e-12, "separable"),
    "periodic, even": (periodic_strip, (32, 22), 1e-12, "separable"),
    "heat": (heat, (22, 19), 1e-12, "separable"),
    "wave": (wave, (22, 24), 1e-10, "separable"),
    "Burgers": (burgers, (22, 19), 1e-12, "LU"),
    "system": (acoustics, (16, 15), 1e-11, "least squares"),
    "three axes": (brick, (13, 15, 14), 1e-11, "separable"),
    "three axes, nonlinear": (nonlinear_brick, (17, 20, 18), 1e-12, "GMRES"),
    "inflow only": (lambda: advection(beta=20.0, sides="inflow"), 40, 1e-12, "separable"),
    "all four sides": (lambda: advection(beta=20.0), 40, 1e-12, "separable"),
    "flow to the left": (lambda: advection(beta=-20.0), 40, 1e-12, "separable"),
}


@pytest.mark.parametrize("name", CASES)
def test_smooth_solutions_are_found_to_many_digits(name):
    make, resolution, bound, method = CASES[name]
    problem = make()
    solution = sciml.solve(problem, ChebyshevCollocation(resolution))
    assert error(problem, solution) < bound
    assert solution.stats["method"].startswith(method)
    assert solution.stats["residual_norm"] < 1e-7
    assert solution.stats["boundary_misfit"] < 1e-9
    assert solution.stats["seconds"] > 0


@pytest.mark.parametrize("make", [line_with_sides, plane_with_sides, heat, wave, brick])
def test_the_error_falls_by_a_constant_factor_per_node(make):
    problem = make()
    counts = torch.tensor([8.0, 11.0, 14.0, 17.0], dtype=torch.float64)
    if problem.domain.ndim == 1:
        counts = 2 * counts
    errors = torch.tensor(
        [
            error(problem, sciml.solve(problem, ChebyshevCollocation(int(count))))
            for count in counts
        ],
        dtype=torch.float64,
    )
    factors = errors[1:] / errors[:-1]
    assert float(factors.max()) < 0.2, errors


def test_the_published_problem_in_one_dimension():
    problem = poisson_1d("single_sin")
    assert error(problem, sciml.solve(problem, ChebyshevCollocation(400))) < 1e-9


@pytest.mark.slow
def test_the_published_problem_in_two_dimensions():
    problem = poisson_2d("sin_sin")
    assert error(problem, sciml.solve(problem, ChebyshevCollocation(400))) < 1e-12


def test_below_pi_nodes_per_wavelength_the_statistics_say_so():
    problem = poisson_1d("single_sin")
    solution = sciml.solve(problem, ChebyshevCollocation(240))
    assert error(problem, solution) > 0.1
    assert solution.stats["residual_norm"] > 0.1


def test_derivatives_of_the_solution():
    problem = plane_with_sides()
    field = sciml.solve(problem, ChebyshevCollocation((24, 29))).value
    points = interior_points(PLANE, 50, torch.Generator().manual_seed(SEED))
    for orders in ({"x": 1}, {"y": 2}, {"x": 1, "y": 1}):
        exact = FunctionJet(wavy, Points(("x", "y"), points)).d(**orders)
        torch.testing.assert_close(field.d(points, **orders)[:, 0], exact, rtol=0, atol=1e-8)


def test_grids_and_scattered_points_are_evaluated_alike():
    field = sciml.solve(brick(), ChebyshevCollocation((9, 8, 10))).value
    lines = [BRICK.points_along(k, n) for k, n in enumerate((5, 4, 3))]
    grid = torch.cartesian_prod(*lines)
    one_by_one = torch.cat([field(point[None]) for point in grid])
    torch.testing.assert_close(field(grid), one_by_one, rtol=1e-12, atol=1e-12)
    scattered = interior_points(BRICK, 40, torch.Generator().manual_seed(SEED))
    one_by_one = torch.cat([field(point[None]) for point in scattered])
    torch.testing.assert_close(field(scattered), one_by_one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "make", [line_with_sides, mixed_derivatives, burgers, brick, acoustics]
)
def test_no_argument_means_choose(make):
    problem = make()
    solution = sciml.solve(problem, ChebyshevCollocation())
    assert error(problem, solution) < 1e-8
    assert max(solution.stats["coefficient_tail"]) < 1e-6


def test_newton_may_fail_on_grids_that_are_too_coarse():
    problem = allen_cahn_1d("sin_cos")
    coarse = sciml.solve(problem, ChebyshevCollocation(64), throw=False)
    assert not coarse
    assert error(problem, sciml.solve(problem, ChebyshevCollocation())) < 1e-9


def test_only_axes_that_need_it_are_refined():
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0))
    problem = poisson_2d("sin_sin", domain=box, frequencies=(25.0, 3.0))
    solution = sciml.solve(problem, ChebyshevCollocation())
    assert solution.stats["resolution"] == (48, 24)
    assert error(problem, solution) < 1e-9


def test_newton_converges_quadratically_and_reports_its_steps():
    steps = []
    solution = sciml.solve(
        burgers(), ChebyshevCollocation(18), callback=lambda k, known: steps.append(known)
    )
    assert len(steps) == solution.num_steps
    # between the nodes and relative, as at the end; the history is that at the nodes
    assert steps[-1]["residual_norm"] == solution.stats["residual_norm"]
    assert steps[0]["residual_norm"] > 10 * steps[-1]["residual_norm"]
    norms = solution.history.tolist()
    assert norms[-2] < 1e-5 * norms[-3]
