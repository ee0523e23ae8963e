import numpy as np
import pytest
import torch
from PIL import Image

from sciml.evaluation.smoke_frames import SmokePicture, picture, smoke_sheet, write_animation
from sciml.simulate.smoke import SmokeSimulation
from sciml.simulate.smoke_scenes import make_scene


def simulation_of(ndim):
    return SmokeSimulation(make_scene("sphere", 24, ndim=ndim), lambda operator, b: None)


def pictures(count):
    rng = np.random.default_rng(7102231)
    body = np.zeros((20, 30), bool)
    body[8:12, 14:16] = True
    return [
        SmokePicture(0.1 * k, rng.random((20, 30)).astype(np.float32), body, (1.0, 1.5))
        for k in range(count)
    ]


def test_plane_is_seen_as_it_is():
    simulation = simulation_of(2)
    simulation.density[3, 5] = 0.25
    seen = picture(simulation)
    assert seen.smoke[3, 5] == 0.25
    assert seen.smoke.sum() == 0.25
    np.testing.assert_array_equal(seen.body, (simulation.operator.flags == 1).numpy())
    assert seen.extent == (1.0, 1.0)


def test_box_is_seen_along_its_second_axis_up_to_the_body():
    simulation = simulation_of(3)
    middle = 12
    height = 11  # of the ball
    simulation.density[middle, 2, height] = 1.0  # before the body
    simulation.density[middle, 22, height] = 1.0  # behind it
    simulation.density[2, 22, height] = 1.0  # beside it
    seen = picture(simulation)
    one = 1 - np.exp(-8 / 24)
    assert seen.smoke[middle, height] == pytest.approx(one, rel=1e-6)
    assert seen.smoke[2, height] == pytest.approx(one, rel=1e-6)
    assert np.count_nonzero(seen.smoke) == 2
    assert seen.body[middle, height]
    assert not seen.body[2, height]


def test_sheet_shows_the_last_frame_and_as_many_as_asked():
    figure = smoke_sheet({"long": pictures(11), "short": pictures(3)}, num_frames=4)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:4] == ["t = 0.20", "t = 0.50", "t = 0.80", "t = 1.00"]
    assert titles[4:] == ["t = 0.00", "t = 0.10", "t = 0.20", "t = 0.20"]
    assert [figure.axes[k].get_ylabel() for k in (0, 4)] == ["long", "short"]


def test_up_is_up_and_bodies_have_their_colour():
    body = np.zeros((4, 6), bool)
    body[1, 5] = True
    smoke = np.zeros((4, 6), np.float32)
    smoke[3, 0] = 1.0
    seen = SmokePicture(1.0, smoke, body, (1.0, 1.5))
    axes = smoke_sheet({"corner": [seen]}, num_frames=1).axes[0]
    image = axes.get_images()[0].get_array()
    assert image.shape == (6, 4, 3)
    assert tuple(image[0, 1]) == (230, 159, 0)  # highest row, second column
    assert max(image[5, 3]) < 40
    assert tuple(image[2, 2]) == (255, 255, 255)


def test_animation_has_all_frames_and_a_visible_size(tmp_path):
    path = write_animation(tmp_path / "smoke.gif", pictures(5))
    with Image.open(path) as image:
        assert image.n_frames == 5
        assert image.size == (320, 480)
        assert image.info["loop"] == 0
        image.seek(4)
        assert image.info["duration"] == 60
    assert [file.name for file in tmp_path.iterdir()] == ["smoke.gif"]


def test_state_is_not_changed_by_looking():
    simulation = simulation_of(3)
    before = simulation.density.clone()
    picture(simulation)
    assert torch.equal(simulation.density, before)
