"""The connected pieces of a block of two cells an axis, for each set of fluid cells in it."""

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, ...]


class PieceTables(NamedTuple):
    """What a block's bitmask says; the piece of a cell that is not fluid is 0."""

    corners: tuple[Corner, ...]
    num_pieces: NDArray[np.uint8]  # (codes,)
    piece: NDArray[np.uint8]  # (corners, codes)
    volume: NDArray[np.float64]  # (pieces, codes): cells
    moment: NDArray[np.float64]  # (pieces, dimension, codes): sum of the cells' corners


@lru_cache(maxsize=4)
def piece_tables(dimension: int) -> PieceTables:
    """The tables of blocks with 2^dimension cells."""
    corners = tuple(itertools.product((0, 1), repeat=dimension))
    size = len(corners)
    codes = np.arange(1 << size)
    occupied = ((codes >> np.arange(size)[:, None]) & 1) == 1
    root = np.where(occupied, np.arange(size)[:, None], size)
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(size), 2)
        if sum(x != y for x, y in zip(corners[a], corners[b], strict=True)) == 1
    ]
    for _ in range(size):
        for a, b in pairs:
            least = np.minimum(root[a], root[b])
            joined = occupied[a] & occupied[b]
            root[a], root[b] = (
                np.where(joined, least, root[a]),
                np.where(joined, least, root[b]),
            )
    is_root = root == np.arange(size)[:, None]
    order = np.cumsum(is_root, 0) - 1
    piece = np.where(occupied, np.take_along_axis(order, np.minimum(root, size - 1), 0), 0)
    most = int(is_root.sum(0).max())
    member = occupied & (piece == np.arange(most)[:, None, None])
    return PieceTables(
        corners,
        is_root.sum(0).astype(np.uint8),
        piece.astype(np.uint8),
        member.sum(1).astype(np.float64),
        np.einsum("pcm,cd->pdm", member, np.array(corners)).astype(np.float64),
    )
