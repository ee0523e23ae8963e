import pytest
import torch

from sciml.evaluation.frames import rollout_figure
from tests.evaluation.stand_ins import make_spec


def trajectories(space, num_frames=7, *, positive=False):
    generator = torch.Generator().manual_seed(55_001)
    truth = torch.randn(num_frames, 1, *space, generator=generator)
    truth = truth.abs() if positive else truth
    return truth, 1.1 * truth, torch.arange(float(num_frames))


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


@pytest.mark.parametrize("space", [(8, 6), (6, 5, 3)])
def test_rows_of_truth_prediction_and_error(space):
    truth, prediction, times = trajectories(space)
    figure = rollout_figure(truth, prediction, times, make_spec(space))
    grid = panels(figure)
    assert len(grid) == 15
    assert [axes.get_title() for axes in grid[:5]] == [
        "t = 0",
        "t = 2",
        "t = 3",
        "t = 4",
        "t = 6",
    ]
    assert [grid[i].get_ylabel().split("\n")[0] for i in (0, 5, 10)] == [
        "truth", "prediction", "prediction − truth",
    ]  # fmt: skip
    assert {axes.get_title() for axes in grid[10:]} == {"relative L2 10%"}
    assert grid[10].get_xlabel() == "x"
    assert [axes.get_ylabel() for axes in figure.axes[15:]] == ["vorticity (1/s)", "error"]


def test_pixels_are_the_field_with_x_to_the_right():
    truth, prediction, times = trajectories((8, 6))
    figure = rollout_figure(truth, prediction, times, make_spec(), num_frames=2)
    shown = torch.from_numpy(panels(figure)[1].images[0].get_array().data)
    torch.testing.assert_close(shown, truth[-1, 0].T.double())
    error = torch.from_numpy(panels(figure)[5].images[0].get_array().data)
    torch.testing.assert_close(error, 0.1 * truth[-1, 0].T.double())


def test_truth_and_prediction_share_a_symmetric_scale():
    truth, prediction, times = trajectories((8, 6))
    grid = panels(rollout_figure(truth, prediction, times, make_spec()))
    limits = [axes.images[0].get_clim() for axes in grid]
    assert len(set(limits[:10])) == 1
    assert limits[0][0] == -limits[0][1]
    assert limits[10] != limits[0]
    assert limits[10][0] == -limits[10][1]


def test_a_field_of_one_sign_uses_its_range():
    truth, prediction, times = trajectories((8, 6), positive=True)
    image = panels(rollout_figure(truth, prediction, times, make_spec()))[0].images[0]
    frames = [0, 2, 3, 4, 6]
    assert image.get_clim() == pytest.approx(
        (truth[frames].min().item(), truth[frames].max().item())
    )
    assert image.get_cmap().name == "viridis"


def test_one_axis_is_shown_over_time():
    truth, prediction, times = trajectories((16,))
    figure = rollout_figure(truth, prediction, times, make_spec((16,)))
    grid = panels(figure)
    assert [axes.get_title() for axes in grid] == ["truth", "prediction", "prediction − truth"]
    assert grid[0].get_xlabel() == "x"
    assert grid[0].get_ylabel() == "t"
    assert grid[0].images[0].get_array().shape == (7, 16)


def test_short_constant_and_diverged_rollouts_are_drawn():
    truth, _, times = trajectories((8, 6), num_frames=1)
    figure = rollout_figure(
        torch.ones_like(truth), torch.full_like(truth, torch.nan), times, make_spec()
    )
    assert len(panels(figure)) == 3
    figure.canvas.draw()


def test_a_channel_that_is_not_there_is_named():
    truth, _, times = trajectories((8, 6))
    two = torch.cat([truth, truth], 1)
    with pytest.raises(ValueError, match="field_label: expected a channel below 1"):
        rollout_figure(two, two, times, make_spec(), channel=1)
