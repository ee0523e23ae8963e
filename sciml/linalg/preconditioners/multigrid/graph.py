"""Levels of the component-split coarsening multigrid (CCMG) as graphs.

A level is a weighted graph: its nodes are fluid cells (level 0) or connected pieces of blocks
of cells, its edges carry conductances, its Dirichlet links lead to air. The operator is the
graph Laplacian ``(A x)_i = Σ_j w_ij (x_i - x_j) + d_i x_i``. Blocks are coloured like a
checkerboard by the parity of the sum of their coordinates, red nodes come first. An edge joins
nodes of two colours, unless strength of connection has split blocks: then two nodes of one
block may share an edge (`GraphLevel.inner`), and pieces that went to a neighbouring block may
have edges to nodes of their colour.

Source: Trottenberg, Oosterlee and Schüller, Multigrid (2001), section 2.1 (red-black order).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
from jaxtyping import Float64, Int32
from numpy.typing import NDArray
from scipy.sparse import _sparsetools

if TYPE_CHECKING:
    from sciml.linalg.poisson import PoissonOperator

MIN_LINK_DISTANCE = 0.5
"""Cells between a node's centroid and an air cell's centre are never counted as fewer."""


class EdgeList(NamedTuple):
    """Undirected edges: the two ends (int32) and the conductance (float64) of each."""

    lower: NDArray[np.int32]
    upper: NDArray[np.int32]
    weight: NDArray[np.float64]


class LinkList(NamedTuple):
    """Links to air: node (int32), axis (int8), coordinate of the air cells' centres (float64).

    The strength (float64) is the conductance of the link at a distance of one cell.
    """

    node: NDArray[np.int32]
    axis: NDArray[np.int8]
    plane: NDArray[np.float64]
    strength: NDArray[np.float64]


class CompressedRows(NamedTuple):
    """A sparse matrix in CSR: int32 `indptr` and `indices`, `data` of the dtype asked for."""

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    data: NDArray[np.floating]


class ColorBlocks(NamedTuple):
    """Off-diagonal blocks of a level's operator with their signs dropped (conductances).

    Black nodes count from zero here. The same-colour blocks are None where they are empty.
    """

    red_black: CompressedRows
    black_red: CompressedRows
    red_red: CompressedRows | None
    black_black: CompressedRows | None


@final
@dataclass(frozen=True, eq=False)
class GraphLevel:
    """One level of the hierarchy.

    Attributes:
        block: Coordinates of each node's block; at level 0 of its cell.
        num_red: Nodes ``[0, num_red)`` are red, the others black.
        edges: Per axis, edges between nodes of different blocks through faces normal to it,
            each pair of nodes once; their `upper` end is further along the axis, or as far.
        inner: Edges between two nodes of one block, each pair once.
        links: Dirichlet links, at most one per node, axis and plane of air cells.
        width: Cells per block along each axis.
        aggregate: Node of this level that each node of the finer one went to; None at level 0.
        finer: The level that this one was made from; None at level 0.
        is_regular: Whether edges join blocks that are neighbours along their axis; pieces that
            were attached to other blocks end that.
    """

    block: Int32[np.ndarray, "d n"]
    num_red: int
    edges: tuple[EdgeList, ...]
    inner: EdgeList
    links: LinkList
    width: tuple[int, ...]
    aggregate: Int32[np.ndarray, " n_finer"] | None = None
    finer: "GraphLevel | None" = None
    is_regular: bool = True

    @property
    def num_nodes(self) -> int:
        """Unknowns of the level."""
        return int(self.block.shape[1])

    @property
    def num_edges(self) -> int:
        """Undirected edges of the level, without Dirichlet links."""
        return self.inner.lower.size + sum(edge.lower.size for edge in self.edges)

    @cached_property
    def volume(self) -> Float64[np.ndarray, " n"]:
        """Fluid cells in each node."""
        if self.finer is None or self.aggregate is None:
            return np.ones(self.num_nodes)
        return sum_by_node(self.aggregate, self.finer.volume, self.num_nodes)

    @cached_property
    def centroid(self) -> Float64[np.ndarray, "d n"]:
        """Mean of the coordinates of the cells in each node, in cells."""
        if self.finer is None or self.aggregate is None:
            return self.block.astype(np.float64)
        moments = self.finer.centroid * self.finer.volume
        sums = [sum_by_node(self.aggregate, row, self.num_nodes) for row in moments]
        centroid: NDArray[np.float64] = np.stack(sums) / self.volume
        return centroid

    @cached_property
    def link_distance(self) -> Float64[np.ndarray, " num_links"]:
        """Cells from a node's centroid to its air cells along the link's axis, at least ½."""
        offset = self.centroid[self.links.axis, self.links.node] - self.links.plane
        return np.maximum(np.abs(offset), MIN_LINK_DISTANCE)

    @cached_property
    def dirichlet(self) -> Float64[np.ndarray, " n"]:
        """Conductance of each node to air: what the rows of the operator sum to."""
        if self.links.node.size == 0:  # spares the centroids
            return np.zeros(self.num_nodes)
        weight = self.links.strength / self.link_distance
        return sum_by_node(self.links.node, weight, self.num_nodes)

    @cached_property
    def diagonal(self) -> Float64[np.ndarray, " n"]:
        """Diagonal of the operator: conductances to all neighbours and to air."""
        diagonal = self.dirichlet.copy()
        for edge in (*self.edges, self.inner):
            diagonal += sum_by_node(edge.lower, edge.weight, self.num_nodes)
            diagonal += sum_by_node(edge.upper, edge.weight, self.num_nodes)
        return diagonal

    @cached_property
    def strongest(self) -> Float64[np.ndarray, " n"]:
        """Conductance of the strongest edge at each node, links to air not counted."""
        strongest = np.zeros(self.num_nodes)
        for edge in (*self.edges, self.inner):
            np.maximum.at(strongest, edge.lower, edge.weight)
            np.maximum.at(strongest, edge.upper, edge.weight)
        return strongest

    def color_blocks(self, dtype: np.dtype[np.floating] | type = np.float32) -> ColorBlocks:
        """The off-diagonal part of the operator, sorted by colours."""
        groups = (*self.edges, self.inner)
        ends = [np.concatenate([edge[end] for edge in groups]) for end in (0, 1)]
        weight = np.concatenate([edge.weight for edge in groups]).astype(dtype)
        red, num_black = self.num_red, self.num_nodes - self.num_red
        first, last = np.minimum(*ends), np.maximum(*ends)
        across = (first < red) & (last >= red)
        within: list[CompressedRows | None] = [None, None]
        if not across.all():
            for colour, (start, stop) in enumerate(((0, red), (red, self.num_nodes))):
                same = np.flatnonzero((first >= start) & (last < stop))
                one, other = (end.take(same) - np.int32(start) for end in (first, last))
                within[colour] = _symmetric(one, other, weight.take(same), stop - start)
            place = np.flatnonzero(across)
            first, last, weight = (column.take(place) for column in (first, last, weight))
        last = last - np.int32(red)
        return ColorBlocks(
            compress(first, last, weight, (red, num_black)),
            compress(last, first, weight, (num_black, red)),
            *within,
        )


def _symmetric(
    one: NDArray[np.int32], other: NDArray[np.int32], weight: NDArray[np.floating], size: int
) -> CompressedRows | None:
    if one.size == 0:
        return None
    rows, columns = np.concatenate([one, other]), np.concatenate([other, one])
    return compress(rows, columns, np.concatenate([weight, weight]), (size, size))


def sum_by_node(
    node: NDArray[np.int32], values: NDArray[np.float64], num_nodes: int
) -> NDArray[np.float64]:
    """The sum of the values at each node."""
    if node.size == 0:  # of no values, bincount makes integers
        return np.zeros(num_nodes)
    # bincount casts 32-bit indices in a way that takes longer than the sum
    return np.bincount(node.astype(np.intp), values, num_nodes).astype(np.float64, copy=False)


def compress(
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    data: NDArray[np.floating],
    shape: tuple[int, int],
) -> CompressedRows:
    """CSR of triplets that name no entry twice; their order within a row is kept."""
    indptr = np.empty(shape[0] + 1, np.int32)
    indices, values = np.empty(rows.size, np.int32), np.empty_like(data)
    # the constructor of scipy.sparse.csr_matrix costs more than this call on coarse levels
    _sparsetools.coo_tocsr(*shape, rows.size, rows, columns, data, indptr, indices, values)
    return CompressedRows(indptr, indices, values)


def finest_level(
    fluid: NDArray[np.bool_], face_weights: Sequence[NDArray[np.floating]]
) -> GraphLevel:
    """Level 0: one node per fluid cell, red cells first, C order within a colour.

    Args:
        fluid: Cells that are unknowns.
        face_weights: Conductance of the faces normal to each axis, one more than cells along
            it; a positive one between a fluid cell and one that is not leads to air.
    """
    is_red = _red_cells(fluid.shape)
    red, black = np.flatnonzero(fluid & is_red), np.flatnonzero(fluid & ~is_red)
    cells = np.concatenate([red, black])
    node = np.full(fluid.size, -1, np.int32)
    node[cells] = np.arange(cells.size, dtype=np.int32)
    numbers = node.reshape(fluid.shape)
    edges, links = [], []
    for axis, weights in enumerate(face_weights):
        edge, link = _faces(np.moveaxis(numbers, axis, 0), np.moveaxis(weights, axis, 0), axis)
        edges.append(edge)
        links.append(link)
    return GraphLevel(
        block=np.stack(np.unravel_index(cells, fluid.shape)).astype(np.int32),
        num_red=red.size,
        edges=tuple(edges),
        inner=empty_edges(),
        links=LinkList(*(np.concatenate(column) for column in zip(*links, strict=True))),
        width=(1,) * fluid.ndim,
    )


def level_from_operator(operator: "PoissonOperator") -> GraphLevel:
    """Level 0 of a pressure operator; see `finest_level`."""
    weights = [face.detach().cpu().double().numpy() for face in operator.face_weights]
    return finest_level(operator.fluid.cpu().numpy(), weights)


def empty_edges() -> EdgeList:
    """No edges."""
    return EdgeList(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0))


def _red_cells(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    is_red = np.ones(shape, np.bool_)
    for axis, size in enumerate(shape):
        odd = (np.arange(size) & 1).astype(np.bool_)
        is_red ^= odd.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return is_red


def _faces(
    node: NDArray[np.int32], weights: NDArray[np.floating], axis: int
) -> tuple[EdgeList, LinkList]:
    """Edges and links through the faces normal to `axis`, which comes first in both arrays."""
    before, after, inside = node[:-1].ravel(), node[1:].ravel(), weights[1:-1].ravel()
    is_open = inside > 0
    place = np.flatnonzero((before >= 0) & (after >= 0) & is_open)
    weight = inside.take(place).astype(np.float64)
    edge = EdgeList(before.take(place), after.take(place), weight)
    to_air = [
        (np.flatnonzero((before >= 0) & (after < 0) & is_open), before, 1),
        (np.flatnonzero((before < 0) & (after >= 0) & is_open), after, 0),
    ]
    # a face's number is that of the cell before it: the air cell is that one or the next
    per_layer = max(1, math.prod(node.shape[1:]))
    nodes = np.concatenate([cell.take(chosen) for chosen, cell, _ in to_air])
    planes = np.concatenate([chosen // per_layer + step for chosen, _, step in to_air])
    strength = np.concatenate([inside.take(chosen) for chosen, _, _ in to_air])
    return edge, LinkList(
        nodes,
        np.full(nodes.size, axis, np.int8),
        planes.astype(np.float64),
        strength.astype(np.float64),
    )
