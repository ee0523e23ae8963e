import math

import pytest
import torch

from sciml.simulate.smoke_bodies import Body, Part


def grid(n, ndim):
    lines = [(torch.arange(n, dtype=torch.float64) + 0.5) / n] * ndim
    return torch.meshgrid(*lines, indexing="ij")


@pytest.mark.parametrize("ndim", [2, 3])
def test_parts_have_their_volume(ndim):
    points = grid(80, ndim)
    radii, centre = (0.3, 0.2, 0.25)[:ndim], (0.5, 0.45, 0.55)[:ndim]
    box = Part(centre, radii, "box").contains(points).double().mean()
    assert float(box) == pytest.approx(math.prod(2 * r for r in radii), rel=0.06)
    ellipsoid = Part(centre, radii).contains(points).double().mean()
    unit = math.pi if ndim == 2 else 4 / 3 * math.pi
    assert float(ellipsoid) == pytest.approx(unit * math.prod(radii), rel=0.01)


def test_tilt_turns_from_the_first_axis_to_the_last():
    thin = Part((0.0, 0.0, 0.0), (0.4, 0.1, 0.1), "box", tilt=math.pi / 2)
    up, along = (
        [torch.tensor([x]) for x in (0.0, 0.0, 0.3)],
        [torch.tensor([x]) for x in (0.3, 0.0, 0.0)],
    )
    assert bool(thin.contains(up))
    assert not bool(thin.contains(along))
    leaning = Part((0.0, 0.0), (0.4, 0.05), "box", tilt=math.pi / 4)
    assert bool(leaning.contains([torch.tensor([0.2]), torch.tensor([0.2])]))
    assert not bool(leaning.contains([torch.tensor([0.2]), torch.tensor([-0.2])]))


def test_union_holds_every_part():
    points = grid(50, 2)
    parts = (Part((-0.2, 0.0), (0.1, 0.1)), Part((0.2, 0.1), (0.1, 0.15), "box"))
    whole = Body(parts, (0.5, 0.5)).contains(points, 0.0)
    own = [x - 0.5 for x in points]
    assert torch.equal(whole, parts[0].contains(own) | parts[1].contains(own))


@pytest.mark.parametrize("ndim", [2, 3])
def test_body_moves_as_its_velocity_says(ndim):
    """A point of the body, followed over a short time, stays in it."""
    part = Part((0.0,) * ndim, (0.2, *((0.1,) * (ndim - 1))), "box")
    swing = (0.05, *((0.0,) * (ndim - 2)), 0.03)
    body = Body((part,), (0.5,) * ndim, swing=swing, period=2.0, spin=0.9)
    time, dt = 0.35, 1e-4

    def corner(t):
        origin = body._origin(t)
        angle = 0.9 * t
        point = [torch.tensor([c], dtype=torch.float64) for c in origin]
        point[0] += 0.2 * math.cos(angle)
        point[-1] += 0.2 * math.sin(angle)
        return point

    before, here, after = corner(time - dt), corner(time), corner(time + dt)
    for axis in range(ndim):
        expected = (after[axis] - before[axis]) / (2 * dt)
        torch.testing.assert_close(body.velocity(here, axis, time), expected, atol=1e-6, rtol=0)
    assert body.moving
    inside = [c + 0.999 * (x - c) for x, c in zip(here, body._origin(time), strict=True)]
    beyond = [c + 1.001 * (x - c) for x, c in zip(here, body._origin(time), strict=True)]
    assert bool(body.contains(inside, time))
    assert not bool(body.contains(beyond, time))
