"""Incomplete factorisations of sparse matrices, on the CPU."""

import math
from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg
from torch import Tensor
from typing_extensions import override

from sciml.linalg.preconditioners.base import FixedPreconditioner

MAX_SWEEPS = 4000  # a factor is exact after as many as its longest chain of dependence
SWEEP_TOLERANCE = 1e-13


@final
class IncompleteCholesky(FixedPreconditioner):
    """M = (L Lᵀ)⁻¹ with L on the sparsity pattern of the lower triangle of A: IC(0).

    The factor is the fixed point of ``l_ij = (a_ij - Σ_{k<j} l_ik l_jk) / l_jj``, found by
    sweeps over all entries at once instead of row by row. Triangular solves run in compiled
    code. With `modified` = τ it is MIC(0): τ times each product that falls outside the pattern
    is taken from the diagonals of its row and its column, so that L Lᵀ has the row sums of A
    where τ = 1. On the Poisson equation that halves the steps of conjugate gradients and makes
    their number grow like the square root of what it was.

    Args:
        matrix: Symmetric positive (semi-)definite A in a scipy.sparse format. Zero rows (cells
            outside the domain) are left alone: M is the identity there.
        shape: Axes of the fields; one axis by default.
        shift: Added to the diagonal, relative to it. Zero by default; a matrix that is not an
            M-matrix may need 1e-3 to 1e-1 for its incomplete factor to exist.
        modified: τ in [0, 1]; 0, the default, is IC(0). Where A is singular, 0.97 keeps the
            last pivot away from zero.

    Raises:
        ValueError: If a pivot is not positive, `modified` is not in [0, 1], or `shape` does not
            hold the unknowns.

    Source: Meijerink and van der Vorst, Math. Comp. 31 (1977), 148; sweeps: Chow and Patel,
    SIAM J. Sci. Comput. 37 (2015), C169, Algorithm 2; shift: Manteuffel, Math. Comp. 34
    (1980), 473; modified: Gustafsson, BIT 18 (1978), 142; τ = 0.97: Bridson, Fluid Simulation
    for Computer Graphics (2015), section 5.2.
    """

    def __init__(
        self,
        matrix: sparse.spmatrix | sparse.sparray,
        shape: Sequence[int] | None = None,
        *,
        shift: float = 0.0,
        modified: float = 0.0,
    ) -> None:
        size = matrix.shape[0]
        fields = (size,) if shape is None else tuple(shape)
        if matrix.shape[1] != size or math.prod(fields) != size:
            raise ValueError(
                f"IncompleteCholesky: expected a square matrix on fields of shape {fields}, "
                f"got {matrix.shape}; give the axes of the fields in C order"
            )
        super().__init__(fields, dtype=torch.float64, device=torch.device("cpu"))
        self.factor = incomplete_cholesky(matrix, shift, modified)
        # natural order and no pivoting: SuperLU then keeps L as it is and only solves with it
        self.triangle = sparse_linalg.splu(
            sparse.csc_matrix(self.factor),
            permc_spec="NATURAL",
            diag_pivot_thresh=0.0,
            options={"Equil": False, "SymmetricMode": True},
        )

    @override
    def _mv(self, x: Tensor) -> Tensor:
        def solve(columns: Any) -> Any:
            return self.triangle.solve(self.triangle.solve(columns), trans="T")

        return on_host(solve, x, self.in_shape)


def on_host(solve: Callable[[Any], Any], x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Apply a function of NumPy arrays (n,) or columns (n, k) to fields (*batch, *shape).

    On the CPU in float64. `solve` may not write into what it is given, which is x itself.
    """
    fields = x.detach().to(torch.float64).reshape(-1, math.prod(shape))
    columns = fields[0] if len(fields) == 1 else fields.T
    solved = np.ascontiguousarray(solve(columns.numpy()).T)
    return torch.from_numpy(solved).to(x.dtype).reshape(x.shape)


def incomplete_cholesky(
    matrix: sparse.spmatrix | sparse.sparray, shift: float = 0.0, modified: float = 0.0
) -> sparse.csr_matrix:
    """The lower triangular IC(0) or MIC(0) factor of a symmetric matrix; see the class.

    Raises:
        ValueError: If a pivot is not positive, or `modified` is not in [0, 1].
    """
    if not 0 <= modified <= 1:
        raise ValueError(
            f"IncompleteCholesky: expected 0 <= modified <= 1, got {modified}; it is the share "
            "of dropped entries that the diagonal takes, 0.97 is usual"
        )
    full = sparse.csr_matrix(matrix, dtype=np.float64)
    diagonal = full.diagonal()
    empty = (np.diff(full.indptr) == 0) | (diagonal == 0)
    full = sparse.csr_matrix(full + sparse.diags(shift * diagonal + empty))
    # the symmetric scaling to unit diagonal keeps the sweeps well scaled; undone at the end
    scale = np.sqrt(np.abs(full.diagonal()))
    lower = sparse.csr_matrix(
        sparse.tril(sparse.diags(1 / scale) @ full @ sparse.diags(1 / scale))
    )
    lower.sort_indices()
    rows = np.repeat(np.arange(lower.shape[0]), np.diff(lower.indptr))
    columns = lower.indices
    terms = _kept_terms(lower, rows, columns)
    if modified:
        extra = _dropped_terms(rows, columns, modified, scale)
        terms = tuple(np.concatenate(pair) for pair in zip(terms, extra, strict=True))
    values = _sweep(lower, rows, columns, terms)
    lower.data = values * scale[rows]
    return lower


def _sweep(lower: sparse.csr_matrix, rows: Any, columns: Any, terms: tuple[Any, ...]) -> Any:
    """Entries of the incomplete factor of the matrix whose lower triangle is given.

    Each of the `terms` (target, left, right, weight) takes weight · left · right from the
    target; all but the weight are numbers of entries.
    """
    target, left, right, weight = terms
    diagonal = rows == columns
    pivot_of = np.flatnonzero(diagonal)[columns]  # where the pivot of each entry's column is
    goal, values = lower.data, lower.data.copy()
    values[diagonal] = np.sqrt(np.abs(values[diagonal]))
    for _ in range(MAX_SWEEPS):
        products = weight * values[left] * values[right]
        rest = goal - np.bincount(target, products, minlength=values.size)
        roots = np.sqrt(np.maximum(rest, 0.0))
        pivots = values[pivot_of]
        updated = np.where(diagonal, roots, rest / np.where(pivots > 0, pivots, 1.0))
        change = np.abs(updated - values).max()
        values = updated
        if change <= SWEEP_TOLERANCE:
            break
    if not (np.isfinite(values).all() and values[diagonal].min() > 1e-8):
        raise ValueError(
            "IncompleteCholesky: expected positive pivots, got one that is not (relative to "
            "the diagonal); give a shift, e.g. shift=1e-2"
        )
    return values


def _kept_terms(lower: sparse.csr_matrix, rows: Any, columns: Any) -> tuple[Any, ...]:
    """All triples of entries (i, j), (i, k), (j, k) with k < j: what each sum runs over."""
    size = lower.shape[0]
    starts, counts = lower.indptr[:-1], np.diff(lower.indptr)
    # candidates: every entry (i, k) of the row of (i, j), joined to (j, k) by a search
    repeat = counts[rows]
    target = np.repeat(np.arange(rows.size), repeat)
    offset = np.arange(target.size) - np.repeat(np.cumsum(repeat) - repeat, repeat)
    left = starts[rows[target]] + offset
    k, j = columns[left].astype(np.int64), columns[target].astype(np.int64)
    keep = k < j
    target, left, k, j = target[keep], left[keep], k[keep], j[keep]
    keys = rows.astype(np.int64) * size + columns
    wanted = j * size + k
    right = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    found = keys[right] == wanted
    return target[found], left[found], right[found], np.ones(int(found.sum()))


def _dropped_terms(rows: Any, columns: Any, modified: float, scale: Any) -> tuple[Any, ...]:
    """Pairs (i, k), (j, k), k < i < j, whose product has no place: the pivots i and j take it.

    `scale` is what each row was divided by: row sums are those of the matrix before that.
    """
    below = np.flatnonzero(rows > columns)
    order = below[np.lexsort((rows[below], columns[below]))]
    counts = np.bincount(columns[order])
    ends = np.repeat(np.cumsum(counts), counts)  # of the column that each entry stands in
    later = ends - np.arange(order.size) - 1  # entries under it in that column
    first = np.repeat(np.arange(order.size), later)
    offset = np.arange(first.size) - np.repeat(np.cumsum(later) - later, later)
    upper, lower = order[first], order[first + 1 + offset]
    keys = rows.astype(np.int64) * scale.size + columns
    wanted = rows[lower].astype(np.int64) * scale.size + rows[upper]
    present = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    outside = keys[present] != wanted
    upper, lower = upper[outside], lower[outside]
    pivots = np.flatnonzero(rows == columns)
    i, j = rows[upper], rows[lower]
    return (
        np.concatenate([pivots[i], pivots[j]]),
        np.concatenate([upper, upper]),
        np.concatenate([lower, lower]),
        modified * np.concatenate([scale[j] / scale[i], scale[i] / scale[j]]),
    )
