"""Lists of edges and links: choosing, joining and merging them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sciml.linalg.preconditioners.multigrid.graph import EdgeList, LinkList, sum_by_node


def select_edges(edges: EdgeList, chosen: NDArray[np.bool_]) -> EdgeList:
    """The edges of a mask."""
    place = np.flatnonzero(chosen)  # take is several times as fast as indexing with a mask
    return EdgeList(edges.lower.take(place), edges.upper.take(place), edges.weight.take(place))


def move_edges(edges: EdgeList, target: NDArray[np.int32]) -> EdgeList:
    """The same edges between the nodes that their ends went to."""
    return EdgeList(target.take(edges.lower), target.take(edges.upper), edges.weight)


def join_edges(groups: Sequence[EdgeList]) -> EdgeList:
    """All edges one after the other."""
    return EdgeList(*(np.concatenate(column) for column in zip(*groups, strict=True)))


def merge_edges(edges: EdgeList, num_nodes: int) -> EdgeList:
    """Add up the weights of edges with the same ends.

    Most nodes have one neighbour ahead along an axis: sums for the last one named take no sort.
    """
    if edges.lower.size == 0:
        return edges
    ahead = np.full(num_nodes, -1, np.int32)
    ahead[edges.lower] = edges.upper
    usual = ahead.take(edges.lower) == edges.upper
    plain = bool(usual.all())
    chosen = edges if plain else select_edges(edges, usual)
    total = sum_by_node(chosen.lower, chosen.weight, num_nodes)
    place = np.flatnonzero(ahead >= 0)
    merged = EdgeList(place.astype(np.int32), ahead.take(place), total.take(place))
    if plain:
        return merged
    return join_edges([merged, merge_by_sorting(select_edges(edges, ~usual), num_nodes)])


def merge_by_sorting(edges: EdgeList, num_nodes: int) -> EdgeList:
    """`merge_edges` for few edges in no order; the outcome is sorted by both ends."""
    if edges.lower.size == 0:
        return edges
    key = edges.lower.astype(np.int64) * num_nodes + edges.upper  # passes 2³¹ from 64³ cells on
    order = np.argsort(key)
    key = key[order]
    start = np.flatnonzero(np.diff(key, prepend=-1))
    total = np.add.reduceat(edges.weight[order], start)
    lower, upper = np.divmod(key[start], num_nodes)
    return EdgeList(lower.astype(np.int32), upper.astype(np.int32), total)


def merge_links(links: LinkList) -> LinkList:
    """Add up the strengths of links of the same node to the same plane of air cells."""
    if links.node.size == 0:
        return links
    num_planes = int(links.plane.max()) + 1
    key = links.node.astype(np.int64) * (int(links.axis.max()) + 1) + links.axis
    key = key * num_planes + links.plane.astype(np.int64)
    order = np.argsort(key, kind="stable")
    start = np.flatnonzero(np.diff(key.take(order), prepend=-1))
    total = np.add.reduceat(links.strength.take(order), start)
    place = order.take(start)
    return LinkList(
        links.node.take(place), links.axis.take(place), links.plane.take(place), total
    )
