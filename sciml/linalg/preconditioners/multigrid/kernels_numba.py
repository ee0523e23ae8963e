"""The steps of the cycle compiled by numba; importing this module needs numba.

Each half sweep is one pass over memory. The slices of level 0 come in as arrays of their own,
shifted already: with shifted indices in the loop instead, it would not be vectorised; nor with
signed indices, which Python lets count from the end.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from typing_extensions import override

from sciml.linalg.preconditioners.multigrid.graph import CompressedRows
from sciml.linalg.preconditioners.multigrid.kernels import LARGE, HostKernels, Kernels
from sciml.linalg.preconditioners.multigrid.steps import Steps

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
F = TypeVar("F", bound=Callable[..., None])


@final
class CompiledKernels(Kernels):
    """Compiled loops for level 0 and large transfers, `HostKernels` for everything else.

    The products with sparse matrices behind scipy.sparse are compiled already, and faster than
    what numba makes of them. Results differ by rounding: sums are taken in another order.
    """

    def __init__(self) -> None:
        self._host = HostKernels()

    @override
    def place(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(values)

    @override
    def matrix(self, rows: CompressedRows, num_columns: int) -> CompressedRows:
        return rows

    @override
    def copy(self, out: Floats, source: Floats) -> Steps:
        return self._host.copy(out, source)

    @override
    def multiply(self, out: Floats, one: Floats, other: Floats) -> Steps:
        return self._host.multiply(out, one, other)

    @override
    def sweep(
        self, out: Floats, neighbours: Sequence[Floats], r: Floats, inverse: Floats
    ) -> Steps:
        kernel = _sweep_of_four if len(neighbours) == 4 else _sweep_of_six
        return [(kernel, (out, r, inverse, *neighbours))]

    @override
    def weighted_sweep(
        self,
        out: Floats,
        neighbours: Sequence[Floats],
        weights: Sequence[Floats],
        scaled: Floats,
    ) -> Steps:
        kernel = _weighted_sweep_of_four if len(neighbours) == 4 else _weighted_sweep_of_six
        pairs = zip(neighbours, weights, strict=True)
        return [(kernel, (out, scaled, *(array for pair in pairs for array in pair)))]

    @override
    def rows(
        self,
        out: Floats,
        scaled: Floats,
        products: Sequence[tuple[CompressedRows, Floats]],
    ) -> Steps:
        return self._host.rows(out, scaled, products)

    @override
    def restrict(
        self,
        sums: Floats,
        aggregate: NDArray[np.int32],
        factor: Floats,
        fields: tuple[Floats, Floats],
    ) -> Steps:
        if factor.size < LARGE:
            return self._host.restrict(sums, aggregate, factor, fields)
        return [(_restrict, (sums, aggregate.view(np.uint32), factor, *fields))]

    @override
    def prolong(self, x: Floats, aggregate: NDArray[np.int32], coarse: Floats) -> Steps:
        if x.size < LARGE:
            return self._host.prolong(x, aggregate, coarse)
        return [(_prolong, (x, aggregate.view(np.uint32), coarse))]

    @override
    def solve(self, x: Floats, inverse: Floats, r: Floats) -> Steps:
        return self._host.solve(x, inverse, r)


def _compiled(function: F) -> F:
    """Compiled on the first call for each dtype, and kept on disk for other processes."""
    # numba reads the code of the function itself, not that of a wrapper that checks types
    plain = inspect.unwrap(function)
    compiled: F = njit(cache=True, fastmath=True, nogil=True)(plain)
    return compiled


@_compiled
def _sweep_of_four(
    out: Floats, r: Floats, inverse: Floats, a: Floats, b: Floats, c: Floats, d: Floats
) -> None:
    for m in range(out.size):
        out[m] = (a[m] + b[m] + c[m] + d[m] + r[m]) * inverse[m]


@_compiled
def _sweep_of_six(  # noqa: PLR0913  one argument per neighbour keeps the loop free of indices
    out: Floats,
    r: Floats,
    inverse: Floats,
    a: Floats,
    b: Floats,
    c: Floats,
    d: Floats,
    e: Floats,
    f: Floats,
) -> None:
    for m in range(out.size):
        out[m] = (a[m] + b[m] + c[m] + d[m] + e[m] + f[m] + r[m]) * inverse[m]


@_compiled
def _weighted_sweep_of_four(  # noqa: PLR0913  as above
    out: Floats,
    scaled: Floats,
    a: Floats,
    wa: Floats,
    b: Floats,
    wb: Floats,
    c: Floats,
    wc: Floats,
    d: Floats,
    wd: Floats,
) -> None:
    for m in range(out.size):
        out[m] = scaled[m] + wa[m] * a[m] + wb[m] * b[m] + wc[m] * c[m] + wd[m] * d[m]


@_compiled
def _weighted_sweep_of_six(  # noqa: PLR0913  as above
    out: Floats,
    scaled: Floats,
    a: Floats,
    wa: Floats,
    b: Floats,
    wb: Floats,
    c: Floats,
    wc: Floats,
    d: Floats,
    wd: Floats,
    e: Floats,
    we: Floats,
    f: Floats,
    wf: Floats,
) -> None:
    for m in range(out.size):
        out[m] = (
            scaled[m]
            + wa[m] * a[m]
            + wb[m] * b[m]
            + wc[m] * c[m]
            + wd[m] * d[m]
            + we[m] * e[m]
            + wf[m] * f[m]
        )


@_compiled
def _restrict(
    sums: Floats, aggregate: Integers, factor: Floats, first: Floats, second: Floats
) -> None:
    sums[:] = 0
    for m in range(first.size):
        sums[aggregate[m]] += factor[m] * (first[m] - second[m])


@_compiled
def _prolong(x: Floats, aggregate: Integers, coarse: Floats) -> None:
    for m in range(x.size):
        x[m] += coarse[aggregate[m]]
