"""From one level of CCMG to the next: pieces of blocks that hang together become nodes.

Two nodes go to the same coarse node if a path of strong edges joins them within a block of two
by two (by two) blocks. Conductances between coarse nodes are sums over the faces between them,
halved per level along coarsened axes, since flow passes twice the distance. That is the
Galerkin operator of piecewise constant transfers over two, which makes up for their known
fault: they overestimate the energy of smooth functions. An edge between two pieces of the same
block keeps the plain sum: no distance grew.

Source: over-correction: Braess, Computing 55 (1995), 379, section 4; one coarse node for each
connected piece: Dick, Rogowsky and Westermann, IEEE Trans. Vis. Comput. Graph. 22 (2016), 2480;
strength of connection: see `strength`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from sciml.linalg.preconditioners.multigrid.edges import (
    join_edges,
    merge_by_sorting,
    merge_edges,
    merge_links,
    move_edges,
    select_edges,
)
from sciml.linalg.preconditioners.multigrid.graph import (
    EdgeList,
    GraphLevel,
    empty_edges,
)
from sciml.linalg.preconditioners.multigrid.pieces import Pieces, find_pieces, flat_blocks
from sciml.linalg.preconditioners.multigrid.strength import strong_axes

RELAXATION = 0.25
"""What the threshold is multiplied by where a level would hardly shrink."""

NUM_RELAXATIONS = 2
"""How often, before all edges count as strong."""


@final
@dataclass(frozen=True)
class CoarseningRule:
    """Which edges are strong, which axes are coarsened, and when that is given up.

    Attributes:
        threshold: θ: an edge is strong if its conductance is at least θ times that of the
            strongest edge at either end; 0 takes all edges.
        axis_ratio: An axis is coarsened if the median conductance along it is at least this
            share of the largest median; 0 coarsens all axes.
        attached: A piece of at most this share of a block's cells that has others in its block
            goes to the piece of a neighbouring block that it is tied to most.
        shrinkage: Share of the nodes that a level may keep where all axes are coarsened. With
            more left, θ is lowered.
        semi_shrinkage: The same where only some axes are; with more left, all axes are.
    """

    threshold: float = 0.0
    axis_ratio: float = 0.0
    attached: float = 0.0
    shrinkage: float = 1.0
    semi_shrinkage: float = 1.0


CONSTANT = CoarseningRule()
"""Merges whatever is connected: for constant coefficients on cubic cells."""

STRENGTH = CoarseningRule(0.05, 0.26, attached=0.25, shrinkage=0.6, semi_shrinkage=0.8)
"""For coefficients that jump and for cells that are not cubes."""


def coarsen(level: GraphLevel, rule: CoarseningRule = CONSTANT) -> GraphLevel:
    """The next coarser level.

    Args:
        level: The finer one.
        rule: What to merge.
    """
    pieces = _shrinking_pieces(level, rule)
    edges, inner = (_regular if pieces.is_regular else _irregular)(level, pieces)
    return GraphLevel(
        block=pieces.block,
        num_red=pieces.num_red,
        edges=edges,
        inner=inner,
        links=merge_links(level.links._replace(node=pieces.aggregate.take(level.links.node))),
        width=tuple(w << halve for w, halve in zip(level.width, pieces.axes, strict=True)),
        aggregate=pieces.aggregate,
        finer=level,
        is_regular=pieces.is_regular,
    )


def _regular(level: GraphLevel, pieces: Pieces) -> tuple[tuple[EdgeList, ...], EdgeList]:
    """Edges of the coarse level where all pieces are in the blocks of their nodes."""
    edges, inner = [], [level.inner]
    for edge, within, halve in zip(level.edges, pieces.within, pieces.axes, strict=False):
        across = select_edges(edge, ~within) if halve else edge
        merged = merge_edges(move_edges(across, pieces.aggregate), pieces.num_nodes)
        edges.append(merged._replace(weight=0.5 * merged.weight) if halve else merged)
        if halve and not pieces.is_plain:
            inner.append(select_edges(edge, within))
    if pieces.is_plain:
        return tuple(edges), empty_edges()
    moved = move_edges(join_edges(inner), pieces.aggregate)
    return tuple(edges), _merge_inner(moved, pieces.num_nodes)


def _irregular(level: GraphLevel, pieces: Pieces) -> tuple[tuple[EdgeList, ...], EdgeList]:
    """Edges of the coarse level where pieces were attached to other blocks, now or before."""
    flat, size = flat_blocks(pieces.block), pieces.num_nodes
    edges: list[list[EdgeList]] = []
    inner = []
    for edge, halve in zip(level.edges, pieces.axes, strict=True):
        moved = move_edges(edge, pieces.aggregate)
        within = flat.take(moved.lower) == flat.take(moved.upper)
        across = select_edges(moved, ~within)
        edges.append([across._replace(weight=0.5 * across.weight) if halve else across])
        inner.append(select_edges(moved, within))
    moved = move_edges(level.inner, pieces.aggregate)
    within = flat.take(moved.lower) == flat.take(moved.upper)
    inner.append(select_edges(moved, within))
    if not within.all():  # a piece that was attached elsewhere left its block
        _sort_by_axis(select_edges(moved, ~within), pieces.block, edges)
    merged = [
        merge_edges(_ahead(join_edges(group), pieces.block[axis]), size)
        for axis, group in enumerate(edges)
    ]
    return tuple(merged), _merge_inner(join_edges(inner), size)


def _shrinking_pieces(level: GraphLevel, rule: CoarseningRule) -> Pieces:
    """What a rule merges; its threshold falls until the level shrinks."""
    attempts = _attempts(level, rule)
    pieces = find_pieces(level, *next(attempts), rule.attached)
    for axes, threshold in attempts:
        most = rule.shrinkage if all(pieces.axes) else rule.semi_shrinkage
        if pieces.num_nodes <= most * level.num_nodes:
            break
        pieces = find_pieces(level, axes, threshold, rule.attached)
    return pieces


def _attempts(
    level: GraphLevel, rule: CoarseningRule
) -> Iterator[tuple[tuple[bool, ...], float]]:
    """Axes and thresholds to try one after the other."""
    axes = strong_axes(level, rule.axis_ratio)
    yield axes, rule.threshold
    every = (True,) * len(axes)
    if axes != every:
        yield every, rule.threshold
    if rule.threshold > 0:
        for power in range(1, NUM_RELAXATIONS + 1):
            yield every, rule.threshold * RELAXATION**power
        yield every, 0.0


def _sort_by_axis(
    moved: EdgeList, block: NDArray[np.int32], edges: list[list[EdgeList]]
) -> None:
    """Add edges to the list of the axis along which the blocks of their ends differ."""
    axis = np.abs(block[:, moved.upper] - block[:, moved.lower]).argmax(0)
    for k, group in enumerate(edges):
        group.append(select_edges(moved, axis == k))


def _ahead(edges: EdgeList, line: NDArray[np.int32]) -> EdgeList:
    """The same edges, all from a block to one further along the axis.

    Attached pieces turn some around; ties go by number, so that each pair has one direction.
    """
    step = line.take(edges.upper) - line.take(edges.lower)
    turned = (step < 0) | ((step == 0) & (edges.upper < edges.lower))
    if not turned.any():
        return edges
    lower = np.where(turned, edges.upper, edges.lower)
    return EdgeList(lower, np.where(turned, edges.lower, edges.upper), edges.weight)


def _merge_inner(edges: EdgeList, num_nodes: int) -> EdgeList:
    edges = select_edges(edges, edges.lower != edges.upper)
    ends = np.minimum(edges.lower, edges.upper), np.maximum(edges.lower, edges.upper)
    return merge_by_sorting(EdgeList(*ends, edges.weight), num_nodes)
