"""Named coordinates, points inside a box and on its faces."""

import copy
import pickle

import pytest
import torch

from sciml import Box
from sciml.pde.points import Points, face_points, interior_points

BOX = Box(("x", "y", "t"), (0.0, -1.0, 2.0), (1.0, 3.0, 2.5))


def test_coordinates_are_attributes():
    points = Points(("x", "t"), torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64))
    assert points.x.tolist() == [1.0, 3.0]
    assert points["t"].tolist() == [2.0, 4.0]
    assert len(points) == 2
    with pytest.raises(AttributeError, match=r"expected one of the axes \('x', 't'\), got 'y'"):
        _ = points.y


def test_points_survive_copying_and_pickling():
    points = Points(("x",), torch.ones(3, 1, dtype=torch.float64))
    for twin in (copy.deepcopy(points), pickle.loads(pickle.dumps(points))):
        assert twin.x.tolist() == [1.0, 1.0, 1.0]


def test_wrong_columns_and_precision_are_refused():
    with pytest.raises(ValueError, match=r"expected one column per axis \('x', 'y'\), got"):
        Points(("x", "y"), torch.ones(3, 1, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"Points: expected float64, got torch.float32"):
        Points(("x",), torch.ones(3, 1))


def test_interior_points_fill_the_box():
    points = interior_points(BOX, 4000, torch.Generator().manual_seed(6_120_017))
    for k in range(3):
        low, high = BOX.low[k], BOX.high[k]
        assert low <= float(points[:, k].min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(points[:, k].max()) <= high


@pytest.mark.parametrize(("axis", "side", "end"), [("x", "low", 0.0), ("t", "high", 2.5)])
def test_face_points_are_the_grid_of_the_other_axes(axis, side, end):
    lines = [BOX.points_along(k, n) for k, n in enumerate((4, 3, 2))]
    k = BOX.axes.index(axis)
    points = face_points(BOX, axis, side, lines)
    assert bool((points[:, k] == end).all())
    others = [lines[j] for j in range(3) if j != k]
    expected = torch.cartesian_prod(*others)
    torch.testing.assert_close(points[:, [j for j in range(3) if j != k]], expected)
