import math

import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.smoke_bodies import Part
from sciml.simulate.smoke_scenes import SmokeScene, make_scene

NAMES = ["plume", "sphere", "bunny", "spinning_box", "moving_sphere"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("open_top", [True, False])
def test_scene_has_fluid_walls_and_a_body(name, ndim, open_top):
    scene = make_scene(name, 24, ndim=ndim, open_top=open_top)
    flags = scene.flags(0.0)
    assert tuple(flags.shape) == scene.resolution == (24,) * ndim
    assert bool((flags[..., -1] == 3).all()) == open_top
    assert int((flags[..., :-1] == 3).sum()) == 0
    assert bool((flags == 1).any()) == (name != "plume")
    source = scene.source.contains(scene.cells())
    assert bool((flags[source] == 2).all())
    assert int(source.sum()) > 0
    assert scene.domain.extent == (1.0,) * ndim


def test_disc_has_its_area_and_place():
    scene = make_scene("sphere", 200)
    solid = scene.flags(0.0) == 1
    assert float(solid.sum()) / 200**2 == pytest.approx(math.pi * 0.1**2, rel=0.01)
    x, up = scene.cells()
    assert float((x * solid).sum() / solid.sum()) == pytest.approx(0.52, abs=1e-3)
    assert float((up * solid).sum() / solid.sum()) == pytest.approx(0.45, abs=1e-3)


def test_bunny_has_two_ears():
    solid = make_scene("bunny", 200).flags(0.0) == 1
    rows = [int((row.int().diff() == 1).sum()) for row in solid.T]
    top = max(i for i, runs in enumerate(rows) if runs)
    assert max(rows[top - 12 : top]) == 2


@pytest.mark.parametrize("name", ["spinning_box", "moving_sphere"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_moving_body_pushes_no_net_volume(name, ndim):
    """On the staircase of its faces, so that a closed box stays solvable."""
    scene = make_scene(name, 21, ndim=ndim, open_top=False)
    time = 0.37
    operator = PoissonOperator(scene.flags(time), scene.spacing)
    solid = operator.flags == 1
    velocity = []
    for axis, n in enumerate(scene.resolution):
        end = torch.zeros_like(solid.narrow(axis, 0, 1))
        touching = torch.cat([solid, end], axis) | torch.cat([end, solid], axis)
        own = scene.body.velocity(scene.faces(axis), axis, time)
        velocity.append(torch.where(touching, own, 0.0))
        assert velocity[-1].shape[axis] == n + 1
    divergence = operator.divergence(velocity)
    assert float(divergence.abs().max()) > 0.1
    assert abs(float(divergence.sum())) < 1e-11


def test_still_bodies_do_not_move():
    for name in ("sphere", "bunny"):
        scene = make_scene(name, 20)
        assert not scene.body.moving
        assert torch.equal(scene.flags(0.0), scene.flags(3.0))


def test_time_step_scales_with_cells_and_buoyancy():
    coarse, fine = make_scene("plume", 32), make_scene("plume", 64)
    assert coarse.dt == pytest.approx(2 * fine.dt)
    source = coarse.source
    heavy = SmokeScene("plume", (32, 32), source, buoyancy=4.0)
    assert coarse.dt == pytest.approx(2 * heavy.dt)


def test_refusals():
    with pytest.raises(ValueError, match="got 'sfere'; did you mean 'sphere'"):
        make_scene("sfere", 32)
    with pytest.raises(ValueError, match="make_scene: expected 2 or 3 axes, got 4"):
        make_scene("sphere", 32, ndim=4)
    with pytest.raises(ValueError, match="at least 8 cells, got resolution=\\(7, 7\\)"):
        make_scene("sphere", 7)
    source = Part((0.5, 0.1), (0.1, 0.1))
    with pytest.raises(ValueError, match="expected a source and a body in 3 axes"):
        SmokeScene("plume", (16, 16, 16), source)
    with pytest.raises(ValueError, match=r"expected positive numbers, got buoyancy=0\.0"):
        SmokeScene("plume", (16, 16), source, buoyancy=0.0)
