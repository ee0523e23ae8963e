import pytest
import torch

from sciml.evaluation.solution_figures import (
    draw_solution_figures,
    learned_spectrum_figure,
    magnitude_figure,
    solution_figure,
)
from sciml.evaluation.solution_values import grid_values
from sciml.solvers.base import solve
from sciml.solvers.collocation import ChebyshevCollocation
from tests.evaluation.solved import shifted, solved, two_fields

PNG = b"\x89PNG\r\n\x1a\n"
SPECTRUM = {
    "x": {"frequency": torch.tensor([3.0, -7.5, 0.0]), "weight": torch.tensor([2.0, 4.0, 0.0])}
}


def view_of(problem, solution, *counts):
    lines = [problem.domain.points_along(k, n) for k, n in enumerate(counts)]
    return grid_values(problem, solution.value, lines)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_every_figure_is_written(tmp_path, ndim):
    problem, solution = solved(ndim)
    paths = draw_solution_figures(problem, solution, tmp_path)
    assert set(paths) == {"solution", "error", "residual"}
    for path in paths.values():
        assert path.read_bytes().startswith(PNG)
        assert path.stat().st_size > 10_000


def test_error_bars_of_planes_have_a_figure_of_their_own(tmp_path):
    problem, solution = shifted(2, 0.0)
    expected = {"solution", "error", "residual", "deviation"}
    assert set(draw_solution_figures(problem, solution, tmp_path)) == expected


def test_a_learned_spectrum_is_drawn(tmp_path):
    problem, solution = shifted(1, 0.0, spectrum=SPECTRUM)
    assert "spectrum" in draw_solution_figures(problem, solution, tmp_path)


def test_without_a_known_solution_there_is_no_error_and_fields_have_rows(tmp_path):
    problem = two_fields()
    solution = solve(problem, ChebyshevCollocation(resolution=16))
    assert set(draw_solution_figures(problem, solution, tmp_path)) == {"solution", "residual"}
    figure = solution_figure(problem, [view_of(problem, solution, 9)])
    assert [axes.get_ylabel() for axes in figure.axes] == ["u", "v"]


def test_a_line_shows_solution_exact_and_posterior():
    problem, solution = shifted(1, 0.5)
    view = view_of(problem, solution, 50)
    (axes,) = solution_figure(problem, [view]).axes
    exact, line = axes.lines
    assert torch.equal(torch.as_tensor(exact.get_ydata()), view.exact[0])
    assert torch.equal(torch.as_tensor(line.get_ydata()), view.value[0])
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(float((view.value + 2 * view.deviation).max()))


def test_a_plane_has_its_first_axis_to_the_right():
    problem, solution = shifted(2, 0.0)
    view = view_of(problem, solution, 6, 4)
    axes = solution_figure(problem, [view]).axes[0]
    (image,) = axes.images
    assert image.get_array().shape == (4, 6)
    assert image.get_array()[1, 3] == view.value[0, 3, 1]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")


def test_magnitudes_that_vanish_or_are_not_finite_can_be_drawn(tmp_path):
    problem, solution = shifted(2, 0.0)
    view = view_of(problem, solution, 6, 4)
    for values in (torch.zeros(1, 6, 4), torch.full((1, 6, 4), torch.nan)):
        figure = magnitude_figure(problem, [view], [values.double()], "error")
        figure.savefig(tmp_path / "figure.png")


def test_spectrum_labels_the_heavy_lines_with_positive_frequencies():
    (axes,) = learned_spectrum_figure(SPECTRUM).axes
    assert {text.get_text() for text in axes.texts} == {"7.5", "3"}
    (points,) = axes.lines
    assert points.get_ydata().max() == 1.0
    assert axes.get_xlim()[1] > 7.5


def test_labels_of_neighbours_do_not_cover_each_other():
    lines = {
        "frequency": torch.tensor([10.0, 10.3, 4.0]),
        "weight": torch.tensor([0.9, 1.0, 0.5]),
    }
    (axes,) = learned_spectrum_figure({"x": lines}).axes
    assert {text.get_text() for text in axes.texts} == {"10.3", "4"}


def test_a_spectrum_without_weight_is_an_empty_panel():
    nothing = {"x": {"frequency": torch.tensor([1.0]), "weight": torch.tensor([0.0])}}
    (axes,) = learned_spectrum_figure(nothing).axes
    assert not axes.texts
