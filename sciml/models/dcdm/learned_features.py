"""What the learned multigrid knows of its hierarchy: numbers that depend on geometry alone.

Lengths are counted in blocks and areas in whole faces, so that one network serves all levels,
resolutions and, since conductances do not enter, all coefficients.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.graph import (
    GraphLevel,
    LinkList,
    finest_level,
)

NUM_FEATURES = 5

_Floats = NDArray[np.float64]
Table = Float64[np.ndarray, "rows 5"]


class Areas(NamedTuple):
    """Open faces behind the edges of each axis, and behind the links, of one level."""

    edges: tuple[_Floats, ...]
    links: _Floats


@final
class DistinctRows(NamedTuple):
    """A table with many equal rows: the distinct ones, and which of them each row is."""

    rows: Tensor
    place: Tensor

    @classmethod
    def of(cls, table: _Floats, dtype: torch.dtype) -> "DistinctRows":
        """Find equal rows by one sort of a weighted sum of the columns.

        The weights are incommensurable, so sums agree for rows that do. Rows that are equal up
        to rounding may come out apart, which costs time only.
        """
        weights = np.sqrt(np.array([2.0, 3.0, 5.0, 7.0, 11.0]))
        _, first, place = np.unique(table @ weights, return_index=True, return_inverse=True)
        return cls(torch.as_tensor(table[first], dtype=dtype), torch.as_tensor(place))

    @classmethod
    def join(cls, tables: Sequence["DistinctRows"]) -> "DistinctRows":
        """One table below the other."""
        starts = np.cumsum([0, *(len(table.rows) for table in tables)])
        shifted = [t.place + int(start) for t, start in zip(tables, starts, strict=False)]
        return cls(torch.cat([table.rows for table in tables]), torch.cat(shifted))


def hierarchy_areas(operator: PoissonOperator, levels: Sequence[GraphLevel]) -> list[Areas]:
    """Areas of every level of a hierarchy, from the finest on."""
    areas = [_finest_areas(operator)]
    for finer, level in itertools.pairwise(levels):
        areas.append(_coarser_areas(level, finer, areas[-1]))
    return areas


def edge_features(level: GraphLevel, areas: Areas) -> Table:
    """Features of the edges of all axes, one axis after the other.

    Area - 1, distance of the centroids along the axis - 1, their offset across it, fill of both
    ends - 2, difference of the fills.
    """
    width, whole, fill = _sizes(level)
    tables = []
    for axis, (edge, area) in enumerate(zip(level.edges, areas.edges, strict=True)):
        offset = level.centroid[:, edge.upper] - level.centroid[:, edge.lower]
        offset = np.abs(offset) / width[:, None]
        across = sum(offset[k] ** 2 for k in range(len(width)) if k != axis)
        one, other = fill[edge.lower], fill[edge.upper]
        columns = (
            area / whole[axis] - 1,
            offset[axis] - 1,
            np.sqrt(across),
            one + other - 2,
            np.abs(one - other),
        )
        tables.append(np.stack(columns, 1))
    return np.concatenate(tables)


def link_features(level: GraphLevel, areas: Areas) -> Table:
    """Features of the links to air: area - 1, distance - 1/2, fill - 1, 1/width, 0."""
    width, whole, fill = _sizes(level)
    axis = level.links.axis
    columns = (
        areas.links / whole[axis] - 1,
        level.link_distance / width[axis] - 0.5,
        fill[level.links.node] - 1,
        np.full(len(axis), _inverse_width(level)),
        np.zeros(len(axis)),
    )
    return np.stack(columns, 1)


def node_features(level: GraphLevel, areas: Areas) -> Table:
    """Features of the nodes.

    Fill - 1, diagonal over that of an inner block - 1, neighbours over 2 d - 1, share of the
    links in that diagonal, 1/width. The diagonal is that of unit coefficients.
    """
    width, whole, fill = _sizes(level)
    to_air = _sums(level.links.node, areas.links / level.link_distance, level.num_nodes)
    diagonal, degree = to_air.copy(), np.zeros(level.num_nodes)
    for k, (edge, area) in enumerate(zip(level.edges, areas.edges, strict=True)):
        for end in (edge.lower, edge.upper):
            diagonal += _sums(end, area / width[k], level.num_nodes)
            degree += np.bincount(end, minlength=level.num_nodes)
    inner = 2 * (whole / width).sum()
    columns = (
        fill - 1,
        diagonal / inner - 1,
        degree / (2 * len(width)) - 1,
        to_air / inner,
        np.full(level.num_nodes, _inverse_width(level)),
    )
    return np.stack(columns, 1)


def _sizes(level: GraphLevel) -> tuple[_Floats, _Floats, _Floats]:
    """Width of a block, area of its whole faces across each axis, and fill of the nodes."""
    width = np.array(level.width, np.float64)
    return width, width.prod() / width, level.volume / width.prod()


def _inverse_width(level: GraphLevel) -> float:
    return float(math.prod(level.width) ** (-1 / len(level.width)))


def _sums(index: NDArray[np.integer], values: _Floats, size: int) -> _Floats:
    """Sums of the values of equal indices; of floats also where there are none."""
    return np.bincount(index, values, size).astype(np.float64)


def _finest_areas(operator: PoissonOperator) -> Areas:
    """Open fractions of the faces of the cells, in the order of the edges of level 0."""
    is_open = [weight > 0 for weight in operator.face_weights]
    fractions = operator.face_fraction or [torch.ones_like(face) for face in is_open]
    faces = [
        (face * fraction).detach().cpu().double().numpy()
        for face, fraction in zip(is_open, fractions, strict=True)
    ]
    level = finest_level(operator.fluid.cpu().numpy(), faces)
    return Areas(tuple(edge.weight for edge in level.edges), level.links.strength)


def _coarser_areas(level: GraphLevel, finer: GraphLevel, areas: Areas) -> Areas:
    """Sums of the areas of the finer level over the edges and links that they became."""
    if level.aggregate is None:
        raise ValueError(
            "hierarchy_features: expected a map from the finer level, got none; make the level "
            "with coarsen"
        )
    edges, n = [], level.num_nodes
    for fine, coarse, area in zip(finer.edges, level.edges, areas.edges, strict=True):
        keys = _edge_keys(level.aggregate[fine.lower], level.aggregate[fine.upper], n)
        edges.append(_sum_by_key(keys, area, _edge_keys(coarse.lower, coarse.upper, n)))
    moved = finer.links._replace(node=level.aggregate[finer.links.node])
    planes = np.unique(finer.links.plane)
    keys, wanted = (
        _link_keys(links, planes, len(level.width)) for links in (moved, level.links)
    )
    return Areas(tuple(edges), _sum_by_key(keys, areas.links, wanted))


def _edge_keys(
    lower: NDArray[np.int32], upper: NDArray[np.int32], num_nodes: int
) -> NDArray[np.int64]:
    """One number for each pair of nodes, whichever comes first."""
    return np.minimum(lower, upper).astype(np.int64) * num_nodes + np.maximum(lower, upper)


def _link_keys(links: LinkList, planes: _Floats, ndim: int) -> NDArray[np.int64]:
    place = np.searchsorted(planes, links.plane)
    node_and_axis = links.node.astype(np.int64) * ndim + links.axis
    return np.asarray(node_and_axis * (len(planes) + 1) + place)


def _sum_by_key(keys: NDArray[np.int64], values: _Floats, wanted: NDArray[np.int64]) -> _Floats:
    """For each wanted key the sum of the values that have it; others are left out."""
    if wanted.size == 0:
        return np.zeros(0)
    order = np.argsort(wanted)
    place = np.minimum(np.searchsorted(wanted, keys, sorter=order), wanted.size - 1)
    has_it = wanted[order[place]] == keys
    total = np.zeros(wanted.size)
    total[order] = np.bincount(place[has_it], values[has_it], wanted.size)
    return total
