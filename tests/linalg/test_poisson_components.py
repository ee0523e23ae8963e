"""Connected parts of the fluid and what is projected away on each."""

import numpy as np
import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.geometry import make_flags
from tests.linalg.operators import random

DOUBLE = torch.float64
POCKETS = """
22122
11122
22222
11111
23122
"""


def flags_of(picture):
    return np.array([list(line) for line in picture.split()], dtype=np.uint8)


def test_parts_are_numbered_in_order_and_know_their_air():
    operator = PoissonOperator(flags_of(POCKETS))
    expected = [
        [0, 0, -1, 1, 1],
        [-1, -1, -1, 1, 1],
        [1, 1, 1, 1, 1],
        [-1, -1, -1, -1, -1],
        [2, -1, -1, 3, 3],
    ]
    assert operator.components.tolist() == expected
    assert operator.components.dtype == torch.int64
    assert operator.singular_components.tolist() == [True, True, False, True]


def test_each_part_without_air_loses_its_mean_and_nothing_else():
    operator = PoissonOperator(flags_of(POCKETS))
    b = random(3, 5, 5, dtype=DOUBLE)
    projected = operator.project(b)
    for part, singular in enumerate(operator.singular_components):
        cells = operator.components == part
        mean = b[:, cells].mean(-1, keepdim=True) * singular
        torch.testing.assert_close(projected[:, cells], b[:, cells] - mean)
    assert not projected[:, operator.components < 0].any()
    torch.testing.assert_close(operator.project(projected), projected)


def test_closed_faces_part_the_fluid_and_the_air():
    flags = np.full((3, 4), 2, np.uint8)
    flags[:, 3] = 3
    walls = [np.ones((4, 4)), np.ones((3, 5))]
    walls[0][1] = 0.0  # below the first row
    walls[1][0, 3] = 0.0  # towards the air of the first row
    operator = PoissonOperator(flags, face_fraction=walls)
    assert operator.components.tolist() == [[0, 0, 0, -1], [1, 1, 1, -1], [1, 1, 1, -1]]
    assert operator.singular_components.tolist() == [True, False]
    open_everywhere = PoissonOperator(flags, face_fraction=[np.ones((4, 4)), np.ones((3, 5))])
    assert open_everywhere.singular_components.tolist() == [False]


@pytest.mark.parametrize("shape", [(40, 41), (13, 12, 14)])
def test_fractions_of_one_part_the_fluid_as_none_do(shape):
    flags = make_flags("dense", shape, seed=71993)
    flags[5] = 1
    ones = [np.ones([n + (k == a) for k, n in enumerate(shape)]) for a in range(len(shape))]
    plain, given = PoissonOperator(flags), PoissonOperator(flags, face_fraction=ones)
    assert len(plain.singular_components) > 1
    torch.testing.assert_close(plain.components, given.components)
    torch.testing.assert_close(plain.singular_components, given.singular_components)


def test_isolated_cells_are_parts_of_their_own():
    flags = np.indices((6, 6)).sum(0) % 2 + 1  # a checkerboard
    operator = PoissonOperator(flags)
    assert len(operator.singular_components) == 18
    assert not operator.diagonal().any()
    assert float(operator.project(random(6, 6, dtype=DOUBLE)).abs().max()) < 1e-15


def test_geometries_of_a_batch_are_parted():
    flags = np.stack([flags_of(POCKETS), np.full((5, 5), 2, np.uint8)])
    operator = PoissonOperator(flags, num_axes=2)
    assert int(operator.components[0].max()) == 3
    assert operator.components[1].unique().tolist() == [4]
    b = random(2, 2, 5, 5, dtype=DOUBLE)
    projected = operator.project(b)
    torch.testing.assert_close(projected[:, 0], PoissonOperator(flags[0]).project(b[:, 0]))
    torch.testing.assert_close(projected[:, 1], b[:, 1] - b[:, 1].mean((-2, -1), keepdim=True))


def test_projection_is_differentiable():
    operator = PoissonOperator(flags_of(POCKETS))
    b = random(5, 5, dtype=DOUBLE).requires_grad_()
    weight = random(5, 5, dtype=DOUBLE, seed=5550123)
    (gradient,) = torch.autograd.grad((operator.project(b) * weight).sum(), b)
    torch.testing.assert_close(gradient, operator.project(weight))
