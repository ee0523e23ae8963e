"""Slow and plain versions of what the multigrid tests compare with."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.coarsen import CoarseningRule, coarsen
from sciml.linalg.preconditioners.multigrid.graph import GraphLevel, level_from_operator
from sciml.simulate.geometry import make_flags, smooth_coefficients

Vector = NDArray[np.float64]


def system(
    domain: str,
    medium: str,
    shape: Sequence[int],
    *,
    seed: int,
    contrast: float = 1e3,
    stretch: float = 10.0,
) -> PoissonOperator:
    """A test problem; aniso cells are `stretch` times longer on all axes but the first."""
    flags = make_flags(domain, shape, seed=seed)
    spacing = [1.0] + [stretch if medium.startswith("aniso") else 1.0] * (len(shape) - 1)
    kind = medium.removeprefix("aniso").removeprefix("-")
    coefficients = None
    if kind not in ("", "constant"):
        coefficients = smooth_coefficients(kind, shape, contrast=contrast, seed=seed)
    return PoissonOperator(flags, spacing, coefficients=coefficients)


def matrix(level: GraphLevel) -> sparse.csr_matrix:
    """The operator of a level from its edges and links alone."""
    n = level.num_nodes
    total = sparse.diags(level.dirichlet).tocsr()
    for edge in (*level.edges, level.inner):
        off = sparse.coo_matrix((edge.weight, (edge.lower, edge.upper)), (n, n)).tocsr()
        off = off + off.T
        total = total + sparse.diags(np.asarray(off.sum(1)).ravel()) - off
    return sparse.csr_matrix(total)


def hierarchy(
    finest: GraphLevel, rule: CoarseningRule, coarsest: int = 100
) -> list[GraphLevel]:
    """All levels."""
    levels = [finest]
    while levels[-1].num_nodes > coarsest and levels[-1].num_edges > 0:
        levels.append(coarsen(levels[-1], rule))
        assert len(levels) < 40
    return levels


def components(level: GraphLevel) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The component of every node, and of every component whether constants are free on it."""
    count, label = connected_components(matrix(level), directed=False)
    return label, np.bincount(label, level.dirichlet, count) == 0


class ReferenceCycle:
    """W(2,2) or V(2,2) red-black cycles with sparse matrices in float64.

    Half sweeps update one colour at once, from old values within it, in the reversed order
    after the correction. Symmetric, whatever edges there are between nodes of one colour.
    """

    def __init__(self, levels: Sequence[GraphLevel], visits: int = 2) -> None:
        self.levels, self.visits = levels, visits
        self.matrices = [matrix(level) for level in levels]
        self.transfers = [
            sparse.csr_matrix(
                (np.ones(fine.num_nodes), (np.arange(fine.num_nodes), coarse.aggregate)),
                (fine.num_nodes, coarse.num_nodes),
            )
            for fine, coarse in pairwise(levels)
        ]
        self.inverse = np.linalg.pinv(self.matrices[-1].toarray(), hermitian=True)

    def __call__(self, b: Vector, x: Vector | None = None, depth: int = 0) -> Vector:
        matrix = self.matrices[depth]
        x = np.zeros_like(b) if x is None else x.copy()
        if depth == len(self.levels) - 1:
            return x + self.inverse @ (b - matrix @ x)
        red = self.levels[depth].num_red
        colours = [slice(0, red), slice(red, None)]
        self._smooth(x, b, depth, colours * 2)
        residual = self.transfers[depth].T @ (b - matrix @ x)
        error: Vector | None = None
        for _ in range(self.visits if depth + 2 < len(self.levels) else 1):
            error = self(residual, error, depth + 1)
        x += self.transfers[depth] @ error
        self._smooth(x, b, depth, colours[::-1] * 2)
        return x

    def _smooth(self, x: Vector, b: Vector, depth: int, colours: Sequence[slice]) -> None:
        matrix, diagonal = self.matrices[depth], self.levels[depth].diagonal
        inverse = np.divide(1, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
        for colour in colours:
            x[colour] += inverse[colour] * (b - matrix @ x)[colour]


def conjugate_gradients(
    levels: Sequence[GraphLevel],
    rtol: float,
    *,
    seed: int,
    visits: int = 2,
    precondition: Callable[[Vector], Vector] | None = None,
) -> tuple[int, float, float, float]:
    """Steps to a residual, extreme eigenvalues of BA from their coefficients, least rᵀz/rᵀr.

    B is the reference cycle unless another `precondition` is given.
    """
    finest = levels[0]
    A, apply = matrix(finest), precondition or ReferenceCycle(levels, visits)
    label, free = components(finest)
    sizes = np.bincount(label)

    def project(v: Vector) -> Vector:
        return v - np.where(free, np.bincount(label, v) / sizes, 0.0)[label]

    # white noise on top of what is smooth, as in practice
    noise = np.random.default_rng(seed).standard_normal(finest.num_nodes)
    r = project(0.3 * noise + 3 * np.sin(6 * finest.block[0] / finest.block[0].max()))
    goal, z = rtol * np.linalg.norm(r), project(apply(r))
    p, rz, steps, lengths, shares = z, r @ z, 0, [], []
    least = rz / (r @ r)
    while True:
        q = A @ p
        lengths.append(rz / (p @ q))
        r = r - lengths[-1] * q
        steps += 1
        if np.linalg.norm(r) <= goal or steps == 200:
            break
        z = project(apply(r))
        shares.append((r @ z) / rz)
        rz, least = r @ z, min(least, (r @ z) / (r @ r))
        p = z + shares[-1] * p
    main = 1 / np.array(lengths)
    main[1:] += np.array(shares) * main_before(lengths)
    side = np.sqrt(np.abs(shares)) * main_before(lengths)
    values = np.linalg.eigvalsh(np.diag(main) + np.diag(side, 1) + np.diag(side, -1))
    return steps, float(values[0]), float(values[-1]), float(least)


def main_before(lengths: Sequence[float]) -> Vector:
    """1/α of all steps but the last."""
    return 1 / np.array(lengths[:-1])


def levels_of(operator: PoissonOperator, rule: CoarseningRule) -> list[GraphLevel]:
    """All levels of an operator."""
    return hierarchy(level_from_operator(operator), rule)
