"""Linear systems and solvers that the tests of `linear_solve` run in all combinations."""

import numpy as np
import torch
from scipy import sparse

from sciml.linalg.dense import DenseOperator, DiagonalOperator
from sciml.linalg.kronecker import KroneckerOperator
from sciml.linalg.kronecker_sum import KroneckerSumOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.solvers.bicgstab import BiCGStab
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.direct import LU, Cholesky, Structured
from sciml.linalg.solvers.fast_diagonalization import FastDiagonalization
from sciml.linalg.solvers.gmres import GMRES
from sciml.linalg.solvers.minres import MINRES
from sciml.linalg.sparse import SparseOperator
from sciml.linalg.toeplitz import ToeplitzOperator

SEED = 918273


def random(*shape, dtype=torch.float64, seed=SEED):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def definite_matrix(n, dtype=torch.float64, seed=SEED):
    root = random(n, n, seed=seed)
    return (root @ root.T / n + 0.5 * torch.eye(n, dtype=torch.float64)).to(dtype)


def indefinite_matrix(n, dtype=torch.float64):
    """Symmetric, half of the eigenvalues in [-2, -1] and half in [1, 2]."""
    basis = torch.linalg.qr(random(n, n)).Q
    values = torch.linspace(1, 2, n, dtype=torch.float64)
    values[::2] *= -1
    return ((basis * values) @ basis.T).to(dtype)


def nonsymmetric_matrix(n, dtype=torch.float64):
    return (random(n, n) / (2 * n**0.5) + torch.eye(n, dtype=torch.float64)).to(dtype)


def nonsymmetric_sparse(n):
    """Upwind convection and diffusion on a line."""
    return sparse.diags([-1.6, 2.3, -0.4], [-1, 0, 1], (n, n), format="csr")


def pressure_matrix(n, dim):
    """The reference pressure matrix: graph Laplacian of the box without face-face links.

    The outer layer has special rows: a cell on a face is a pendant of its inner neighbour,
    cells on edges and corners have zero rows.
    """
    index = np.arange(n**dim).reshape((n,) * dim)
    num_faces = np.zeros((n,) * dim, dtype=int)
    for axis in range(dim):
        line = np.arange(n).reshape([-1 if k == axis else 1 for k in range(dim)])
        num_faces = num_faces + ((line == 0) | (line == n - 1))
    faces = num_faces.ravel()
    rows, columns = [], []
    for axis in range(dim):
        low = np.take(index, range(n - 1), axis).ravel()
        high = np.take(index, range(1, n), axis).ravel()
        linked = (np.minimum(faces[low], faces[high]) == 0) & (faces[low] + faces[high] <= 1)
        rows += [low[linked], high[linked]]
        columns += [high[linked], low[linked]]
    links = np.concatenate(rows), np.concatenate(columns)
    weights = sparse.csr_matrix((np.ones(links[0].size), links), shape=(n**dim,) * 2)
    laplacian = sparse.csr_matrix(sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights)
    laplacian.eliminate_zeros()
    return laplacian


# name -> (operator of a dtype, "definite", "indefinite" or "general")
SYSTEMS = {
    "dense_definite": (
        lambda dtype: DenseOperator(definite_matrix(35, dtype), (5, 7), positive_definite=True),
        "definite",
    ),
    "dense_indefinite": (
        lambda dtype: DenseOperator(indefinite_matrix(15, dtype), symmetric=True),
        "indefinite",
    ),
    "dense_general": (
        lambda dtype: DenseOperator(nonsymmetric_matrix(21, dtype), (3, 7)),
        "general",
    ),
    "diagonal": (
        lambda dtype: DiagonalOperator(
            torch.linspace(0.5, 3, 12, dtype=dtype).reshape(3, 4), positive_definite=True
        ),
        "definite",
    ),
    "kronecker": (
        lambda dtype: KroneckerOperator(
            [definite_matrix(n, dtype) for n in (3, 4, 5)], positive_definite=True
        ),
        "definite",
    ),
    "kronecker_sum": (
        lambda dtype: KroneckerSumOperator(
            [definite_matrix(n, dtype) for n in (6, 5)], symmetric=True, positive_definite=True
        ),
        "definite",
    ),
    "toeplitz": (
        lambda dtype: ToeplitzOperator(
            0.5 ** torch.arange(23, dtype=dtype), positive_definite=True
        ),
        "definite",
    ),
    "laplacian_3d": (
        lambda dtype: LaplacianOperator(
            (4, 5, 3), boundary=("dirichlet", "neumann", "periodic"), dtype=dtype
        ),
        "definite",
    ),
    "sparse_general": (
        lambda dtype: SparseOperator.from_scipy(
            nonsymmetric_sparse(31).astype(str(dtype).removeprefix("torch."))
        ),
        "general",
    ),
}

SOLVERS = {
    "cg": (CG, {"definite"}),
    "minres": (MINRES, {"definite", "indefinite"}),
    "gmres": (GMRES, {"definite", "indefinite", "general"}),
    "bicgstab": (BiCGStab, {"definite", "indefinite", "general"}),
    "cholesky": (Cholesky, {"definite"}),
    "lu": (LU, {"definite", "indefinite", "general"}),
    "structured": (Structured, {"definite"}),
    "fast_diagonalization": (FastDiagonalization, set()),
}

PAIRS = [
    (system, solver)
    for system, (_, kind) in SYSTEMS.items()
    for solver, (_, kinds) in SOLVERS.items()
    if kind in kinds
] + [("kronecker_sum", "fast_diagonalization"), ("laplacian_3d", "fast_diagonalization")]
