"""The cycle of learned CCMG as a list of NumPy and SciPy calls on fixed buffers.

The same map as `MultigridCycle`, without gradients: everything learned is constant now. A level
keeps its operator as one CSR matrix with red rows first, so that a red-black half sweep is the
product with a range of its rows and costs half.
"""

import math
import threading
from collections.abc import Sequence
from typing import Protocol, final, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import _sparsetools
from torch import Tensor

from sciml.linalg.preconditioners.multigrid.steps import Steps, run_steps
from sciml.models.dcdm.learned_coarsest import CoarseWeights, coarsest_inverse
from sciml.models.dcdm.learned_hierarchy import CoarseGraph, Hierarchy
from sciml.models.dcdm.learned_network import Smoothing

Floats = NDArray[np.floating]


@runtime_checkable
class LevelSteps(Protocol):
    """What a level contributes to the cycle."""

    def relax_from_zero(self) -> Steps:
        """All relaxations in order, from x = 0."""
        ...

    def relax(self, *, backwards: bool = False) -> Steps:
        """All relaxations from the present x."""
        ...

    def restrict(self, coarse: Floats) -> Steps:
        """Sums of the residual times the gain."""
        ...

    def prolong(self, coarse: Floats) -> Steps:
        """Add the correction of the next level times the gain."""
        ...


@runtime_checkable
class FinestLevel(LevelSteps, Protocol):
    """Level 0, however it is stored."""

    def load(self, field: Tensor) -> None:
        """Take a residual on the grid."""
        ...

    def unload(self) -> Tensor:
        """The outcome on the grid."""
        ...


@final
class CompiledCycle:
    """One cycle on the CPU, as a map of residuals on the grid.

    Args:
        finest: Level 0.
        levels: The hierarchy of one geometry.
        weights: Of the coarse levels.
        smoothing: Of all levels but the coarsest.
        num_visits: 1 for the V-cycle, 2 for the W-cycle.
        colours: Whether smoothing steps alternate between red and black nodes.
    """

    def __init__(
        self,
        finest: FinestLevel,
        levels: Hierarchy,
        weights: Sequence[CoarseWeights],
        smoothing: Sequence[Smoothing],
        *,
        num_visits: int,
        colours: bool,
    ) -> None:
        self.finest, self.lock = finest, threading.Lock()
        self.graphs: list[GraphLevelSteps] = []
        for number, graph in enumerate(levels.coarse[:-1]):
            own, smooth = weights[number], smoothing[number + 1]
            matrix = graph_matrix(
                graph.lower.numpy(),
                graph.upper.numpy(),
                own.edges.numpy(),
                own.diagonal.numpy(),
            )
            num_red = int(graph.is_red.sum()) if colours else None
            aggregate = levels.coarse[number + 1].aggregate
            self.graphs.append(GraphLevelSteps(matrix, smooth, aggregate, num_red))
        self.levels: list[LevelSteps] = [finest, *self.graphs]
        self.coarsest = _Coarsest(levels.coarse[-1], weights[-1])
        self.num_visits = num_visits
        self.steps = self._visit(0, again=False)

    def __call__(self, r: Tensor) -> Tensor:
        """M r for a field on the grid."""
        with self.lock:
            self.finest.load(r)
            run_steps(self.steps)
            return self.finest.unload()

    def _visit(self, number: int, *, again: bool) -> Steps:
        if number == len(self.levels):
            return self.coarsest.steps
        level = self.levels[number]
        last = number + 1 == len(self.levels)
        coarse = self.coarsest if last else self.graphs[number]
        inner = self._visit(number + 1, again=False)
        if number > 0 and not last:
            inner = inner + self._visit(number + 1, again=True) * (self.num_visits - 1)
        before = level.relax() if again else level.relax_from_zero()
        down, up = level.restrict(coarse.r), level.prolong(coarse.x)
        return [*before, *down, *inner, *up, *level.relax(backwards=True)]


@final
class CellFinest:
    """Level 0 as the graph of its fluid cells, for any weights and smoother.

    Args:
        steps: The level as a graph.
        shape: Cells of the grid.
        cells: Flat numbers of the nodes.
    """

    def __init__(self, steps: "GraphLevelSteps", shape: Sequence[int], cells: Tensor) -> None:
        self.steps, self.shape, self.cells = steps, tuple(shape), cells.numpy()
        self.relax_from_zero, self.relax = steps.relax_from_zero, steps.relax
        self.restrict, self.prolong = steps.restrict, steps.prolong

    def load(self, field: Tensor) -> None:
        """Take a residual on the grid."""
        np.take(field.numpy().reshape(-1), self.cells, out=self.steps.r, mode="clip")

    def unload(self) -> Tensor:
        """The outcome on the grid."""
        z = np.zeros(math.prod(self.shape), self.steps.x.dtype)
        z[self.cells] = self.steps.x
        return torch.from_numpy(z.reshape(self.shape))


@final
class GraphLevelSteps:
    """Buffers and steps of a level that is a graph.

    Args:
        matrix: The operator.
        smoothing: Relaxations and gain.
        aggregate: Node of the next level.
        num_red: Number of red nodes, which come first; None where steps concern all nodes.
    """

    def __init__(
        self,
        matrix: sparse.csr_array,
        smoothing: Smoothing,
        aggregate: Tensor,
        num_red: int | None,
    ) -> None:
        n, dtype = matrix.shape[0], smoothing.gain.numpy().dtype
        self.r, self.x, self.defect = np.zeros((3, n), dtype)
        self.indptr, self.indices = (
            matrix.indptr.astype(np.int32),
            matrix.indices.astype(np.int32),
        )
        self.data = (-matrix.data).astype(dtype)
        fields = [field.numpy() for field in smoothing.fields]
        parts = [slice(0, n)] * len(fields)
        if num_red is not None:
            parts = [slice(0, num_red), slice(num_red, n)] * (len(fields) // 2)
        self.relaxations = [
            (part, np.ascontiguousarray(field[part]))
            for part, field in zip(parts, fields, strict=True)
        ]
        self.aggregate = aggregate.numpy().astype(np.int32)
        self.gain = np.ascontiguousarray(smoothing.gain.numpy())
        self.one_each = np.arange(n + 1, dtype=np.int32)

    def relax_from_zero(self) -> Steps:
        """All relaxations in order, from x = 0."""
        part, field = self.relaxations[0]
        steps: Steps = [] if len(field) == len(self.x) else [(self.x.fill, (0,))]
        steps.append((np.multiply, (self.r[part], field, self.x[part])))
        return steps + self._relax(self.relaxations[1:])

    def relax(self, *, backwards: bool = False) -> Steps:
        """All relaxations from the present x."""
        return self._relax(self.relaxations[::-1] if backwards else self.relaxations)

    def restrict(self, coarse: Floats) -> Steps:
        """Sums of the residual times the gain."""
        n = len(self.x)
        return [
            *self._defect(slice(0, n)),
            (coarse.fill, (0,)),
            (
                _sparsetools.csc_matvec,
                (len(coarse), n, self.one_each, self.aggregate, self.gain, self.defect, coarse),
            ),
        ]

    def prolong(self, coarse: Floats) -> Steps:
        """Add the correction of the next level times the gain."""
        n = len(self.x)
        operands = (n, len(coarse), self.one_each, self.aggregate, self.gain, coarse, self.x)
        return [(_sparsetools.csr_matvec, operands)]

    def _relax(self, relaxations: Sequence[tuple[slice, Floats]]) -> Steps:
        steps: Steps = []
        for part, field in relaxations:
            defect, x = self.defect[part], self.x[part]
            steps += self._defect(part)
            steps += [(np.multiply, (defect, field, defect)), (np.add, (x, defect, x))]
        return steps

    def _defect(self, part: slice) -> Steps:
        """Rows of r - A x."""
        rows = self.indptr[part.start : part.stop + 1]
        defect, size = self.defect[part], len(self.x)
        operands = (part.stop - part.start, size, rows, self.indices, self.data, self.x, defect)
        return [(np.copyto, (defect, self.r[part])), (_sparsetools.csr_matvec, operands)]


class _Coarsest:
    """Buffers and steps of the coarsest level."""

    def __init__(self, graph: CoarseGraph, weights: CoarseWeights) -> None:
        dtype = weights.diagonal.numpy().dtype
        connected, inverse, alone = (t.numpy() for t in coarsest_inverse(graph, weights))
        self.r, self.x = np.zeros((2, graph.num_nodes), dtype)
        given, found = np.zeros((2, len(connected)), dtype)
        self.steps: Steps = [
            (np.multiply, (self.r, alone, self.x)),
            (self.r.take, (connected, None, given, "clip")),
            (np.dot, (np.ascontiguousarray(inverse), given, found)),
            (self.x.put, (connected, found)),
        ]


def graph_matrix(
    lower: NDArray[np.integer], upper: NDArray[np.integer], weight: Floats, diagonal: Floats
) -> sparse.csr_array:
    """A weighted graph's operator, from edges given once each."""
    own = np.arange(len(diagonal))
    rows = np.concatenate([lower, upper, own])
    columns = np.concatenate([upper, lower, own])
    values = np.concatenate([-weight, -weight, diagonal])
    return sparse.csr_array((values, (rows, columns)), shape=(len(own), len(own)))
