import numpy as np
import pytest
from numpy.typing import NDArray

from sciml.linalg.preconditioners.multigrid.blocks import (
    BlockCoarsening,
    cells_by_corner,
)
from sciml.linalg.preconditioners.multigrid.coarsen import coarsen
from sciml.linalg.preconditioners.multigrid.graph import GraphLevel, finest_level
from sciml.simulate.geometry import make_flags

SEED = 73_912_047


def unit_faces(flags: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Ones on faces between fluid and fluid or air."""
    faces = []
    for axis in range(flags.ndim):
        cells = np.moveaxis(flags, axis, 0)
        below, above = cells[:-1], cells[1:]
        is_open = (below > 1) & (above > 1) & ((below == 2) | (above == 2))
        width = [(1, 1) if k == 0 else (0, 0) for k in range(flags.ndim)]
        faces.append(np.moveaxis(np.pad(is_open.astype(float), width), 0, axis))
    return faces


def dense(level: GraphLevel) -> NDArray[np.float64]:
    matrix = np.diag(level.diagonal)
    for edge in (*level.edges, level.inner):
        np.subtract.at(matrix, (edge.lower, edge.upper), edge.weight)
        np.subtract.at(matrix, (edge.upper, edge.lower), edge.weight)
    return matrix


@pytest.mark.parametrize("kind", ["random", "dense", "freesurf", "thin", "opentop", "sphere"])
@pytest.mark.parametrize("shape", [(32, 32), (19, 27), (1, 9), (3, 3), (9, 8, 7), (10, 10, 10)])
def test_level_one_is_that_of_the_general_coarsening(kind: str, shape: tuple[int, ...]) -> None:
    flags = make_flags(kind, shape, seed=SEED)  # type: ignore[arg-type]
    if not (flags == 2).any():
        pytest.skip("no fluid at this size")
    check_same_level(flags)


def test_level_one_of_noise_where_most_blocks_fall_apart() -> None:
    for shape in [(21, 30), (9, 10, 11)]:
        flags = np.random.default_rng(SEED).choice([1, 2, 2, 3], shape).astype(np.uint8)
        check_same_level(flags)


def check_same_level(flags: NDArray[np.uint8]) -> None:
    finest = finest_level(flags == 2, unit_faces(flags))
    expected = coarsen(finest)
    blocks = BlockCoarsening(flags == 2, flags == 3)
    level = blocks.level()
    assert (level.num_nodes, level.num_red) == (expected.num_nodes, expected.num_red)
    assert expected.aggregate is not None
    node = np.full(flags.shape, -1)
    node[tuple(finest.block)] = expected.aggregate
    corners = blocks.tables.corners
    number = np.full(level.num_nodes, -1)  # of each of our nodes in the general coarsening
    for k, cells in enumerate(cells_by_corner(node, corners, -1)):
        own = blocks.nodes(k)
        assert np.array_equal(own == level.num_nodes, cells < 0)
        number[own[cells >= 0]] = cells[cells >= 0]
    assert np.array_equal(np.sort(number), np.arange(level.num_nodes))
    assert np.array_equal(level.block, expected.block[:, number])
    assert np.array_equal(level.volume, expected.volume[number])
    if level.links.node.size:
        assert np.allclose(level.centroid, expected.centroid[:, number], atol=1e-12)
    assert np.allclose(dense(level), dense(expected)[np.ix_(number, number)], atol=1e-12)
