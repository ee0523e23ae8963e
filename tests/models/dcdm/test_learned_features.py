import itertools

import numpy as np
import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.models.dcdm.learned_features import (
    DistinctRows,
    edge_features,
    hierarchy_areas,
    link_features,
    node_features,
)
from sciml.models.dcdm.learned_hierarchy import graph_levels
from sciml.simulate.geometry import make_flags


def cells_of_nodes(levels, number):
    """Cell coordinates of each node of a level, from the maps alone."""
    owner = np.arange(levels[0].num_nodes)
    for level in levels[1 : number + 1]:
        owner = level.aggregate[owner]
    block = levels[0].block
    return [block[:, owner == node].T for node in range(levels[number].num_nodes)]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("random", (23, 18)), ("freesurf", (17, 24)), ("thin", (20, 13)), ("dense", (9, 12, 10))],
)
def test_features_are_those_of_the_cells_of_each_node(kind, shape):
    operator = PoissonOperator(make_flags(kind, shape, seed=30011))
    levels = graph_levels(operator, 3)
    areas = hierarchy_areas(operator, levels)
    flags = operator.flags.numpy()
    ndim = len(shape)
    for number in (1, 2):
        level, width = levels[number], 2.0**number
        groups = cells_of_nodes(levels, number)
        owner = {tuple(c): n for n, cells in enumerate(groups) for c in cells}
        faces, to_air = {}, {}
        for cell, node in owner.items():
            for axis, step in itertools.product(range(ndim), (-1, 1)):
                beyond = tuple(c + step * (k == axis) for k, c in enumerate(cell))
                if not all(0 <= c < n for c, n in zip(beyond, shape, strict=True)):
                    continue
                other = owner.get(beyond)
                if flags[beyond] == 3:
                    key = (node, axis, float(beyond[axis]))
                    to_air[key] = to_air.get(key, 0) + 1
                elif other is not None and other != node and step == 1:
                    faces[axis, node, other] = faces.get((axis, node, other), 0) + 1
        fill = np.array([len(cells) for cells in groups]) / width**ndim
        centre = np.array([cells.mean(0) for cells in groups])
        rows = iter(edge_features(level, areas[number]))
        for axis, edge in enumerate(level.edges):
            for i, j in zip(edge.lower, edge.upper, strict=True):
                offset = np.abs(centre[j] - centre[i]) / width
                across = np.sqrt((offset**2).sum() - offset[axis] ** 2)
                expected = [
                    faces.pop((axis, i, j)) / width ** (ndim - 1) - 1,
                    offset[axis] - 1,
                    across,
                    fill[i] + fill[j] - 2,
                    abs(fill[i] - fill[j]),
                ]
                np.testing.assert_allclose(next(rows), expected, atol=1e-7)
        assert not faces
        distances = level.link_distance
        for row, node, axis, plane, distance in zip(
            link_features(level, areas[number]),
            level.links.node,
            level.links.axis,
            level.links.plane,
            distances,
            strict=True,
        ):
            assert distance == max(0.5, abs(centre[node][axis] - plane))
            area = to_air.pop((node, axis, plane)) / width ** (ndim - 1)
            expected = [area - 1, distance / width - 0.5, fill[node] - 1, 1 / width, 0]
            np.testing.assert_allclose(row, expected, atol=1e-12)
        assert not to_air


def test_an_inner_block_has_features_of_zero():
    operator = PoissonOperator(np.full((16, 16), 2))
    levels = graph_levels(operator, 3)
    areas = hierarchy_areas(operator, levels)
    for number, level in enumerate(levels):
        table = node_features(level, areas[number])
        inside = ((level.block > 0) & (level.block < level.block.max(1)[:, None])).all(0)
        np.testing.assert_allclose(table[inside, :4], 0, atol=1e-12)
        np.testing.assert_allclose(table[:, 4], 0.5**number)
        assert (table[~inside, 1] < 0).all()  # walls take part of the diagonal
        np.testing.assert_allclose(edge_features(level, areas[number]), 0, atol=1e-12)


def test_coefficients_do_not_enter_but_open_fractions_do():
    flags = make_flags("random", (18, 15), seed=30013)
    coefficients = (
        torch.rand(18, 15, dtype=torch.float64) * 0.01 + 1
    )  # too even to split blocks
    fractions = [
        torch.ones(19, 15, dtype=torch.float64),
        torch.ones(18, 16, dtype=torch.float64),
    ]
    fractions[0][8] = 0.95
    tables = []
    for options in ({}, {"coefficients": coefficients}, {"face_fraction": fractions}):
        operator = PoissonOperator(flags, **options)
        levels = graph_levels(operator, 2)
        tables.append(edge_features(levels[1], hierarchy_areas(operator, levels)[1]))
    np.testing.assert_array_equal(tables[0], tables[1])
    assert np.abs(tables[2] - tables[0])[:, 0].max() == pytest.approx(0.05)


def test_distinct_rows_are_the_table():
    generator = np.random.default_rng(30029)
    table = generator.integers(0, 3, (200, 5)) / 7
    found = DistinctRows.of(table, torch.float64)
    np.testing.assert_array_equal(found.rows[found.place].numpy(), table)
    assert len(found.rows) == len(np.unique(table, axis=0))
    joined = DistinctRows.join([found, DistinctRows.of(table[:3], torch.float64)])
    np.testing.assert_array_equal(
        joined.rows[joined.place].numpy(), np.concatenate([table, table[:3]])
    )
