import numpy as np
import pytest
import torch
from scipy import sparse

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.coarsen import STRENGTH, coarsen
from sciml.linalg.preconditioners.multigrid.graph import (
    compress,
    finest_level,
    level_from_operator,
)
from tests.linalg.preconditioners.multigrid.reference import matrix, system

SEED = 40_961_377


def as_matrix(rows, shape):
    return sparse.csr_matrix((rows.data, rows.indices, rows.indptr), shape)


@pytest.mark.parametrize(
    ("domain", "medium", "shape"),
    [
        ("random", "constant", (17, 24)),
        ("freesurf", "logn", (23, 12)),
        ("freesurf", "aniso-logn", (9, 12, 11)),
        ("thin", "cb_s", (13, 10, 7)),
        ("opentop", "constant", (1, 5)),
        ("box", "constant", (1, 1)),
    ],
)
def test_finest_level_is_the_operator(domain, medium, shape):
    operator = system(domain, medium, shape, seed=SEED)
    level = level_from_operator(operator)
    cells = np.ravel_multi_index(tuple(level.block), shape)
    assert set(cells) == set(np.flatnonzero(operator.fluid.numpy()))
    full = sparse.csr_matrix(operator.to_csr())[cells][:, cells]
    np.testing.assert_allclose(matrix(level).toarray(), full.toarray(), rtol=1e-13)
    np.testing.assert_allclose(level.diagonal, full.diagonal(), rtol=1e-13)
    parity = level.block.sum(0) % 2
    assert not parity[: level.num_red].any()
    assert parity[level.num_red :].all()
    assert level.num_edges == sparse.triu(full, 1).nnz


def test_cut_faces_that_are_closed_have_no_edge():
    fractions = [torch.ones(6, 4, dtype=torch.float64), torch.ones(5, 5, dtype=torch.float64)]
    fractions[0][2, 1] = 0.0
    fractions[1][3, 2] = 0.25
    flags = np.full((5, 4), 2, np.uint8)
    level = level_from_operator(PoissonOperator(flags, face_fraction=fractions))
    assert [edge.lower.size for edge in level.edges] == [4 * 4 - 1, 5 * 3]
    assert np.sort(level.edges[1].weight)[0] == 0.25


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("medium", "shape", "depth"),
    [("constant", (21, 18), 0), ("cb_s", (40, 36), 2), ("cb_s", (20, 18, 19), 1)],
)
def test_color_blocks_make_up_the_operator(medium, shape, depth, dtype):
    level = level_from_operator(system("random", medium, shape, seed=SEED))
    for _ in range(depth):
        level = coarsen(level, STRENGTH)
    red, black = level.num_red, level.num_nodes - level.num_red
    blocks = level.color_blocks(dtype)
    assert blocks.red_black.data.dtype == dtype
    assert (blocks.red_red is not None) == (depth > 0)
    same = [
        as_matrix(rows, (n, n)) if rows is not None else sparse.csr_matrix((n, n))
        for rows, n in ((blocks.red_red, red), (blocks.black_black, black))
    ]
    across = (
        as_matrix(blocks.red_black, (red, black)),
        as_matrix(blocks.black_red, (black, red)),
    )
    whole = sparse.bmat([[same[0], across[0]], [across[1], same[1]]])
    expected = matrix(level).toarray()
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(whole.toarray(), -expected, rtol=10 * np.finfo(dtype).eps)
    assert blocks.red_black.indices.dtype == np.int32


def test_links_lead_to_air_half_a_cell_away_at_least():
    # a column of four cells under air: blocks of two, then all four
    flags = np.array([[3], [2], [2], [2], [2]], np.uint8)
    level = level_from_operator(PoissonOperator(flags, spacing=0.5))
    assert level.links.plane.tolist() == [0.0]
    np.testing.assert_array_equal(level.dirichlet[level.block[0] == 1], [4.0])
    coarse = coarsen(level)
    node = int(coarse.links.node[0])
    assert coarse.volume[node] == 1  # the block of cells 0 and 1 holds cell 1 alone
    assert coarse.link_distance.tolist() == [1.0]
    coarser = coarsen(coarse)
    assert coarser.volume[int(coarser.links.node[0])] == 3
    assert coarser.link_distance.tolist() == [2.0]
    np.testing.assert_allclose(coarser.dirichlet.sum(), 4.0 / 2.0)


def test_a_node_around_its_air_keeps_half_a_cell_of_distance():
    flags = np.full((4, 4), 2, np.uint8)
    flags[1, 1] = 3
    coarse = coarsen(coarsen(level_from_operator(PoissonOperator(flags))))
    assert coarse.num_nodes == 1
    # 15 cells around the air cell at (1, 1): both links along an axis are one
    np.testing.assert_allclose(coarse.centroid[:, 0], [23 / 15, 23 / 15])
    np.testing.assert_allclose(coarse.link_distance, [8 / 15, 8 / 15])
    np.testing.assert_allclose(coarse.dirichlet, [2 * 2 / (8 / 15)])


def test_volume_and_centroid_are_those_of_the_cells():
    finest = level_from_operator(system("dense", "constant", (19, 22), seed=SEED))
    level, node = finest, np.arange(finest.num_nodes)
    for _ in range(3):
        level = coarsen(level)
        node = level.aggregate[node]
        for k in range(level.num_nodes):
            cells = finest.block[:, node == k]
            assert level.volume[k] == cells.shape[1]
            np.testing.assert_allclose(level.centroid[:, k], cells.mean(1))


def test_strongest_is_the_largest_edge():
    level = level_from_operator(system("random", "logn", (11, 13), seed=SEED))
    np.testing.assert_allclose(level.strongest, -matrix(level).toarray().min(1), rtol=1e-13)


def test_compress_takes_triplets_in_any_order():
    rows, columns = np.array([2, 0, 2], np.int32), np.array([1, 3, 0], np.int32)
    made = as_matrix(compress(rows, columns, np.array([5.0, 7.0, 9.0]), (3, 4)), (3, 4))
    np.testing.assert_array_equal(made.toarray(), [[0, 0, 0, 7], [0, 0, 0, 0], [9, 5, 0, 0]])


def test_faces_between_cells_that_are_no_unknowns_play_no_part():
    fluid = np.zeros((3, 3), np.bool_)
    fluid[0, 0] = True
    weights = [np.ones((4, 3)), np.ones((3, 4))]
    level = finest_level(fluid, weights)
    assert (level.num_nodes, level.num_red, level.num_edges) == (1, 1, 0)
    assert level.links.plane.tolist() == [1.0, 1.0]
