"""Factories of every operator family; each test body in this folder runs over the list."""

from collections.abc import Callable

import scipy.sparse
import torch
from torch import Tensor

from sciml.linalg.circulant import CirculantOperator
from sciml.linalg.composite import TransposedOperator
from sciml.linalg.dense import DenseOperator, DiagonalOperator, IdentityOperator
from sciml.linalg.interop import from_linear_operator
from sciml.linalg.kronecker import KroneckerOperator
from sciml.linalg.kronecker_sum import KroneckerSumOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.low_rank import LowRankUpdateOperator
from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.sparse import SparseOperator
from sciml.linalg.toeplitz import ToeplitzOperator

FLAGS = torch.tensor([[2, 2, 1, 2, 2], [2, 2, 1, 2, 2], [0, 2, 1, 2, 2], [2, 2, 1, 3, 3]])
"""Two parts of fluid, one of them beside air."""

Factory = Callable[[torch.dtype], LinearOperator]


def random(*shape: int, dtype: torch.dtype, seed: int = 71993) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def well_conditioned(size: int, dtype: torch.dtype) -> Tensor:
    """A non-symmetric matrix with eigenvalues near 2."""
    return random(size, size, dtype=dtype) / (3 * size**0.5) + 2 * torch.eye(size, dtype=dtype)


def definite(size: int, dtype: torch.dtype) -> Tensor:
    matrix = random(size, size, dtype=dtype)
    return matrix @ matrix.T / size + torch.eye(size, dtype=dtype)


def squared_exponential(size: int, lengthscale: float, jitter: float) -> Tensor:
    points = torch.linspace(0, 1, size, dtype=torch.float64)
    distance = (points[:, None] - points) / lengthscale
    return torch.exp(-0.5 * distance**2) + jitter * torch.eye(size, dtype=torch.float64)


def decaying(size: int, dtype: torch.dtype) -> Tensor:
    """First column of a positive definite Toeplitz matrix."""
    lag = torch.arange(size, dtype=torch.float64)
    return (torch.exp(-lag / 3) + (lag == 0)).to(dtype)


def _external(dtype: torch.dtype) -> LinearOperator:
    from linear_operator.operators import RootLinearOperator

    return from_linear_operator(RootLinearOperator(random(5, 3, dtype=dtype)), symmetric=True)


def _sparse(dtype: torch.dtype) -> LinearOperator:
    matrix = scipy.sparse.random_array((6, 15), density=0.4, random_state=9173)
    numbers = matrix.astype("float64" if dtype == torch.float64 else "float32")
    return SparseOperator.from_scipy(numbers, (3, 5), (2, 3))


def _kernel(dtype: torch.dtype) -> Tensor:
    kernel = random(5, 4, dtype=dtype) / 20
    kernel[0, 0] = 3
    return kernel


RECTANGULAR: dict[str, Factory] = {
    "dense_rectangular": lambda t: DenseOperator(random(6, 15, dtype=t), (3, 5), (2, 3)),
    "kronecker_rectangular": lambda t: KroneckerOperator(
        [random(2, 3, dtype=t), random(5, 4, dtype=t), random(3, 2, dtype=t)]
    ),
    "toeplitz_rectangular": lambda t: ToeplitzOperator(random(5, dtype=t), random(8, dtype=t)),
    "toeplitz_rectangular_fft": lambda t: ToeplitzOperator(
        random(301, dtype=t), random(240, dtype=t)
    ),
    "sparse": _sparse,
    "product": lambda t: (
        KroneckerOperator([random(2, 3, dtype=t), random(3, 4, dtype=t)])
        @ KroneckerOperator([random(3, 5, dtype=t), random(4, 2, dtype=t)])
    ),
    "transposed_by_gradient": lambda t: TransposedOperator(
        KroneckerOperator([random(2, 3, dtype=t), random(3, 4, dtype=t)])
    ),
}

SOLVABLE: dict[str, Factory] = {
    "dense": lambda t: DenseOperator(well_conditioned(12, t), (3, 4)),
    "dense_definite": lambda t: DenseOperator(definite(12, t), (3, 4), positive_definite=True),
    "dense_batch": lambda t: DenseOperator(
        torch.stack([well_conditioned(6, t), definite(6, t)])[:, None], (3, 2)
    ),
    "diagonal": lambda t: DiagonalOperator(2 + random(3, 5, dtype=t).abs()),
    "identity": lambda t: IdentityOperator((3, 2), dtype=t),
    "scaled": lambda t: 0.5 * DenseOperator(well_conditioned(7, t)),
    "kronecker_one": lambda t: KroneckerOperator([definite(7, t)], positive_definite=True),
    "kronecker_two": lambda t: KroneckerOperator(
        [well_conditioned(5, t), well_conditioned(4, t)]
    ),
    "kronecker_three": lambda t: KroneckerOperator(
        [definite(3, t), definite(5, t), definite(2, t)], positive_definite=True
    ),
    "kronecker_batch": lambda t: KroneckerOperator(
        [torch.stack([definite(4, t), 2 * definite(4, t)])[:, None], definite(3, t)],
        positive_definite=True,
    ),
    "kronecker_shifted": lambda t: (
        KroneckerOperator([definite(4, t), definite(3, t)], positive_definite=True)
        + 0.3 * IdentityOperator((4, 3), dtype=t)
    ),
    "kronecker_sum_symmetric": lambda t: KroneckerSumOperator(
        [definite(4, t), definite(3, t), definite(2, t)], positive_definite=True
    ),
    "kronecker_sum_two": lambda t: KroneckerSumOperator(
        [well_conditioned(5, t), well_conditioned(4, t)]
    ),
    "kronecker_sum_three": lambda t: KroneckerSumOperator(
        [well_conditioned(3, t), well_conditioned(4, t), well_conditioned(2, t)]
    ),
    "toeplitz_definite": lambda t: ToeplitzOperator(decaying(11, t), positive_definite=True),
    "toeplitz": lambda t: ToeplitzOperator(decaying(11, t), random(11, dtype=t) / 20),
    "circulant": lambda t: CirculantOperator(_kernel(t)),
    "low_rank": lambda t: LowRankUpdateOperator(
        DiagonalOperator(2 + random(3, 4, dtype=t).abs()),
        random(2, 3, 4, dtype=t) / 4,
        random(2, 3, 4, dtype=t, seed=53171) / 4,
    ),
    "low_rank_symmetric": lambda t: LowRankUpdateOperator(
        DenseOperator(definite(6, t), positive_definite=True), random(3, 6, dtype=t)
    ),
    "laplacian": lambda t: LaplacianOperator(
        (4, 3, 5),
        (0.5, 1.0, 0.25),
        boundary=("dirichlet", "neumann", "periodic"),
        grid=("vertex", "cell", "cell"),
        dtype=t,
    ),
    "laplacian_half_cells": lambda t: LaplacianOperator(
        (4, 3), 0.5, boundary=("dirichlet", "neumann"), grid=("cell", "vertex"), dtype=t
    ),
    "laplacian_half_cells_transposed": lambda t: (
        LaplacianOperator(
            (4, 3), 0.5, boundary=("dirichlet", "neumann"), grid=("cell", "vertex"), dtype=t
        ).T
    ),
}

SQUARE: dict[str, Factory] = SOLVABLE | {
    "sum": lambda t: (
        DenseOperator(well_conditioned(12, t), (3, 4))
        + KroneckerOperator([random(3, 3, dtype=t), random(4, 4, dtype=t)])
        - DiagonalOperator(random(3, 4, dtype=t))
    ),
    "external": _external,
    "poisson": lambda t: PoissonOperator(FLAGS, (0.5, 1.0), dtype=t),
    "poisson_weighted": lambda t: PoissonOperator(
        FLAGS,
        coefficients=1 + random(*FLAGS.shape, dtype=t).abs(),
        face_fraction=[random(5, 5, dtype=t).sigmoid(), random(4, 6, dtype=t).sigmoid()],
        dtype=t,
    ),
    "poisson_batch": lambda t: PoissonOperator(
        torch.stack([FLAGS, FLAGS.flip(0)])[:, None], num_axes=2, dtype=t
    ),
}

ALL: dict[str, Factory] = SQUARE | RECTANGULAR
