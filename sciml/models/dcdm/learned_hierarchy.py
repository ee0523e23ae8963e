"""The levels of CCMG as tensors: one geometry, or several side by side as one graph."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.coarsen import CONSTANT, STRENGTH, coarsen
from sciml.linalg.preconditioners.multigrid.graph import GraphLevel, level_from_operator
from sciml.models.dcdm.learned_features import (
    Areas,
    DistinctRows,
    edge_features,
    hierarchy_areas,
    link_features,
    node_features,
)

COARSEST = 150
"""Nodes from which on a level is solved by its inverse. Trained nets know this depth."""

_CACHED_GEOMETRIES = 128


class FinestNodes(NamedTuple):
    """The fluid cells: their flat numbers on the grid, red ones first within a geometry."""

    cells: Tensor
    is_red: Tensor
    node_features: DistinctRows


class CoarseGraph(NamedTuple):
    """A level below the grid.

    Edges along axes come first, one feature row each; behind them those between nodes of the
    same block. `aggregate` says which node here each node of the finer level went to.
    """

    num_nodes: int
    lower: Tensor
    upper: Tensor
    conductance: Tensor
    edge_features: DistinctRows
    link_node: Tensor
    link_conductance: Tensor
    link_features: DistinctRows
    node_features: DistinctRows
    is_red: Tensor
    aggregate: Tensor


class Hierarchy(NamedTuple):
    """All levels; cells are counted over `num_cells` in all."""

    num_cells: int
    finest: FinestNodes
    coarse: tuple[CoarseGraph, ...]


def graph_levels(operator: PoissonOperator, num_levels: int | None = None) -> list[GraphLevel]:
    """Levels of one geometry from the cells on, at least two.

    Where the conductances differ, blocks are split by their strength, as in `CCMG`.

    Args:
        operator: One geometry.
        num_levels: How many; None stops at 150 nodes, or where nothing is left to merge.
    """
    rule = CONSTANT if operator.is_uniform else STRENGTH
    levels = [level_from_operator(operator)]
    while len(levels) < 2 or _goes_on(levels, num_levels):
        levels.append(coarsen(levels[-1], rule))
    return levels


def _goes_on(levels: Sequence[GraphLevel], num_levels: int | None) -> bool:
    if num_levels is not None:
        return len(levels) < num_levels
    last = levels[-1]
    shrinks = last.num_nodes < 0.95 * levels[-2].num_nodes
    return last.num_nodes > COARSEST and last.num_edges > 0 and shrinks


def levels_of_shape(shape: Sequence[int]) -> int:
    """Number of levels after which at most 150 blocks are left: the same for all geometries."""
    sizes, count = np.array(shape), 1
    while sizes.prod() > COARSEST or count < 2:
        sizes, count = (sizes + 1) // 2, count + 1
    return count


def hierarchy(
    operator: PoissonOperator,
    levels: Sequence[GraphLevel],
    *,
    dtype: torch.dtype = torch.float32,
) -> Hierarchy:
    """Tensors of the levels of one geometry, on the CPU.

    Args:
        operator: The geometry.
        levels: Its graphs from `graph_levels`.
        dtype: Of conductances and features.
    """
    areas = hierarchy_areas(operator, levels)
    block = levels[0].block
    cells = np.ravel_multi_index(tuple(block.astype(np.int64)), operator.in_shape)
    finest = FinestNodes(
        torch.as_tensor(cells),
        _is_red(levels[0]),
        DistinctRows.of(node_features(levels[0], areas[0]), dtype),
    )
    coarse = [
        _coarse_graph(level, own, dtype)
        for level, own in zip(levels[1:], areas[1:], strict=True)
    ]
    # cells that are no unknowns go to the first node, to which they have nothing to add
    aggregate = torch.zeros(operator.flags.numel(), dtype=torch.int64)
    aggregate[finest.cells] = coarse[0].aggregate
    coarse[0] = coarse[0]._replace(aggregate=aggregate)
    return Hierarchy(operator.flags.numel(), finest, tuple(coarse))


@functools.lru_cache(maxsize=_CACHED_GEOMETRIES)
def hierarchy_of_flags(flags: bytes, shape: tuple[int, ...], dtype: torch.dtype) -> Hierarchy:
    """The hierarchy on unit cells with as many levels as all geometries of the shape have.

    Kept for the next time, since training meets the geometries of its pool again and again.
    """
    operator = PoissonOperator(np.frombuffer(flags, np.uint8).reshape(shape).copy())
    return hierarchy(operator, graph_levels(operator, levels_of_shape(shape)), dtype=dtype)


def join(parts: Sequence[Hierarchy]) -> Hierarchy:
    """Several geometries, with equal numbers of levels, as one that falls into parts."""
    if len(parts) == 1:
        return parts[0]
    cells = _starts([part.num_cells for part in parts])
    finest = FinestNodes(
        torch.cat([p.finest.cells + s for p, s in zip(parts, cells, strict=False)]),
        torch.cat([part.finest.is_red for part in parts]),
        DistinctRows.join([part.finest.node_features for part in parts]),
    )
    columns = zip(*(part.coarse for part in parts), strict=True)
    return Hierarchy(cells[-1], finest, tuple(_join_graphs(column) for column in columns))


def _join_graphs(graphs: Sequence[CoarseGraph]) -> CoarseGraph:
    nodes = _starts([graph.num_nodes for graph in graphs])

    def moved(name: str) -> Tensor:
        tensors = [getattr(graph, name) for graph in graphs]
        return torch.cat([t + start for t, start in zip(tensors, nodes, strict=False)])

    along = [len(graph.edge_features.place) for graph in graphs]
    starts = _starts([len(graph.lower) for graph in graphs])
    order = torch.cat(
        [
            *(torch.arange(s, s + n) for s, n in zip(starts, along, strict=False)),
            *(
                torch.arange(s + n, end)
                for s, n, end in zip(starts, along, starts[1:], strict=False)
            ),
        ]
    )
    return CoarseGraph(
        num_nodes=nodes[-1],
        lower=moved("lower")[order],
        upper=moved("upper")[order],
        conductance=torch.cat([graph.conductance for graph in graphs])[order],
        edge_features=DistinctRows.join([graph.edge_features for graph in graphs]),
        link_node=moved("link_node"),
        link_conductance=torch.cat([graph.link_conductance for graph in graphs]),
        link_features=DistinctRows.join([graph.link_features for graph in graphs]),
        node_features=DistinctRows.join([graph.node_features for graph in graphs]),
        is_red=torch.cat([graph.is_red for graph in graphs]),
        aggregate=moved("aggregate"),
    )


def _starts(sizes: Sequence[int]) -> list[int]:
    return [int(start) for start in np.cumsum([0, *sizes])]


def _coarse_graph(level: GraphLevel, areas: Areas, dtype: torch.dtype) -> CoarseGraph:
    edges = (*level.edges, level.inner)
    lower, upper, weight = (np.concatenate(column) for column in zip(*edges, strict=True))
    aggregate = np.empty(0) if level.aggregate is None else level.aggregate
    return CoarseGraph(
        num_nodes=level.num_nodes,
        lower=torch.as_tensor(lower.astype(np.int64)),
        upper=torch.as_tensor(upper.astype(np.int64)),
        conductance=torch.as_tensor(weight, dtype=dtype),
        edge_features=DistinctRows.of(edge_features(level, areas), dtype),
        link_node=torch.as_tensor(level.links.node.astype(np.int64)),
        link_conductance=torch.as_tensor(
            level.links.strength / level.link_distance, dtype=dtype
        ),
        link_features=DistinctRows.of(link_features(level, areas), dtype),
        node_features=DistinctRows.of(node_features(level, areas), dtype),
        is_red=_is_red(level),
        aggregate=torch.as_tensor(aggregate.astype(np.int64)),
    )


def _is_red(level: GraphLevel) -> Tensor:
    return torch.arange(level.num_nodes) < level.num_red
