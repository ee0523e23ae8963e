import json

import pytest
import torch
from safetensors.torch import load_file

from sciml.evaluation.solution_field import PosteriorField
from sciml.evaluation.solution_file import load_solution, save_solution
from sciml.evaluation.solution_values import grid_values
from sciml.pde.points import interior_points
from sciml.solution import Status
from sciml.solvers.base import solve
from sciml.solvers.collocation import ChebyshevCollocation
from tests.evaluation.solved import shifted, solved, two_fields

SPECTRUM = {"x": {"frequency": torch.tensor([1.0, 2.0]), "weight": torch.tensor([1.0, 0.5])}}


def saved(folder, problem, solution):
    lines = [problem.domain.points_along(k, 5 + k) for k in range(problem.domain.ndim)]
    grid = grid_values(problem, solution.value, lines)
    save_solution(folder, problem, solution, grid)
    return grid


def points_in(problem):
    return interior_points(problem.domain, 200, torch.Generator().manual_seed(8_120_633))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_loaded_field_is_the_saved_one(tmp_path, ndim):
    problem, solution = shifted(ndim, 0.25)
    saved(tmp_path, problem, solution)
    loaded = load_solution(tmp_path)
    points = points_in(problem)
    torch.testing.assert_close(
        loaded.value(points), problem.exact(points) + 0.25, rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        loaded.value.d(points, x=1), solution.value.d(points, x=1), rtol=0, atol=1e-9
    )
    assert loaded.value.axes == problem.domain.axes
    assert loaded.value.domain == problem.domain


def test_everything_that_is_known_is_kept(tmp_path):
    problem, solution = shifted(1, 0.0, spectrum=SPECTRUM, resolution=(7,), tail=float("inf"))
    grid = saved(tmp_path, problem, solution)
    loaded = load_solution(tmp_path)
    assert loaded.status is Status.STAGNATION
    assert not loaded
    assert loaded.num_steps == 7
    assert torch.equal(loaded.history, solution.history)
    assert torch.equal(loaded.stats["spectrum"]["x"]["frequency"], torch.tensor([1.0, 2.0]))
    assert loaded.stats["residual_norm"] == 0.5
    assert loaded.stats["tail"] == "inf"
    tensors = load_file(tmp_path / "solution.safetensors")
    for name, expected in (
        ("value", grid.value), ("exact", grid.exact), ("std", grid.deviation),
        ("residual", grid.residual), ("grid/x", grid.lines[0]),
    ):  # fmt: skip
        assert torch.equal(tensors[name], expected), name
    described = json.loads((tmp_path / "solution.json").read_text())
    assert described["problem"] == "poisson_1d-single_sin"
    assert max(described["interpolation_tail"]) < 1e-12


@pytest.mark.parametrize("ndim", [1, 2])
def test_error_bars_come_back(tmp_path, ndim):
    problem, solution = shifted(ndim, 0.25)
    saved(tmp_path, problem, solution)
    loaded = load_solution(tmp_path)
    points = points_in(problem)
    expected = solution.value.std(points)
    assert float(expected.max()) > 2.0 * float(expected.min())
    torch.testing.assert_close(loaded.value.std(points), expected, rtol=1e-6, atol=1e-6)
    assert isinstance(loaded.value, PosteriorField)
    described = json.loads((tmp_path / "solution.json").read_text())
    assert max(described["variance_tail"]) < 1e-8


def test_without_a_posterior_there_are_no_error_bars(tmp_path):
    problem, solution = solved(1)
    saved(tmp_path, problem, solution)
    assert json.loads((tmp_path / "solution.json").read_text())["variance_tail"] is None
    with pytest.raises(ValueError, match="expected a field with a posterior"):
        load_solution(tmp_path).value.std(points_in(problem))


def test_several_fields(tmp_path):
    problem = two_fields()
    solution = solve(problem, ChebyshevCollocation(resolution=16))
    saved(tmp_path, problem, solution)
    points = points_in(problem)
    loaded = load_solution(tmp_path).value
    assert loaded.fields == ("u", "v")
    assert torch.equal(loaded(points), solution.value(points))
    with pytest.raises(ValueError, match="expected a field with a posterior"):
        loaded.std(points)


def test_files_that_are_missing_cut_or_of_another_kind_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected solution\.json in"):
        load_solution(tmp_path)
    saved(tmp_path, *shifted(1, 0.0))
    described, stored = tmp_path / "solution.json", tmp_path / "solution.safetensors"
    contents, text = stored.read_bytes(), described.read_text()
    stored.write_bytes(contents[:-8])
    with pytest.raises(ValueError, match="another checksum: it was cut or swapped"):
        load_solution(tmp_path)
    stored.unlink()
    with pytest.raises(FileNotFoundError, match=r"expected solution\.safetensors in"):
        load_solution(tmp_path)
    stored.write_bytes(contents)
    described.write_text(text[:40])
    with pytest.raises(ValueError, match="to be JSON"):
        load_solution(tmp_path)
    described.write_text(text.replace('"format": 1', '"format": 9'))
    with pytest.raises(ValueError, match="expected a solution in format 1"):
        load_solution(tmp_path)
