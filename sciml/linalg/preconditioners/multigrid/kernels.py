"""What the cycle is made of, as steps on fixed buffers: the interface, and NumPy with SciPy."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import _sparsetools
from typing_extensions import override

from sciml.linalg.preconditioners.multigrid.graph import CompressedRows
from sciml.linalg.preconditioners.multigrid.steps import Step, Steps

Values: TypeAlias = Any
"""Numbers where the cycle runs: a NumPy array, or a tensor on a device. Slices are views."""

Matrix: TypeAlias = Any
"""A sparse matrix in the form that the kernels multiply with."""


class Kernels(ABC):
    """Where the arrays of a cycle live, and the steps that work on them.

    Methods that return steps only write them down; nothing runs before `run_steps`.
    """

    @abstractmethod
    def place(self, values: NDArray[Any]) -> Values:
        """The array where the cycle runs."""

    @abstractmethod
    def matrix(self, rows: CompressedRows, num_columns: int) -> Matrix:
        """The matrix where the cycle runs."""

    @abstractmethod
    def copy(self, out: Values, source: Values) -> Steps:
        """The values of one array into another."""

    @abstractmethod
    def multiply(self, out: Values, one: Values, other: Values) -> Steps:
        """Product entry by entry."""

    @abstractmethod
    def sweep(
        self, out: Values, neighbours: Sequence[Values], r: Values, inverse: Values
    ) -> Steps:
        """Half sweep with unit conductances: the neighbours and r, added up, times 1 / D."""

    @abstractmethod
    def weighted_sweep(
        self,
        out: Values,
        neighbours: Sequence[Values],
        weights: Sequence[Values],
        scaled: Values,
    ) -> Steps:
        """Half sweep with weights that are conductances over D: their sum, and r over D."""

    @abstractmethod
    def rows(
        self, out: Values, scaled: Values, products: Sequence[tuple[Matrix, Values]]
    ) -> Steps:
        """`scaled` plus the products of matrices and vectors."""

    @abstractmethod
    def restrict(
        self,
        sums: Values,
        aggregate: NDArray[np.int32],
        factor: Values,
        fields: tuple[Values, Values],
    ) -> Steps:
        """Into each entry of `sums` the sum of factor · (first field - second) over its nodes.

        The first of the two fields is overwritten.
        """

    @abstractmethod
    def prolong(self, x: Values, aggregate: NDArray[np.int32], coarse: Values) -> Steps:
        """To each node of x the entry of `coarse` that it belongs to."""

    @abstractmethod
    def solve(self, x: Values, inverse: Values, r: Values) -> Steps:
        """A dense matrix times r."""


@final
class HostKernels(Kernels):
    """NumPy for level 0, the compiled loops behind scipy.sparse for graphs."""

    @override
    def place(self, values: NDArray[Any]) -> NDArray[Any]:
        return values

    @override
    def matrix(self, rows: CompressedRows, num_columns: int) -> CompressedRows:
        return rows

    @override
    def copy(self, out: Values, source: Values) -> Steps:
        return [(np.copyto, (out, source))]

    @override
    def multiply(self, out: Values, one: Values, other: Values) -> Steps:
        return [(np.multiply, (one, other, out))]

    @override
    def sweep(
        self, out: Values, neighbours: Sequence[Values], r: Values, inverse: Values
    ) -> Steps:
        first, second, *others = neighbours
        return [
            (np.add, (first, second, out)),
            *((np.add, (out, other, out)) for other in (*others, r)),
            (np.multiply, (out, inverse, out)),
        ]

    @override
    def weighted_sweep(
        self,
        out: Values,
        neighbours: Sequence[Values],
        weights: Sequence[Values],
        scaled: Values,
    ) -> Steps:
        product = np.empty_like(out)
        steps: Steps = [(np.copyto, (out, scaled))]
        for neighbour, weight in zip(neighbours, weights, strict=True):
            steps.append((np.multiply, (neighbour, weight, product)))
            steps.append((np.add, (out, product, out)))
        return steps

    @override
    def rows(
        self, out: Values, scaled: Values, products: Sequence[tuple[Matrix, Values]]
    ) -> Steps:
        multiply = _sparsetools.csr_matvec
        copied: Step = (np.copyto, (out, scaled))
        return [copied, *((multiply, (out.size, x.size, *m, x, out)) for m, x in products)]

    @override
    def restrict(
        self,
        sums: Values,
        aggregate: NDArray[np.int32],
        factor: Values,
        fields: tuple[Values, Values],
    ) -> Steps:
        first, second = fields
        columns = (np.arange(first.size + 1, dtype=np.int32), aggregate, factor)
        return [
            (np.subtract, (first, second, first)),
            (sums.fill, (0,)),
            (_sparsetools.csc_matvec, (sums.size, first.size, *columns, first, sums)),
        ]

    @override
    def prolong(self, x: Values, aggregate: NDArray[np.int32], coarse: Values) -> Steps:
        if x.size > LARGE:
            taken = np.empty_like(x)
            return [
                (coarse.take, (aggregate, None, taken, "clip")),
                (np.add, (x, taken, x)),
            ]
        ones = (np.arange(x.size + 1, dtype=np.int32), aggregate, np.ones(x.size, x.dtype))
        return [(_sparsetools.csr_matvec, (x.size, coarse.size, *ones, coarse, x))]

    @override
    def solve(self, x: Values, inverse: Values, r: Values) -> Steps:
        return [(np.dot, (inverse, r, x))]


LARGE = 8192
"""Entries from which on two passes beat one of a loop that was not made for them."""
