"""The matrix behind the last level of CCMG, and its inverse."""

import numpy as np
from jaxtyping import Float, Float64, Int32
from numpy.typing import NDArray
from scipy.linalg import lapack

from sciml.linalg.preconditioners.multigrid.edges import join_edges
from sciml.linalg.preconditioners.multigrid.graph import GraphLevel
from sciml.linalg.preconditioners.multigrid.pieces import connected_pieces

SINGULAR = 1e-10
"""A component with less of its diagonal sum than this in links to air counts as having none."""


def schur_complement(level: GraphLevel, start: int) -> Float64[np.ndarray, "m m"]:
    """The operator of a graph on its nodes from `start` on, the others eliminated.

    A component without links to air has a constant null vector; the matrix gets v vᵀ on it,
    which makes it definite, v from `definite_shift`.

    Args:
        level: The graph.
        start: Nodes before this one share no edges; 0 eliminates none.

    Source: Golub and Van Loan, "Matrix Computations", 4th ed., section 3.2.11.
    """
    lower, upper, weight = join_edges((*level.edges, level.inner))
    size = level.num_nodes - start
    first, last = np.minimum(lower, upper), np.maximum(lower, upper)
    rows = start or size
    place = first.astype(np.intp) * size + (last - start)
    # of no values, bincount makes integers
    coupling = np.bincount(place, weight, rows * size).astype(np.float64).reshape(rows, size)
    if start:
        coupling *= reciprocal(level.diagonal[:start])[:, None] ** 0.5
        matrix = -(coupling.T @ coupling)
    else:
        matrix = -(coupling + coupling.T)
    matrix.reshape(-1)[:: size + 1] += level.diagonal[start:]
    vector, label = definite_shift(level, start)
    if vector.any():
        vector, label = vector[start:], label[start:]
        shift = np.outer(vector, vector)
        matrix += shift if (label == label[0]).all() else shift * (label[:, None] == label)
    return matrix


def definite_shift(
    level: GraphLevel, start: int
) -> tuple[Float64[np.ndarray, " n"], Int32[np.ndarray, " n"]]:
    """A vector v and the component of each node: v vᵀ within components makes A definite.

    v is a multiple of the number of cells in each node from `start` on, so that solutions for
    consistent right-hand sides have no mean over these, and zero where A is definite already.
    """
    label, first = connected_pieces(level.num_nodes, (*level.edges, level.inner))
    count = first.size
    diagonal = np.bincount(label, level.diagonal, count)
    is_singular = np.bincount(label, level.dirichlet, count) <= SINGULAR * diagonal
    if not is_singular.any():
        return np.zeros(level.num_nodes), label
    vector = level.volume.copy()
    vector[:start] = 0.0
    size = np.bincount(label[start:], minlength=count) * np.bincount(label, vector**2, count)
    shift = np.where(diagonal > 0, diagonal, 1.0) / np.maximum(size, 1)
    vector *= np.sqrt(np.where(is_singular, shift, 0.0)).take(label)
    return vector, label


def reciprocal(diagonal: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """One over a diagonal; one for nodes without neighbours, whose residual is zero."""
    return 1 / np.where(diagonal > 0, diagonal, 1.0)


def inverse(
    matrix: Float64[np.ndarray, "m m"], dtype: np.dtype[np.floating]
) -> Float[np.ndarray, "m m"]:
    """Inverse of a positive definite matrix; pseudo-inverse should rounding have hurt it."""
    # LAPACK counts columns first, where the transpose of a symmetric matrix needs no copy
    factor, failed = lapack.dpotrf(matrix.T, lower=1)
    if failed:
        return np.asarray(np.linalg.pinv(matrix, hermitian=True), dtype)
    lower = lapack.dpotri(factor, lower=1, overwrite_c=1)[0].astype(dtype)
    full: NDArray[np.floating] = lower + lower.T
    np.fill_diagonal(full, lower.diagonal())
    return full
