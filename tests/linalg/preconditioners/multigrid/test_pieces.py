"""Connected pieces against SciPy's."""

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sciml.linalg.preconditioners.multigrid.edges import merge_links
from sciml.linalg.preconditioners.multigrid.graph import EdgeList, LinkList
from sciml.linalg.preconditioners.multigrid.pieces import connected_pieces

SEED = 31_415_927


def edges(lower: np.ndarray, upper: np.ndarray) -> EdgeList:
    return EdgeList(lower.astype(np.int32), upper.astype(np.int32), np.ones(lower.size))


def check(num_nodes: int, groups: list[EdgeList]) -> None:
    ends = [np.concatenate([group[k] for group in groups]) for k in (0, 1)]
    graph = sparse.coo_array((np.ones(ends[0].size), tuple(ends)), (num_nodes, num_nodes))
    count, expected = connected_components(graph, directed=False)
    label, first = connected_pieces(num_nodes, groups)
    assert label.dtype == np.int32
    assert first.size == count
    assert len(set(zip(label.tolist(), expected.tolist(), strict=True))) == count
    np.testing.assert_array_equal(label[first], np.arange(count))


@pytest.mark.parametrize("num_edges", [0, 40, 150, 199, 400])
def test_random_graphs(num_edges: int) -> None:
    rng = np.random.default_rng(SEED + num_edges)
    for _ in range(20):
        groups = [edges(*rng.integers(0, 200, (2, num_edges))) for _ in range(2)]
        check(200, groups)


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
def test_long_chains(order: str) -> None:
    lower = np.arange(500)
    upper = lower + 1
    if order == "backward":
        lower, upper = upper[::-1], lower[::-1]
    if order == "shuffled":
        name = np.random.default_rng(SEED).permutation(501)
        lower, upper = name[lower], name[upper]
    keep = np.arange(500) != 123
    check(501, [edges(lower[keep], upper[keep])])
    check(501, [edges(lower[keep][::2], upper[keep][::2]), edges(lower[1::2], upper[1::2])])


def test_stars_in_both_directions() -> None:
    leaves = np.arange(1, 60)
    check(60, [edges(np.zeros(59), leaves)])
    check(60, [edges(leaves, np.zeros(59))])
    check(60, [edges(leaves[::-1], np.zeros(59)), edges(leaves[:-1], leaves[1:])])


def test_links_of_a_node_to_one_plane_are_one() -> None:
    rng = np.random.default_rng(SEED)
    node, axis, plane = (rng.integers(0, n, 300) for n in (7, 3, 5))
    strength = rng.random(300)
    links = merge_links(
        LinkList(node.astype(np.int32), axis.astype(np.int8), plane.astype(float), strength)
    )
    expected: dict[tuple[int, ...], float] = {}
    for *key, value in zip(node, axis, plane, strength, strict=True):
        place = tuple(int(k) for k in key)
        expected[place] = expected.get(place, 0.0) + value
    keys = list(
        zip(links.node.tolist(), links.axis.tolist(), links.plane.tolist(), strict=True)
    )
    assert keys == sorted(expected)
    assert dict(zip(keys, links.strength, strict=True)) == pytest.approx(expected)
