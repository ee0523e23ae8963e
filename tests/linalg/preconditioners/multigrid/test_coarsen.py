from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.coarsen import (
    CONSTANT,
    STRENGTH,
    CoarseningRule,
    coarsen,
)
from sciml.linalg.preconditioners.multigrid.edges import merge_by_sorting, merge_edges
from sciml.linalg.preconditioners.multigrid.graph import EdgeList, level_from_operator
from sciml.linalg.preconditioners.multigrid.strength import attach_pieces
from tests.linalg.preconditioners.multigrid.reference import (
    components,
    conjugate_gradients,
    levels_of,
    matrix,
    system,
)

SEED = 61_730_549
DOMAINS = ["box", "sphere", "random", "dense", "freesurf", "opentop", "thin"]
MEDIA = ["cb_a", "cb_s", "cb_8", "logn", "aniso", "aniso-logn"]


def dictionary(edges):
    """Sums of weights by unordered pairs."""
    total = defaultdict(float)
    for i, j, weight in zip(*edges, strict=True):
        total[frozenset((int(i), int(j)))] += weight
    return total


def naive_coarsening(level):
    """Connected pieces of blocks, as sets of nodes, and halved sums of the edges between."""
    neighbours = defaultdict(dict)
    for edge in level.edges:
        for i, j, weight in zip(*edge, strict=True):
            neighbours[int(i)][int(j)] = neighbours[int(j)][int(i)] = weight
    block = {i: tuple(level.block[:, i] // 2) for i in range(level.num_nodes)}
    piece = {}
    for seed in range(level.num_nodes):
        if seed not in piece:
            found = flood(seed, lambda i: [j for j in neighbours[i] if block[j] == block[i]])
            piece.update(dict.fromkeys(found, found))
    weights = defaultdict(float)
    for i, row in neighbours.items():
        for j, weight in row.items():
            if piece[i] != piece[j] and i < j:
                weights[frozenset((piece[i], piece[j]))] += weight / 2
    return piece, weights


def flood(seed, reach):
    """All that can be reached from a node."""
    found, frontier = {seed}, [seed]
    while frontier:
        fresh = set(reach(frontier.pop())) - found
        found |= fresh
        frontier.extend(fresh)
    return frozenset(found)


@pytest.mark.parametrize("shape", [(9, 14), (13, 6), (1, 7), (6, 5, 7), (5, 1, 4)])
@pytest.mark.parametrize("domain", ["dense", "freesurf", "thin"])
def test_constant_rule_against_a_loop_over_cells(domain, shape):
    level = level_from_operator(system(domain, "constant", shape, seed=SEED))
    while level.num_edges:
        piece, weights = naive_coarsening(level)
        coarse = coarsen(level, CONSTANT)
        names = [set() for _ in range(coarse.num_nodes)]
        for i, node in enumerate(coarse.aggregate):
            names[node].add(i)
        names = [frozenset(name) for name in names]
        assert set(names) == set(piece.values())
        assert len(names) == len(set(names))
        found = defaultdict(float)
        for edge in coarse.edges:
            for i, j, weight in zip(*edge, strict=True):
                key = frozenset((names[i], names[j]))
                assert key not in found
                found[key] = weight
        assert dict(found) == pytest.approx(dict(weights))
        assert coarse.inner.lower.size == 0
        level = coarse


@pytest.mark.parametrize("rule", [CONSTANT, STRENGTH])
@pytest.mark.parametrize("medium", ["constant", "cb_s", "aniso-logn"])
@pytest.mark.parametrize(("domain", "shape"), [("freesurf", (45, 38)), ("thin", (15, 16, 17))])
def test_coarse_operators_are_graph_laplacians(domain, shape, medium, rule):
    levels = levels_of(system(domain, medium, shape, seed=SEED), rule)
    assert len(levels) >= 3
    label, _ = components(levels[0])
    for level in levels[1:]:
        dense = matrix(level).toarray()
        np.testing.assert_allclose(dense, dense.T)
        assert (dense[~np.eye(len(dense), dtype=bool)] <= 0).all()
        scale = np.abs(dense).max()
        np.testing.assert_allclose(dense.sum(1), level.dirichlet, atol=1e-12 * scale)
        np.testing.assert_allclose(level.diagonal, dense.diagonal(), rtol=1e-12)
        for edge in (*level.edges, level.inner):
            assert (edge.weight > 0).all()
            assert len(dictionary(edge)) == edge.lower.size
        own, _ = components(level)
        label_here = np.full(level.num_nodes, -1)
        label_here[level.aggregate] = label
        np.testing.assert_array_equal(label_here[level.aggregate], label)  # none merged
        assert own.max() == label.max()  # and none broken up
        label = label_here


@pytest.mark.parametrize("rule", [CONSTANT, STRENGTH])
@pytest.mark.parametrize("medium", ["constant", "cb_s", "logn"])
def test_red_nodes_come_first_and_edges_lie_where_they_are_listed(medium, rule):
    levels = levels_of(system("random", medium, (43, 38), seed=SEED), rule)
    assert levels[-1].is_regular == (rule is CONSTANT or medium == "constant")
    for level in levels:
        parity = level.block.sum(0) % 2
        assert not parity[: level.num_red].any()
        assert parity[level.num_red :].all()
        for axis, edge in enumerate(level.edges):
            step = level.block[:, edge.upper] - level.block[:, edge.lower]
            assert (step != 0).any(0).all()
            if level.is_regular:
                assert (step == np.eye(2, dtype=int)[axis][:, None]).all()
        assert (level.block[:, level.inner.lower] == level.block[:, level.inner.upper]).all()


def test_a_wall_splits_its_blocks_on_all_levels():
    flags = np.full((16, 16), 2, np.uint8)
    flags[6] = 1
    flags[6, 15] = 2  # the gap
    levels = levels_of_flags(flags)
    for level in levels[1:4]:
        sides = np.zeros((level.num_nodes, 2), bool)
        node = cells_to(levels, level)
        for i, cell in enumerate(levels[0].block.T):
            if cell[0] != 6 and cell[1] < 8:
                sides[node[i], int(cell[0] > 6)] = True
        assert not sides.all(1).any()


def levels_of_flags(flags):
    levels = [level_from_operator(PoissonOperator(flags))]
    while levels[-1].num_nodes > 1:
        levels.append(coarsen(levels[-1]))
    return levels


def cells_to(levels, level):
    node = np.arange(levels[0].num_nodes)
    for other in levels[1:]:
        node = other.aggregate[node]
        if other is level:
            break
    return node


def test_weights_of_an_open_box_stay_those_of_the_cells():
    # 2^l faces between blocks of 2^l cells, each 2^-l
    level = level_from_operator(PoissonOperator(np.full((16, 16), 2, np.uint8)))
    volume = level_from_operator(PoissonOperator(np.full((8, 8, 8), 2, np.uint8)))
    for depth in range(1, 4):
        level, volume = coarsen(level), coarsen(volume)
        assert level.width == (2**depth, 2**depth)
        assert {float(w) for edge in level.edges for w in edge.weight} == {1.0}
        assert {float(w) for edge in volume.edges for w in edge.weight} <= {2.0**depth}


def test_only_strongly_connected_axes_are_coarsened():
    level = level_from_operator(system("box", "aniso", (32, 32), seed=SEED))
    assert level.edges[0].weight[0] == 1
    np.testing.assert_allclose(level.edges[1].weight, 0.01)
    widths = []
    for _ in range(5):
        level = coarsen(level, STRENGTH)
        widths.append(level.width)
    # 100 : 1 falls four times a level: half of it along the axis, twice as many faces across
    assert widths == [(2, 1), (4, 1), (8, 1), (16, 2), (32, 4)]
    assert coarsen(level, CONSTANT).width == (64, 8)


def test_semi_coarsening_halves_along_the_coarsened_axis_alone():
    fine = level_from_operator(system("box", "aniso", (8, 6), seed=SEED))
    coarse = coarsen(fine, STRENGTH)
    np.testing.assert_allclose(coarse.edges[0].weight, 0.5)
    np.testing.assert_allclose(coarse.edges[1].weight, 0.02)


def test_weak_edges_keep_the_materials_of_a_block_apart_at_full_weight():
    kappa = np.ones((4, 4))
    kappa[:, :1] = 1e4
    kappa[:, 3:] = 1e4
    operator = PoissonOperator(np.full((4, 4), 2, np.uint8), coefficients=kappa)
    level = level_from_operator(operator)
    coarse = coarsen(level, CoarseningRule(threshold=0.1))
    materials = [set() for _ in range(coarse.num_nodes)]
    for (_, y), node in zip(level.block.T, coarse.aggregate, strict=True):
        materials[node].add(bool(y in (0, 3)))
    assert all(len(found) == 1 for found in materials)
    assert coarse.inner.lower.size == 4
    np.testing.assert_allclose(
        coarse.inner.weight, 2 * 2e4 / (1e4 + 1)
    )  # two faces, not halved
    assert coarsen(coarse, CONSTANT).inner.lower.size == 0


def test_small_pieces_go_to_their_material_in_the_next_block():
    # patches of 3 cells under blocks of 2: corners cut off by the rims of blocks
    operator = system("box", "cb_s", (32, 32), seed=SEED)
    level = level_from_operator(operator)
    apart = coarsen(level, CoarseningRule(threshold=0.1))
    joined = coarsen(level, CoarseningRule(threshold=0.1, attached=0.25))
    assert joined.num_nodes < apart.num_nodes
    kappa = operator.coefficients.numpy()[tuple(level.block)]
    for coarse in (apart, joined):
        low = np.full(coarse.num_nodes, np.inf)
        np.minimum.at(low, coarse.aggregate, kappa)
        np.testing.assert_array_equal(low[coarse.aggregate], kappa)  # one material each
        cells = [level.block[:, coarse.aggregate == k] for k in range(coarse.num_nodes)]
        spans = np.array([np.ptp(group, axis=1) for group in cells])
        assert spans.max() <= (1 if coarse is apart else 3)


def test_a_thin_layer_does_not_roll_up_into_one_node():
    kappa = np.ones((40, 40))
    kappa[:, 17] = 1e6
    kappa[21] = 1e6
    operator = PoissonOperator(np.full((40, 40), 2, np.uint8), coefficients=kappa)
    level = level_from_operator(operator)
    coarse = coarsen(level, CoarseningRule(threshold=0.1, attached=1.0))
    for k in range(coarse.num_nodes):
        assert np.ptp(level.block[:, coarse.aggregate == k], axis=1).max() <= 5


@pytest.mark.parametrize("shape", [(96, 96), (24, 24, 24)])
@pytest.mark.parametrize("medium", MEDIA)
def test_levels_shrink_and_complexity_stays_below_two(medium, shape):
    levels = levels_of(system("random", medium, shape, seed=SEED), STRENGTH)
    sizes = np.array([level.num_nodes for level in levels])
    assert (sizes[1:] <= 0.8 * sizes[:-1]).all()
    entries = [level.num_nodes + 2 * level.num_edges for level in levels]
    assert sum(entries) <= 2.05 * entries[0]
    for level in levels[1:]:
        assert level.inner.lower.size <= level.num_nodes


def test_aggregates_are_connected():
    levels = levels_of(system("random", "cb_s", (40, 44), seed=SEED), STRENGTH)
    for fine, coarse in pairwise(levels):
        graph = matrix(fine)
        for k in range(coarse.num_nodes):
            members = np.flatnonzero(coarse.aggregate == k)
            assert connected_components(graph[members][:, members], directed=False)[0] == 1


@pytest.mark.parametrize("shape", [(48, 48), (16, 16, 16)])
@pytest.mark.parametrize("domain", DOMAINS)
def test_spectrum_with_the_reference_cycle(domain, shape):
    levels = levels_of(system(domain, "constant", shape, seed=SEED), CONSTANT)
    steps, low, high, definite = conjugate_gradients(levels, 1e-12, seed=SEED)
    assert steps <= 24
    assert low >= 0.19
    assert high <= 1.7
    assert definite > 0


@pytest.mark.parametrize("shape", [(48, 48), (16, 16, 16)])
@pytest.mark.parametrize("contrast", [1e3, 1e6])
@pytest.mark.parametrize("medium", MEDIA)
def test_spectrum_in_other_media(medium, contrast, shape):
    levels = levels_of(system("random", medium, shape, seed=SEED, contrast=contrast), STRENGTH)
    # at a contrast of 1e6, rounding in Ax is 1e-8 of b
    _, low, high, definite = conjugate_gradients(levels, 1e-4 / contrast**0.5, seed=SEED)
    assert low >= 0.15
    assert high <= 2
    assert definite > 0


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(256, 256), (40, 40, 40)])
@pytest.mark.parametrize("domain", ["random", "freesurf"])
@pytest.mark.parametrize("medium", MEDIA)
def test_steps_beside_ruge_stueben(medium, domain, shape):
    pyamg = pytest.importorskip("pyamg")
    levels = levels_of(system(domain, medium, shape, seed=SEED), STRENGTH)
    steps, *_, definite = conjugate_gradients(levels, 1e-6, seed=SEED)
    cycle = pyamg.ruge_stuben_solver(matrix(levels[0])).aspreconditioner()
    baseline, *_ = conjugate_gradients(levels, 1e-6, seed=SEED, precondition=cycle.matvec)
    assert steps <= 1.2 * baseline
    assert definite > 0
    entries = [level.num_nodes + 2 * level.num_edges for level in levels]
    work = sum(2**depth * count for depth, count in enumerate(entries)) / entries[0]
    assert work <= (5.5 if medium.startswith("aniso") else 2.8)


def test_the_v_cycle_is_definite_as_well():
    for medium in ("cb_s", "aniso-logn"):
        levels = levels_of(system("random", medium, (64, 64), seed=SEED), STRENGTH)
        *_, definite = conjugate_gradients(levels, 1e-6, seed=SEED, visits=1)
        assert definite > 0


def test_stretched_cells_of_a_hundred_to_one():
    operator = system("random", "aniso-logn", (64, 48), seed=SEED, stretch=100.0)
    steps, low, high, definite = conjugate_gradients(
        levels_of(operator, STRENGTH), 1e-8, seed=SEED
    )
    assert steps <= 12
    assert 0.5 <= low <= high <= 1.5
    assert definite > 0


def test_coefficients_without_any_smoothness():
    kappa = 1e6 ** np.random.default_rng(SEED).random((48, 48))
    operator = PoissonOperator(np.full((48, 48), 2, np.uint8), coefficients=kappa)
    levels = levels_of(operator, STRENGTH)
    sizes = np.array([level.num_nodes for level in levels])
    assert (sizes[1:] <= 0.8 * sizes[:-1]).all()
    steps, low, high, definite = conjugate_gradients(levels, 1e-6, seed=SEED)
    assert steps <= 40
    assert 0.02 <= low <= high <= 2
    assert definite > 0


def test_pieces_go_to_the_strongest_larger_one_and_follow_it():
    #  0 (1 cell) - 1 (2 cells) - 2 (4 cells, stays) in three blocks side by side, 3 is another
    chain = EdgeList(np.array([0, 1, 0]), np.array([1, 2, 3]), np.array([3.0, 3.0, 1.0]))
    mobile, volume = np.array([True, True, False, False]), np.array([1.0, 2.0, 4.0, 4.0])
    near = np.array([[1, 0, 1, 1], [0, 0, 0, 1]], np.int32)
    assert attach_pieces(chain, mobile, volume, near).tolist() == [2, 2, 2, 3]
    # two blocks away from where it would end up, the first one stays by itself
    line = np.array([[0, 1, 2, 0], [0, 0, 0, 1]], np.int32)
    assert attach_pieces(chain, mobile, volume, line).tolist() == [0, 2, 2, 3]
    assert attach_pieces(chain, ~mobile & False, volume, near).tolist() == [0, 1, 2, 3]


def test_equal_pieces_do_not_swap_places():
    pair = EdgeList(np.array([0, 1]), np.array([1, 0]), np.array([1.0, 1.0]))
    mobile, block = np.array([True, True]), np.array([[0, 1]], np.int32)
    assert attach_pieces(pair, mobile, np.ones(2), block).tolist() == [1, 1]


def test_merge_edges_is_a_sum_by_pairs():
    stream = np.random.default_rng(SEED)
    ends = stream.integers(0, 12, (2, 300)).astype(np.int32)
    edges = EdgeList(ends[0], ends[1], stream.random(300))
    expected = np.zeros((12, 12))
    np.add.at(expected, tuple(ends), edges.weight)
    for merge in (merge_edges, merge_by_sorting):
        merged = merge(edges, 12)
        found = np.zeros((12, 12))
        found[merged.lower, merged.upper] = merged.weight
        np.testing.assert_allclose(found, expected)
        assert merged.lower.size == np.count_nonzero(expected)


def test_a_single_cell_has_nothing_to_coarsen():
    flags = np.zeros((3, 3), np.uint8)
    flags[1, 1] = 2
    level = level_from_operator(PoissonOperator(flags))
    coarse = coarsen(level, STRENGTH)
    assert (coarse.num_nodes, coarse.num_edges) == (1, 0)
