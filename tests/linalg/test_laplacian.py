"""The Laplacian on boxes: every boundary on every grid, its order, its null space."""

import itertools
import math

import numpy as np
import pytest
import torch

from sciml.linalg.laplacian import LaplacianOperator, _axes
from sciml.linalg.solve import linear_solve
from tests.linalg.operators import random

DOUBLE = torch.float64
KINDS = list(itertools.product(("dirichlet", "neumann", "periodic"), ("cell", "vertex")))


def make(shape, kinds, spacing=0.5, dtype=DOUBLE):
    boundaries, grids = zip(*kinds, strict=True)
    return LaplacianOperator(shape, spacing, boundary=boundaries, grid=grids, dtype=dtype)


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_separable_spectrum_and_least_norm_solution(first, second):
    operator = make((5, 4), (first, second), (0.5, 0.3))
    dense = operator.to_dense()
    torch.testing.assert_close(operator.to_kronecker_sum().to_dense(), dense)
    torch.testing.assert_close(operator.T.to_kronecker_sum().to_dense(), dense.T)
    torch.testing.assert_close(operator.T.to_dense(), dense.T)
    eigenvalues = torch.linalg.eigvals(dense).real.sort().values
    torch.testing.assert_close(operator.eigenvalues().flatten().sort().values, eigenvalues)
    b = random(2, 5, 4, dtype=DOUBLE)
    for each in (operator, operator.T):
        expected = b.reshape(2, -1) @ torch.linalg.pinv(each.to_dense()).T
        torch.testing.assert_close(each.solve(b), expected.reshape(b.shape))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 3])
def test_shortest_axes(kind, size):
    operator = make((size,), (kind,))
    torch.testing.assert_close(operator.T.to_dense(), operator.to_dense().T)
    b = operator @ random(size, dtype=DOUBLE)
    torch.testing.assert_close(operator @ operator.solve(b), b)


@pytest.mark.parametrize("kind", [k for k in KINDS if k[0] != "dirichlet"])
def test_null_space_and_projection(kind):
    operator = make((6, 5), (kind, ("periodic", "cell")))
    for each in (operator, operator.T):
        basis = each.null_space()
        assert basis.shape == (1, 6, 5)
        assert float((each @ basis).abs().max()) < 1e-13
        assert float(basis.norm()) == pytest.approx(1)
    b = operator.project(random(3, 6, 5, dtype=DOUBLE))
    torch.testing.assert_close(operator @ operator.solve(b), b)
    torch.testing.assert_close(operator.project(b), b)


def test_dirichlet_has_no_null_space():
    operator = make((3, 4), (("dirichlet", "cell"), ("neumann", "cell")))
    assert operator.null_space() is None


def points_of(boundary, grid, cells):
    """Coordinates on [0, 1] of the unknowns of an axis."""
    if grid == "cell":
        return (torch.arange(cells, dtype=DOUBLE) + 0.5) / cells
    points = torch.arange(cells + 1, dtype=DOUBLE) / cells
    return {"dirichlet": points[1:-1], "neumann": points, "periodic": points[:-1]}[boundary]


@pytest.mark.parametrize("kind", KINDS)
def test_second_order_on_a_smooth_solution(kind):
    """u = sin(2πx) or cos(2πx), which meet the boundary conditions on [0, 1]."""
    boundary, grid = kind
    errors, sizes = [], [16, 32, 64, 128]
    for cells in sizes:
        points = points_of(boundary, grid, cells)
        wave = torch.sin if boundary == "dirichlet" else torch.cos
        u = wave(2 * math.pi * points)
        operator = make((len(points),), (kind,), 1 / cells)
        solution = operator.solve(4 * math.pi**2 * u)
        error = solution - u
        if boundary != "dirichlet":
            error = error - error.mean()  # the constant is free
        errors.append(float(error.abs().max()))
    slope = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(slope - 2) < 0.15


@pytest.mark.parametrize("shift", range(6))
@pytest.mark.parametrize("num_axes", [2, 3])
def test_second_order_in_several_dimensions(num_axes, shift):
    """-Δu = (2π)² d u for products of sines and cosines; other cells, conditions, spacings."""
    kinds = [KINDS[(shift + 2 * k) % 6] for k in range(num_axes)]
    errors, sizes = [], [12, 18, 24, 36]
    for size in sizes:
        cells = [size + k * size // 6 for k in range(num_axes)]
        u = torch.ones((), dtype=DOUBLE)
        for (boundary, grid), count in zip(kinds, cells, strict=True):
            wave = torch.sin if boundary == "dirichlet" else torch.cos
            u = u.unsqueeze(-1) * wave(2 * math.pi * points_of(boundary, grid, count))
        operator = make(u.shape, kinds, [1 / count for count in cells])
        right = operator.project(4 * math.pi**2 * num_axes * u)
        error = linear_solve(operator, right, rtol=1e-12).value - u
        if operator.null_space() is not None:
            error = error - error.mean()
        errors.append(float(error.abs().max()))
    slope = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(slope - 2) < 0.15


def test_default_precision_reaches_the_default_tolerance():
    """In float32 it does not: the residual of a solve is of size ε (L / h)²."""
    b = random(1000, dtype=DOUBLE)
    operator = LaplacianOperator((1000,))
    assert operator.dtype == DOUBLE
    assert linear_solve(operator, b)
    single = LaplacianOperator((1000,), dtype=torch.float32)
    assert not linear_solve(single, b.float(), throw=False)


@pytest.mark.parametrize("spacing", [np.float32(0.5), torch.tensor(0.5), np.array([0.5, 0.5])])
def test_spacing_of_any_number_type(spacing):
    """Past the type hints, by the function that reads the options."""
    axes = _axes((3, 4), spacing, "dirichlet", "cell")
    assert [axis.spacing for axis in axes] == [0.5, 0.5]


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("shape", [(33,), (17, 30), (8, 9, 10)])
def test_large_odd_shapes(shape, dtype):
    kinds = [("periodic", "vertex"), ("dirichlet", "vertex"), ("neumann", "cell")][: len(shape)]
    operator = make(shape, kinds, dtype=dtype)
    b = operator.project(random(2, *shape, dtype=dtype))
    x = operator.solve(b)
    residual = operator @ x - b
    assert x.dtype == dtype
    assert float(residual.norm() / b.norm()) < (1e-4 if dtype is torch.float32 else 1e-12)


def test_refusals():
    with pytest.raises(ValueError, match="one spacing, boundary and grid per axis"):
        LaplacianOperator((3, 4), (1.0,))
    with pytest.raises(ValueError, match="a vertex-centred Neumann axis has at least"):
        LaplacianOperator((1,), boundary="neumann", grid="vertex")
    with pytest.raises(ValueError, match="expected a positive spacing and enough points"):
        LaplacianOperator((3,), -1.0)
    with pytest.raises(ValueError, match="expected a positive spacing and enough points"):
        LaplacianOperator((3,), math.inf)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees():
    host = make((9, 8), (("dirichlet", "cell"), ("periodic", "cell")))
    device = LaplacianOperator(
        (9, 8),
        0.5,
        boundary=("dirichlet", "periodic"),
        dtype=DOUBLE,
        device=torch.device("cuda", 0),
    )
    b = random(9, 8, dtype=DOUBLE)
    torch.testing.assert_close((device @ b.cuda()).cpu(), host @ b)
    torch.testing.assert_close(device.solve(b.cuda()).cpu(), host.solve(b))
