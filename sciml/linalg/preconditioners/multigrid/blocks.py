"""The first coarsening of CCMG for constant coefficients, read from tables.

A block of two cells an axis has a bit for each of its cells, set where that is fluid. All that
coarsening needs to know of a block, the number of its connected pieces and the piece of each
cell, depends on this bitmask alone. Edges between blocks of one piece each come out of sums of
slices, already merged; only those at blocks in several pieces take a sort.
"""

from typing import Any, final

import numpy as np
from jaxtyping import Bool, Int32
from numpy.typing import NDArray

from sciml.linalg.preconditioners.multigrid.edges import merge_edges, merge_links
from sciml.linalg.preconditioners.multigrid.graph import (
    EdgeList,
    GraphLevel,
    LinkList,
    empty_edges,
)
from sciml.linalg.preconditioners.multigrid.tables import Corner, piece_tables


@final
class BlockCoarsening:
    """Merges the connected cells of each block of two cells an axis.

    Makes the same level as `coarsen` of `finest_level` with unit conductances, up to the
    numbers of its nodes.

    Args:
        fluid: Cells that are unknowns.
        air: Cells at zero pressure.
    """

    def __init__(
        self, fluid: Bool[np.ndarray, "*shape"], air: Bool[np.ndarray, "*shape"]
    ) -> None:
        self.fluid, self.air = fluid, air
        self.tables = tables = piece_tables(fluid.ndim)
        self.cells = cells_by_corner(fluid, tables.corners)
        weights = (1 << np.arange(len(tables.corners))).astype(np.uint8)
        code = self.cells[0].view(np.uint8) * weights[0]
        for cells, weight in zip(self.cells[1:], weights[1:], strict=True):
            code |= cells.view(np.uint8) * weight
        self.code, self.blocks = code, code.shape
        num = tables.num_pieces[code]
        red = _is_red(self.blocks)
        red_blocks = np.flatnonzero(red & (num > 0))
        black_blocks = np.flatnonzero(~red & (num > 0))
        used = np.concatenate([red_blocks, black_blocks])
        counts = num.reshape(-1)[used]
        ends = np.cumsum(counts, dtype=np.int32)
        self.start = np.zeros(num.size, np.int32)
        self.start[used] = ends - counts
        self.num_nodes = int(ends[-1]) if ends.size else 0
        self.num_red = int(ends[red_blocks.size - 1]) if red_blocks.size else 0
        self.split = num > 1
        self.has_split = bool(self.split.any())
        self.block_of_node = used
        if self.num_nodes > used.size:
            self.block_of_node = np.repeat(used, counts)

    def level(self) -> GraphLevel:
        """The graph of the coarse nodes."""
        edges = tuple(self._edges(axis) for axis in range(self.fluid.ndim))
        level = GraphLevel(
            block=_coordinates(self.block_of_node, self.blocks),
            num_red=self.num_red,
            edges=edges,
            inner=empty_edges(),
            links=self._links(),
            width=(2,) * self.fluid.ndim,
        )
        self._set_moments(level)
        return level

    def nodes(self, number: int) -> Int32[np.ndarray, "*blocks"]:
        """The coarse node of the cell at a corner of each block.

        `num_nodes` where that is not fluid; corners are numbered as in `piece_tables`.
        """
        node = self.start.reshape(self.blocks)
        if self.has_split:
            node = node + self.tables.piece[number][self.code]
        return np.where(self.cells[number], node, np.int32(self.num_nodes))

    def _edges(self, axis: int) -> EdgeList:
        """Edges between blocks that are neighbours along an axis, half a face's area each."""
        before, after = _neighbouring(len(self.blocks), axis)
        start = self.start.reshape(self.blocks)
        pairs = self._facing(axis)
        open_faces = [self.cells[a][before] & self.cells[b][after] for a, b in pairs]
        area = open_faces[0].view(np.uint8).copy()
        for face in open_faces[1:]:
            area += face.view(np.uint8)
        lower, upper = start[before].reshape(-1), start[after].reshape(-1)
        is_open = area > 0
        touched = (self.split[before] | self.split[after]) & is_open if self.has_split else None
        chosen = np.flatnonzero(is_open if touched is None else is_open & ~touched)
        whole = EdgeList(
            lower.take(chosen), upper.take(chosen), 0.5 * area.reshape(-1).take(chosen)
        )
        if touched is None:
            return whole
        irregular = np.flatnonzero(touched)
        lower, upper = lower[irregular], upper[irregular]
        code = [self.code[side].reshape(-1)[irregular] for side in (before, after)]
        ends = []
        for (a, b), face in zip(pairs, open_faces, strict=True):
            is_open = face.reshape(-1)[irregular]
            low = lower + self.tables.piece[a][code[0]]
            high = upper + self.tables.piece[b][code[1]]
            ends.append((low[is_open], high[is_open]))
        low, high = (np.concatenate(column) for column in zip(*ends, strict=True))
        rest = merge_edges(EdgeList(low, high, np.full(low.size, 0.5)), self.num_nodes)
        return EdgeList(
            np.concatenate([whole.lower, rest.lower]),
            np.concatenate([whole.upper, rest.upper]),
            np.concatenate([whole.weight, rest.weight]),
        )

    def _facing(self, axis: int) -> list[tuple[int, int]]:
        """Corners at the upper face of a block, each with the one that it meets."""
        corners = self.tables.corners
        return [
            (number, corners.index((*corner[:axis], 0, *corner[axis + 1 :])))
            for number, corner in enumerate(corners)
            if corner[axis] == 1
        ]

    def _links(self) -> LinkList:
        """Links to air: one for each node and plane of air cells, as strong as their number."""
        if not self.air.any():
            empty = np.empty(0, np.int32)
            return LinkList(empty, empty.astype(np.int8), np.empty(0), np.empty(0))
        found = [_beside_air(self.fluid, self.air, k) for k in range(self.fluid.ndim)]
        cell, plane = (np.concatenate(column, axis=-1) for column in zip(*found, strict=True))
        axis = np.repeat(np.arange(len(found), dtype=np.int8), [p.size for _, p in found])
        node = self._node_of_cells(cell)
        return merge_links(LinkList(node, axis, plane.astype(np.float64), np.ones(node.size)))

    def _node_of_cells(self, cell: NDArray[np.int32]) -> NDArray[np.int32]:
        """The coarse nodes of fluid cells with the coordinates given."""
        block = np.ravel_multi_index(tuple(cell >> 1), self.blocks)
        powers = 1 << np.arange(len(cell))[::-1]
        corner = powers @ (cell & 1)
        piece = self.tables.piece[corner, self.code.reshape(-1)[block]]
        node: NDArray[np.int32] = self.start[block] + piece
        return node

    def _set_moments(self, level: GraphLevel) -> None:
        """Volumes and centroids, which a level without a finer one cannot work out."""
        block = self.block_of_node
        code = self.code.reshape(-1)[block]
        place = code.astype(np.intp)
        if self.has_split:
            num_codes = self.tables.piece.shape[1]
            place += (np.arange(self.num_nodes) - self.start[block]) * num_codes
        volume = self.tables.volume.take(place)
        level.__dict__["volume"] = volume
        if level.links.node.size:
            moments = self.tables.moment.transpose(1, 0, 2)
            moment = np.stack([rows.take(place) for rows in moments])
            level.__dict__["centroid"] = 2.0 * level.block + moment / volume


def cells_by_corner(
    cells: NDArray[Any], corners: tuple[Corner, ...], beyond: int = 0
) -> list[NDArray[Any]]:
    """The cells at each corner of the blocks, `beyond` past the end of an odd axis."""
    blocks = tuple((n + 1) // 2 for n in cells.shape)
    grids = []
    for corner in corners:
        view = cells[tuple(slice(o, None, 2) for o in corner)]
        grid = np.ascontiguousarray(view)
        if view.shape != blocks:
            grid = np.full(blocks, beyond, cells.dtype)
            grid[tuple(slice(n) for n in view.shape)] = view
        grids.append(grid)
    return grids


def _is_red(blocks: tuple[int, ...]) -> NDArray[np.bool_]:
    red = np.ones(blocks, bool)
    for k, n in enumerate(blocks):
        odd = (np.arange(n) & 1).astype(bool)
        red ^= odd.reshape([-1 if k == axis else 1 for axis in range(len(blocks))])
    return red


def _neighbouring(dimension: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """All but the last cells along an axis, and all but the first."""
    before, after = [slice(None)] * dimension, [slice(None)] * dimension
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    return tuple(before), tuple(after)


def _beside_air(
    fluid: NDArray[np.bool_], air: NDArray[np.bool_], axis: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Faces across an axis between fluid and air.

    Returns:
        Coordinates (dimension, n) of the fluid cells, and that of the air cells on the axis.
    """
    head, tail = _neighbouring(fluid.ndim, axis)
    upward = fluid[head] & air[tail]
    face = np.flatnonzero(upward | (air[head] & fluid[tail]))
    cell = _coordinates(face, upward.shape)
    is_upward = upward.reshape(-1).take(face)
    plane = cell[axis] + is_upward
    cell[axis] += ~is_upward
    return cell, plane


def _coordinates(flat: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Coordinates (dimension, n) of flat indices, several times as fast as by NumPy's own."""
    rest = flat.astype(np.int32)
    coordinates = np.empty((len(shape), rest.size), np.int32)
    for k in range(len(shape) - 1, -1, -1):
        above = rest // np.int32(shape[k])
        coordinates[k] = rest - above * np.int32(shape[k])
        rest = above
    return coordinates
