import itertools

import pytest
import torch

from sciml.data.symmetry import Symmetry
from sciml.spec import FieldSpec


def matrix(symmetry):
    """The map as a matrix, from the definition x'_i = s_i x_p(i)."""
    ndim = len(symmetry.axes)
    rows = torch.zeros(ndim, ndim, dtype=torch.float64)
    for i, (axis, sign) in enumerate(zip(symmetry.axes, symmetry.signs, strict=True)):
        rows[i, axis] = sign
    return rows


def all_of(ndim):
    return [
        Symmetry(axes, signs)
        for axes in itertools.permutations(range(ndim))
        for signs in itertools.product((1, -1), repeat=ndim)
    ]


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_determinant_flips_and_turns(ndim):
    for symmetry in all_of(ndim):
        assert symmetry.determinant == round(float(torch.linalg.det(matrix(symmetry))))
        for axis in range(ndim):
            mirror = torch.eye(ndim, dtype=torch.float64)
            mirror[axis, axis] = -1
            assert torch.equal(matrix(symmetry.flipped(axis)), mirror @ matrix(symmetry))
        for a, b in itertools.combinations(range(ndim), 2):
            quarter = torch.eye(ndim, dtype=torch.float64)
            quarter[[a, b], [a, b]] = 0
            quarter[b, a], quarter[a, b] = 1, -1  # carries e_a into e_b
            assert torch.equal(matrix(symmetry.turned(a, b)), quarter @ matrix(symmetry))
    assert [s for s in all_of(ndim) if s.trivial] == [Symmetry.identity(ndim)]
    assert not Symmetry((0,), (1,), (2,)).trivial
    assert Symmetry((0,), (1,), (0,)).trivial


@pytest.mark.parametrize("ndim", [2, 3])
def test_components_are_those_of_tensors(ndim):
    """One factor of the matrix for each index, and the determinant for pseudotensors."""
    generator = torch.Generator().manual_seed(41_017)
    fields = [
        FieldSpec(f"{kind}{rank}", rank, ndim**rank)
        for rank in (0, 2, 1)
        for kind in ("true", "pseudo")
    ]
    values = [
        torch.randn((ndim,) * f.rank, dtype=torch.float64, generator=generator) for f in fields
    ]
    flat = torch.cat([v.flatten() for v in values])
    for symmetry in all_of(ndim):
        channels, signs = symmetry.components(fields, ["pseudo0", "pseudo1", "pseudo2"])
        expected = []
        for field, value in zip(fields, values, strict=True):
            turned = value
            for index in range(field.rank):
                turned = torch.tensordot(matrix(symmetry), turned, ([1], [index]))
                turned = turned.movedim(0, index)
            handed = symmetry.determinant if field.name.startswith("pseudo") else 1
            expected.append(handed * turned.flatten())
        found = flat[channels] * torch.tensor(signs, dtype=torch.float64)
        torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=0)


@pytest.mark.parametrize(("grid", "periodic"), [("vertex", 1), ("vertex", 0), ("cell", 1)])
def test_points_move_about_the_center(grid, periodic):
    """A function of the coordinates, moved, is the function of the coordinates mapped back."""
    n = 6
    index = torch.arange(n, dtype=torch.float64)
    if grid == "cell":
        line = (index + 0.5) / n - 0.5
    else:
        line = index / n - 0.5 if periodic else index / (n - 1) - 0.5
    points = torch.stack(torch.meshgrid(line, line, indexing="ij"))

    def function(x):
        return torch.sin(2 * torch.pi * x[0]) + torch.cos(2 * torch.pi * (x[0] - x[1] + 0.1))

    on_lattice = [bool(periodic) and grid == "vertex"] * 2
    for symmetry in all_of(2):
        moved = symmetry.move_points(function(points)[None], on_lattice)[0]
        back = torch.tensordot(matrix(symmetry).T, points, 1)
        torch.testing.assert_close(moved, function(back))
    shifted = Symmetry((0, 1), (1, 1), (2, 5)).move_points(function(points), on_lattice)
    assert torch.equal(shifted, torch.roll(function(points), (2, 5), (0, 1)))
