import itertools
import math

import numpy as np
import pytest
import torch

from sciml.simulate.smoke_advection import (
    advect_density,
    advect_velocity,
    cells_to_faces,
    faces_to_cells,
)

SHAPES = [(7, 6), (5, 4, 6)]


def draw_velocity(shape, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [
        scale
        * torch.randn(
            [n + (k == axis) for k, n in enumerate(shape)],
            generator=generator,
            dtype=torch.float64,
        )
        for axis in range(len(shape))
    ]


def inner_faces(shape):
    """All faces but those on the rim."""
    faces = []
    for axis in range(len(shape)):
        open_ = torch.ones([n + (k == axis) for k, n in enumerate(shape)], dtype=torch.bool)
        open_.narrow(axis, 0, 1).fill_(False)
        open_.narrow(axis, shape[axis], 1).fill_(False)
        faces.append(open_)
    return faces


def swirl(n):
    """Discretely divergence-free flow in a box, from a stream function on the corners."""
    x = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    psi = torch.sin(math.pi * x)[:, None] ** 2 * torch.sin(math.pi * x)[None, :] ** 2
    return [n * psi.diff(dim=1), -n * psi.diff(dim=0)]


def interpolate(field, point):
    """Naive linear interpolation of an array, clamped to it."""
    point = [min(max(p, 0.0), n - 1.0) for p, n in zip(point, field.shape, strict=True)]
    total = 0.0
    for corner in itertools.product((0, 1), repeat=field.ndim):
        weight, index = 1.0, []
        for p, n, c in zip(point, field.shape, corner, strict=True):
            low = min(int(p), n - 2)
            weight *= p - low if c else 1 - (p - low)
            index.append(low + c)
        total += weight * field[tuple(index)]
    return total


@pytest.mark.parametrize("shape", SHAPES)
def test_velocity_is_carried_as_point_by_point(shape):
    velocity = draw_velocity(shape, 90121)
    steps = [0.7, 1.3, 0.4][: len(shape)]
    centred = [faces_to_cells(u, k).numpy() for k, u in enumerate(velocity)]
    displaced = [np.empty(shape) for _ in shape]
    for index in itertools.product(*map(range, shape)):
        halfway = [
            i - 0.5 * s * u[index] for i, s, u in zip(index, steps, centred, strict=True)
        ]
        for k, s in enumerate(steps):
            displaced[k][index] = s * interpolate(centred[k], halfway)
    for axis, (u, found) in enumerate(
        zip(velocity, advect_velocity(velocity, steps), strict=True)
    ):
        back = [cells_to_faces(torch.from_numpy(p), axis).numpy() for p in displaced]
        expected = np.empty(u.shape)
        for index in itertools.product(*map(range, u.shape)):
            place = [i - p[index] for i, p in zip(index, back, strict=True)]
            expected[index] = interpolate(u.numpy(), place)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_paths_back_are_of_second_order():
    # u = a x is linear, so interpolation is exact and the midpoint rule's expansion shows
    n, rate = 24, 0.3
    x = torch.arange(n + 1, dtype=torch.float64) - n / 2
    velocity = [
        (rate * x)[:, None].expand(n + 1, n).contiguous(),
        torch.zeros(n, n + 1).double(),
    ]
    after, _ = advect_velocity(velocity, [1.0, 1.0])
    inside = slice(4, -4)
    expected = velocity[0] * (1 - rate + rate**2 / 2)
    torch.testing.assert_close(after[inside], expected[inside])


@pytest.mark.parametrize("shape", SHAPES)
def test_density_changes_by_what_leaves_whatever_the_velocity(shape):
    generator = torch.Generator().manual_seed(51237)
    outside = torch.zeros(shape, dtype=torch.bool)
    outside[..., -1] = True
    density = torch.rand(shape, generator=generator, dtype=torch.float64) * ~outside
    velocity = draw_velocity(shape, 8124365, scale=2.0)
    after, left = advect_density(
        density, velocity, inner_faces(shape), [1.0] * len(shape), outside
    )
    assert left > 0.1
    assert abs(float(density.sum() - after.sum()) - left) < 1e-13 * float(density.sum())
    assert float(after.min()) >= 0
    assert float(after[outside].abs().max()) == 0


def test_nothing_passes_a_closed_face():
    shape = (8, 6)
    open_faces = inner_faces(shape)
    open_faces[0][4] = False
    density = torch.zeros(shape, dtype=torch.float64)
    density[2] = 1.0
    velocity = [torch.full(f.shape, 0.8, dtype=torch.float64) for f in open_faces]
    for _ in range(20):
        density, _ = advect_density(
            density, velocity, open_faces, [1.0, 1.0], torch.zeros(shape, dtype=torch.bool)
        )
    assert float(density[4:].abs().max()) == 0
    assert float(density.sum()) == pytest.approx(6.0, rel=1e-14)


def test_divergence_free_flow_makes_no_new_extremes():
    n = 24
    generator = torch.Generator().manual_seed(6655321)
    density = (torch.rand(n, n, generator=generator) > 0.5).double()
    outside = torch.zeros(n, n, dtype=torch.bool)
    for _ in range(30):
        density, _ = advect_density(
            density, swirl(n), inner_faces((n, n)), [3.6 / n] * 2, outside
        )
        assert float(density.min()) >= 0
        assert float(density.max()) <= 1 + 1e-12
    assert 0.05 < float(density.std()) < 0.5


def test_constant_density_stays_in_divergence_free_flow():
    n = 16
    density = torch.full((n, n), 0.7, dtype=torch.float64)
    none = torch.zeros(n, n, dtype=torch.bool)
    after, left = advect_density(density, swirl(n), inner_faces((n, n)), [3 / n] * 2, none)
    torch.testing.assert_close(after, density, rtol=0, atol=1e-14)
    assert left == 0


def test_density_is_of_second_order():
    """A blob goes round in a rotating flow and comes back; slope of the error in L1."""
    errors, sizes = [], [32, 48, 64, 96]
    for n in sizes:
        corners = torch.arange(n + 1, dtype=torch.float64) / n - 0.5
        # ψ = π r²: solid rotation with period 1 / (time scale), cut off where there is no blob
        psi = -math.pi * (corners[:, None] ** 2 + corners[None, :] ** 2)
        velocity = [n * psi.diff(dim=1), -n * psi.diff(dim=0)]
        centres = (torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5
        start = torch.exp(
            -((centres[:, None] - 0.15) ** 2 + centres[None, :] ** 2) / (2 * 0.08**2)
        )
        density, num_steps = start, n
        none = torch.zeros(n, n, dtype=torch.bool)
        for _ in range(num_steps):
            density, _ = advect_density(
                density, velocity, inner_faces((n, n)), [n / num_steps] * 2, none
            )
        errors.append(float((density - start).abs().sum() / n**2))
    slope = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slope > 1.8
