import math

import pytest
import torch

from sciml.evaluation.solution_values import grid_values, measure
from sciml.solvers.base import solve
from sciml.solvers.collocation import ChebyshevCollocation
from tests.evaluation.solved import shifted, solved, two_fields


def lines_of(problem, *counts):
    return [problem.domain.points_along(k, n) for k, n in enumerate(counts)]


@pytest.mark.parametrize("counts", [(9,), (5, 8), (3, 4, 6)])
def test_values_stand_where_their_coordinates_say(counts):
    problem, solution = shifted(len(counts), 0.5)
    lines = lines_of(problem, *counts)
    grid = grid_values(problem, solution.value, lines)
    assert grid.value.shape == grid.residual.shape == (1, *counts)
    corner = torch.tensor([[line[2] for line in lines]], dtype=torch.float64)
    index = (0, *[2] * len(counts))
    assert grid.exact is not None
    assert grid.error is not None
    assert grid.exact[index] == problem.exact(corner)[0, 0]
    torch.testing.assert_close(grid.error, torch.full_like(grid.error, 0.5))
    # a constant does not change a Laplacian
    assert float(grid.residual.abs().max()) < 1e-10


@pytest.mark.parametrize("counts", [(6,), (3, 4)])
def test_a_posterior_is_kept(counts):
    problem, solution = shifted(len(counts), 0.0)
    lines = lines_of(problem, *counts)
    grid = grid_values(problem, solution.value, lines)
    assert grid.deviation is not None
    assert grid.deviation.shape == (1, *counts)
    corner = torch.tensor([[line[2] for line in lines]], dtype=torch.float64)
    index = (0, *[2] * len(counts))
    assert grid.deviation[index] == solution.value.std(corner)[0, 0] > 0
    problem, solution = solved(1)
    assert grid_values(problem, solution.value, lines_of(problem, 6)).deviation is None


def test_errors_are_those_of_a_constant_shift():
    problem, solution = shifted(2, 1e-3)
    grid = grid_values(problem, solution.value, lines_of(problem, 31, 33))
    errors = measure("s", problem, solution, grid).errors
    assert grid.exact is not None
    size = float(grid.exact.square().mean().sqrt())
    assert errors["relative_l2"] == pytest.approx(1e-3 / size)
    assert errors["max_error"] == pytest.approx(1e-3)
    # the mean of squares over the box, by points instead of a grid
    assert errors["relative_l2_random_points"] == pytest.approx(1e-3 / size, rel=0.1)


def test_metrics_have_flat_names_and_all_numbers():
    stats = {
        "resolution": (7,), "num_passes": 3, "repaired": True, "form": "weak",
        "residual_norm": 1e-3, "boundary_misfit": 1e-4, "seconds": 1.5,
    }  # fmt: skip
    problem, solution = shifted(1, 0.0, **stats)
    grid = grid_values(problem, solution.value, lines_of(problem, 6))
    found = measure("gp", problem, solution, grid)
    metrics = found.metrics()
    expected = {
        "solve/residual": 1e-3, "solve/boundary_misfit": 1e-4, "solve/passes": 7.0,
        "solve/converged": 0.0, "solve/num_passes": 3.0, "solve/repaired": 1.0,
        "solve/resolution/x": 7.0, "time/solve_seconds": 1.5,
        "test/max_error": 0.0, "test/relative_l2": 0.0, "test/relative_l2_random_points": 0.0,
    }  # fmt: skip
    assert metrics == expected
    baseline = found.baseline_metrics()
    assert baseline["baseline/gp/residual"] == 1e-3
    assert baseline["baseline/gp/solve_seconds"] == 1.5
    assert found.accuracy == ("relative L2 error", 0.0)


def test_several_fields_without_a_known_solution():
    problem = two_fields()
    solution = solve(problem, ChebyshevCollocation(resolution=16))
    grid = grid_values(problem, solution.value, lines_of(problem, 11))
    assert grid.value.shape == grid.residual.shape == (2, 11)
    assert grid.exact is None
    assert grid.error is None
    torch.testing.assert_close(grid.value[0], torch.cos(grid.lines[0]), atol=1e-10, rtol=0)
    found = measure("c", problem, solution, grid)
    assert found.errors == {}
    assert found.accuracy == ("residual", solution.stats["residual_norm"])
    assert not any(name.startswith("test/") for name in found.metrics())


def test_a_zero_solution_has_no_relative_error():
    problem, solution = shifted(1, 0.1)
    lines = [torch.zeros(1, dtype=torch.float64)]
    errors = measure("s", problem, solution, grid_values(problem, solution.value, lines)).errors
    assert math.isinf(errors["relative_l2"])
