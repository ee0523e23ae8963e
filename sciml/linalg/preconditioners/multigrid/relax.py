"""Coarse levels of CCMG: red-black relaxation of a graph, and the solve of the smallest."""

from typing import final

import numpy as np
from numpy.typing import NDArray

from sciml.linalg.preconditioners.multigrid.dense import inverse, reciprocal, schur_complement
from sciml.linalg.preconditioners.multigrid.graph import CompressedRows, GraphLevel
from sciml.linalg.preconditioners.multigrid.kernels import Kernels, Matrix, Values
from sciml.linalg.preconditioners.multigrid.steps import Steps

Floats = NDArray[np.floating]

MOST_DENSE = 1000
"""Nodes up to which the last level is solved by its inverse, 4 MB in float32."""


@final
class CoarseLevel:
    """Relaxation of one graph of the hierarchy, red nodes first.

    Red and black parts of the operator are two CSR matrices of conductances over the diagonal
    of their rows, so that a half sweep is one copy and one product. Where strength has split
    blocks, nodes of one colour may share an edge: they then see each other's old values, and
    residual and correction concern both colours.

    Args:
        graph: The level.
        dtype: Of the arithmetic.
        kernels: What the steps are made of.

    Attributes:
        r_and_rest: Right-hand side of the nodes; the last entry takes what belongs to none.
        x_and_rest: Outcome; the last entry is zero.
    """

    def __init__(
        self, graph: GraphLevel, dtype: np.dtype[np.floating], kernels: Kernels
    ) -> None:
        n, red = graph.num_nodes, graph.num_red
        self.graph, self.kernels, self._dtype = graph, kernels, dtype
        self.r_and_rest, self.x_and_rest, scaled, new = (
            kernels.place(np.zeros(n + 1, dtype)) for _ in range(4)
        )
        inverse = np.divide(1, graph.diagonal, out=np.zeros(n), where=graph.diagonal > 0)
        inverse = inverse.astype(dtype)
        self._inverse = kernels.place(inverse)
        blocks = graph.color_blocks(dtype)
        across = (blocks.red_black, blocks.black_red)
        within = (blocks.red_red, blocks.black_black)
        parts = (slice(0, red), slice(red, n))
        over = [inverse[part] for part in parts]
        self._across = [
            over_diagonal(kernels, across[c], over[c], over[1 - c].size) for c in (0, 1)
        ]
        self._within = [
            over_diagonal(kernels, within[c], over[c], over[c].size) for c in (0, 1)
        ]
        self._is_bipartite = all(matrix is None for matrix in within)
        stop = red if self._is_bipartite else n  # where there is a residual to hand on
        self._factor = kernels.place(graph.diagonal[:stop].astype(dtype))
        self._r, self._scaled, self._new = self.r_and_rest[:n], scaled[:n], new[:n]
        self._fields = (new[:stop], self.x_and_rest[:stop])
        self._colours = [(self.x_and_rest[p], scaled[p], new[p]) for p in parts]

    def load(self) -> Steps:
        """What comes first of all where the right-hand side is new."""
        return self.kernels.multiply(self._scaled, self._r, self._inverse)

    def smooth_from_zero(self) -> Steps:
        """Red, black, red, black from a zero guess."""
        (red, scaled, _), (black, _, _) = self._colours
        first = self.kernels.copy(red, scaled)
        if not self._is_bipartite:
            zero = self.kernels.place(np.zeros(len(black), self._dtype))
            first += self.kernels.copy(black, zero)
        return [*first, *self._relax(1), *self._relax(0), *self._relax(1)]

    def smooth_again(self) -> Steps:
        """Red, black, red, black from the outcome of the visit before."""
        # that ended with red, which a second time changes nothing without same-colour edges
        first = [] if self._is_bipartite else self._relax(0)
        return [*first, *self._relax(1), *self._relax(0), *self._relax(1)]

    def smooth_after(self) -> Steps:
        """Black, red, black, red after the coarse correction."""
        return [*self._relax(1), *self._relax(0)] * 2

    def restrict(self, coarse: "CoarseLevel | CoarsestLevel") -> Steps:
        """Sum the residual into the nodes of the next level."""
        aggregate = parents(coarse.graph)[: len(self._factor)]
        steps = self._updates(0, self._colours[0][2])
        if not self._is_bipartite:
            steps += self._updates(1, self._colours[1][2])
        into = coarse.r_and_rest
        return [*steps, *self.kernels.restrict(into, aggregate, self._factor, self._fields)]

    def prolong(self, coarse: "CoarseLevel | CoarsestLevel") -> Steps:
        """Add the correction of each node of the next level to its nodes here."""
        x = self._fields[1]
        return self.kernels.prolong(x, parents(coarse.graph)[: len(x)], coarse.x_and_rest)

    def alone(self) -> Steps:
        """Relaxation for want of a coarser level: the smoothing of a whole cycle."""
        return [*self.load(), *self.smooth_from_zero(), *self.smooth_after()]

    def _relax(self, colour: int) -> Steps:
        """The half sweep of a colour."""
        x, _, new = self._colours[colour]
        if self._within[colour] is None:
            return self._updates(colour, x)
        return [*self._updates(colour, new), *self.kernels.copy(x, new)]

    def _updates(self, colour: int, out: Values) -> Steps:
        """What a half sweep finds for a colour."""
        x, scaled, _ = self._colours[colour]
        pairs = (
            (self._across[colour], self._colours[1 - colour][0]),
            (self._within[colour], x),
        )
        products = [(matrix, field) for matrix, field in pairs if matrix is not None]
        return self.kernels.rows(out, scaled, products)


def over_diagonal(
    kernels: Kernels, matrix: CompressedRows | None, inverse: Floats, num_columns: int
) -> Matrix | None:
    """A matrix with its rows over the diagonal; None for no matrix or one of zeros."""
    if matrix is None or matrix.data.size == 0:
        return None
    data = np.repeat(inverse, np.diff(matrix.indptr))
    data *= matrix.data
    return kernels.matrix(CompressedRows(matrix.indptr, matrix.indices, data), num_columns)


@final
class CoarsestLevel:
    """The last level: solved exactly.

    Red nodes that share no edges are eliminated, which halves the matrix to be inverted; what
    is left is solved by its dense inverse. On components without a link to air the solution for
    a consistent right-hand side has no mean over the nodes left. A graph that stayed large, of
    many pockets or of pieces that strength keeps apart, is relaxed instead; for nodes without
    edges that is exact as well.

    Args:
        graph: The level.
        dtype: Of the arithmetic.
        kernels: What the steps are made of.

    Attributes:
        steps: The solve.
    """

    def __init__(
        self, graph: GraphLevel, dtype: np.dtype[np.floating], kernels: Kernels
    ) -> None:
        n = graph.num_nodes
        self.graph = graph
        if n > MOST_DENSE:
            relaxed = CoarseLevel(graph, dtype, kernels)
            self.r_and_rest, self.x_and_rest = relaxed.r_and_rest, relaxed.x_and_rest
            self.steps = relaxed.alone()
            return
        self.r_and_rest, self.x_and_rest = (
            kernels.place(np.zeros(n + 1, dtype)) for _ in range(2)
        )
        blocks = graph.color_blocks(dtype)
        is_bipartite = blocks.red_red is None and blocks.black_black is None
        start = graph.num_red if is_bipartite and graph.num_edges > 0 else 0
        dense = kernels.place(inverse(schur_complement(graph, start), dtype))
        x, r = self.x_and_rest[start:n], self.r_and_rest[start:n]
        if start == 0:
            self.steps = kernels.solve(x, dense, r)
            return
        over = reciprocal(graph.diagonal[:start]).astype(dtype)
        scaled, right = (kernels.place(np.zeros(k, dtype)) for k in (start, n - start))
        down = kernels.matrix(blocks.black_red, start)
        up = over_diagonal(kernels, blocks.red_black, over, n - start)
        self.steps = [
            *kernels.multiply(scaled, self.r_and_rest[:start], kernels.place(over)),
            *kernels.rows(right, r, [(down, scaled)]),
            *kernels.solve(x, dense, right),
            *kernels.rows(self.x_and_rest[:start], scaled, [(up, x)]),
        ]


def parents(level: GraphLevel) -> NDArray[np.int32]:
    """Node of a coarsened level that each node of the finer one went to.

    Raises:
        ValueError: If the level does not say.
    """
    if level.aggregate is None:
        raise ValueError(
            "parents: expected a level that has been coarsened from another, got one without "
            "aggregates; make it by coarsen"
        )
    return level.aggregate
