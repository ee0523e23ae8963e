"""Strength of connection: what CCMG merges where coefficients jump and cells are not cubes.

Source: strong edges: Ruge and Stüben, Multigrid Methods (1987), section 4.6.1; coarsening along
strong axes: Trottenberg, Oosterlee and Schüller, Multigrid (2001), section 5.1. How pieces are
attached is ours.
"""

import numpy as np
from numpy.typing import NDArray

from sciml.linalg.preconditioners.multigrid.edges import merge_by_sorting
from sciml.linalg.preconditioners.multigrid.graph import EdgeList, GraphLevel


def strong_axes(level: GraphLevel, ratio: float) -> tuple[bool, ...]:
    """The axes whose median conductance is at least `ratio` times the largest median."""
    if ratio == 0:
        return (True,) * len(level.edges)
    medians = [float(np.median(e.weight)) if e.weight.size else 0.0 for e in level.edges]
    return tuple(median >= ratio * max(medians) for median in medians)


def strong_edges(level: GraphLevel, edges: EdgeList, threshold: float) -> NDArray[np.bool_]:
    """Whether each edge has `threshold` times the weight of the strongest at either end."""
    strongest = level.strongest
    bound = np.maximum(strongest.take(edges.lower), strongest.take(edges.upper))
    return np.asarray(edges.weight >= threshold * bound)


def attach_pieces(
    edges: EdgeList,
    mobile: NDArray[np.bool_],
    volume: NDArray[np.float64],
    block: NDArray[np.int32],
) -> NDArray[np.intp]:
    """Where small pieces of split blocks go: to pieces of neighbouring blocks.

    A block's rim may cut a patch of one material into pieces that share their blocks with other
    materials. Weak edges keep those apart, so that all pieces would last until the blocks on
    both sides of the rim merge, maybe on the last level. A small piece therefore goes to the
    piece that it is tied to most of those that are larger, or that stay in any case.

    Args:
        edges: Strong edges between pieces of different blocks; those of mobile ones suffice.
        mobile: Whether each piece is small and shares its block with another.
        volume: Cells in each piece.
        block: Coordinates of the block of each piece.

    Returns:
        For each piece the one that it goes to, itself if it stays.
    """
    target = np.arange(volume.size)
    source = np.concatenate([edges.lower, edges.upper])
    goal = np.concatenate([edges.upper, edges.lower])
    # ties by number: nothing goes around in circles
    larger = (volume[goal] > volume[source]) | (
        (volume[goal] == volume[source]) & (goal > source)
    )
    chosen = mobile[source] & (larger | ~mobile[goal])
    if not chosen.any():
        return target
    weight = np.concatenate([edges.weight, edges.weight])[chosen]
    tie = merge_by_sorting(EdgeList(source[chosen], goal[chosen], weight), volume.size)
    order = np.lexsort((tie.weight, tie.lower))
    target[tie.lower[order]] = tie.upper[order]  # of one piece's ties the last counts
    while True:
        root = _ends(target)
        # a thin layer must not roll up into one node: none goes past the next block
        far = np.abs(block - block[:, root]).max(0) > 1
        if not far.any():
            return root
        target = np.where(far, np.arange(volume.size), target)


def _ends(target: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where everyone gets to that follows the targets until one stays."""
    ahead = target[target]
    while not np.array_equal(ahead, target):
        target, ahead = ahead, ahead[ahead]
    return target
