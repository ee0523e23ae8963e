"""Which nodes of a level of CCMG become one: pieces of blocks held together by edges."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciml.linalg.preconditioners.multigrid.edges import join_edges, move_edges, select_edges
from sciml.linalg.preconditioners.multigrid.graph import EdgeList, GraphLevel, sum_by_node
from sciml.linalg.preconditioners.multigrid.strength import attach_pieces, strong_edges


class Pieces(NamedTuple):
    """Where the nodes of a level go.

    Attributes:
        axes: Whether each axis is coarsened.
        aggregate: Coarse node (int32) of each node; red ones come first.
        block: Coordinates of the coarse nodes' blocks.
        num_red: Red coarse nodes.
        within: Of the edges of each axis, then of the inner ones, whether both ends are in one
            coarse block before any piece is attached elsewhere.
        is_plain: Whether exactly those edges merged their ends.
        is_regular: Whether edges of the coarse level join neighbouring blocks along their axis.
    """

    axes: tuple[bool, ...]
    aggregate: NDArray[np.int32]
    block: NDArray[np.int32]
    num_red: int
    within: tuple[NDArray[np.bool_], ...]
    is_plain: bool
    is_regular: bool

    @property
    def num_nodes(self) -> int:
        """Coarse nodes."""
        return int(self.block.shape[1])


def find_pieces(
    level: GraphLevel, axes: Sequence[bool], threshold: float = 0.0, attached: float = 0.0
) -> Pieces:
    """Join nodes of one coarse block that a path of strong edges in it connects.

    Args:
        level: The finer level.
        axes: Whether blocks are twice as wide along each axis.
        threshold: Share of the strongest edge at either end that makes one strong; 0 for all.
        attached: Largest share of a block's cells in a piece that may go to another block.
    """
    block = level.block >> np.array(axes, np.int32)[:, None]
    groups, within = (*level.edges, level.inner), _within_blocks(level, axes, block)
    inside = [select_edges(edge, mask) for edge, mask in zip(groups, within, strict=True)]
    strong = inside
    if threshold:
        strong = [select_edges(e, strong_edges(level, e, threshold)) for e in inside]
    label, first = connected_pieces(level.num_nodes, strong)
    shared = _sharing(inside, label, first.size) if threshold else None
    is_plain, is_regular = shared is None or not shared.any(), level.is_regular
    if shared is not None and attached and not is_plain:
        size = attached * math.prod(w << a for w, a in zip(level.width, axes, strict=True))
        volume = sum_by_node(label, level.volume, first.size)
        mobile = shared & (volume <= size)
        touched = mobile.take(label)
        outside = [
            select_edges(e, (touched.take(e.lower) | touched.take(e.upper)) & ~mask)
            for e, mask in zip(groups, within, strict=True)
        ]
        ties = join_edges([select_edges(e, strong_edges(level, e, threshold)) for e in outside])
        target = attach_pieces(move_edges(ties, label), mobile, volume, block.take(first, 1))
        stays = target == np.arange(first.size)
        number = np.cumsum(stays, dtype=np.int32) - np.int32(1)
        label, first = number.take(target).take(label), first[stays]
        is_regular &= bool(stays.all())
    block = block.take(first, 1)
    red = (block.sum(0) & 1) == 0
    order = np.concatenate([np.flatnonzero(red), np.flatnonzero(~red)])
    number = np.empty(order.size, np.int32)
    number[order] = np.arange(order.size, dtype=np.int32)
    return Pieces(
        axes=tuple(axes),
        aggregate=number.take(label),
        block=block.take(order, 1),
        num_red=int(np.count_nonzero(red)),
        within=within,
        is_plain=is_plain,
        is_regular=is_regular,
    )


def _within_blocks(
    level: GraphLevel, axes: Sequence[bool], block: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], ...]:
    """Whether both ends of each edge are in the same of the blocks given."""
    if not level.is_regular:
        flat = flat_blocks(block)
        groups = (*level.edges, level.inner)
        return tuple(flat.take(edge.lower) == flat.take(edge.upper) for edge in groups)
    within = []
    for line, edge, halve in zip(level.block, level.edges, axes, strict=True):
        # the first of two blocks is even; edges along an axis that stays leave their block
        is_first = (line & 1) == 0 if halve else np.zeros(line.size, np.bool_)
        within.append(is_first.take(edge.lower))
    return (*within, np.ones(level.inner.lower.size, np.bool_))


def _sharing(
    inside: Sequence[EdgeList], label: NDArray[np.int32], num_pieces: int
) -> NDArray[np.bool_]:
    """Whether each piece shares its block with another, going by the edges inside of blocks."""
    shared = np.zeros(num_pieces, np.bool_)
    for edge in inside:
        one, other = label.take(edge.lower), label.take(edge.upper)
        apart = np.flatnonzero(one != other)
        shared[one.take(apart)] = True
        shared[other.take(apart)] = True
    return shared


def connected_pieces(
    num_nodes: int, groups: Sequence[EdgeList]
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """The number of each node's connected piece, and one node of each piece.

    In a sweep over the edges of a group each upper end takes the name of a lower one. Names
    only pass along edges: nodes that ever had the same are connected. One sweep per axis names
    a whole block, unless edges are missing; names that still meet at an edge are joined then.
    """
    name = np.arange(num_nodes, dtype=np.int32)
    for lower, upper, _ in groups:
        name[upper] = name.take(lower)
    ends = [(name.take(lower), name.take(upper)) for lower, upper, _ in groups]
    differ = [one != other for one, other in ends]
    if any(mask.any() for mask in differ):
        one, other = (
            np.concatenate([pair[k][mask] for pair, mask in zip(ends, differ, strict=True)])
            for k in (0, 1)
        )
        _rename(name, one, other)
    used = np.zeros(num_nodes, np.bool_)
    used[name] = True
    number = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return number.take(name), np.flatnonzero(used)


def _rename(name: NDArray[np.int32], one: NDArray[np.int32], other: NDArray[np.int32]) -> None:
    """Give all names that pairs connect, directly or not, the same: the largest of them.

    Of each pair that differs the smaller name takes the larger one as its leader. Only names
    without a leader are given one, and each pass does so for at least one of them.
    """
    leader = np.arange(name.size, dtype=np.int32)
    while one.size:
        low = np.minimum(one, other)
        leader[low] = np.maximum(one, other)
        ahead = leader.take(leader.take(low))
        while not np.array_equal(ahead, leader.take(low)):
            leader[low] = ahead
            ahead = leader.take(ahead)
        one, other = leader.take(one), leader.take(other)
        apart = np.flatnonzero(one != other)
        one, other = one.take(apart), other.take(apart)
    ahead = leader.take(name)
    while not np.array_equal(ahead, name):
        name[:], ahead = ahead, leader.take(ahead)


def flat_blocks(block: NDArray[np.int32]) -> NDArray[np.int64]:
    """A number for each node that two nodes share if they are in the same block."""
    flat: NDArray[np.int64] = block[0].astype(np.int64)
    for line in block[1:]:
        flat *= int(line.max(initial=0)) + 1
        flat += line
    return flat
