"""The Lanczos process against dense eigenvalues."""

import pytest
import torch

from sciml.linalg.dense import DenseOperator
from sciml.linalg.lanczos import lanczos, preconditioned_extremes, ritz_vectors
from sciml.linalg.preconditioners.jacobi import Jacobi
from tests.models.dcdm.systems import pressure_system


def spd(n, seed=60013):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return root @ root.T + 0.1 * torch.eye(n, dtype=torch.float64)


def white(shape, seed=7919):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@pytest.mark.parametrize("num_steps", [1, 5, 12, 40])
def test_the_basis_is_orthonormal_and_makes_the_matrix_tridiagonal(num_steps):
    operator, _ = pressure_system("random", (6, 7))
    basis, diagonal, offdiagonal = lanczos(operator, operator.mv(white((6, 7))), num_steps)
    flat = basis.reshape(len(basis), -1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat)).double(), rtol=0, atol=1e-12)
    T = torch.diag(diagonal) + torch.diag(offdiagonal, 1) + torch.diag(offdiagonal, -1)
    images = torch.stack([operator.mv(w) for w in basis]).reshape(len(basis), -1)
    torch.testing.assert_close(flat @ images.T, T, rtol=0, atol=1e-11)


def test_a_whole_run_finds_every_eigenvalue_but_the_null_space():
    matrix = spd(12)
    matrix = matrix - matrix @ torch.full((12, 12), 1 / 12).double()
    matrix = matrix - torch.full((12, 12), 1 / 12).double() @ matrix
    operator = DenseOperator(matrix, symmetric=True)
    values, vectors = ritz_vectors(operator, operator.mv(white(12)), 50)
    expected = torch.linalg.eigvalsh(matrix)[1:]
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(
        torch.stack([operator.mv(v) for v in vectors]), values[:, None] * vectors
    )


def test_an_exhausted_space_ends_the_run():
    """Three distinct eigenvalues leave a space of three dimensions."""
    matrix = torch.diag(torch.tensor([1.0, 1, 2, 2, 5, 5])).double()
    values, vectors = ritz_vectors(DenseOperator(matrix, symmetric=True), white(6), 6)
    torch.testing.assert_close(values, torch.tensor([1.0, 2, 5]).double())
    assert vectors.shape == (3, 6)


@pytest.mark.parametrize("kind", ["random", "freesurf"])
def test_extremes_of_a_preconditioned_operator(kind):
    operator, b = pressure_system(kind, (8, 9))
    for preconditioner in (None, Jacobi(operator)):
        matrix = operator.to_dense()
        scale = torch.ones(72).double()
        if preconditioner is not None:
            scale = preconditioner.inverse_diagonal.reshape(-1).sqrt()
        values = torch.linalg.eigvalsh(scale[:, None] * matrix * scale)
        expected = values[values > 1e-9]
        low, high = preconditioned_extremes(operator, preconditioner, b, num_steps=80)
        assert low == pytest.approx(float(expected[0]), rel=1e-2)
        assert high == pytest.approx(float(expected[-1]), rel=1e-4)


def test_bad_input_is_refused():
    operator = DenseOperator(torch.tensor([[1.0, 2.0], [0.0, 1.0]]).double())
    with pytest.raises(ValueError, match="lanczos: expected a symmetric operator"):
        lanczos(operator, torch.ones(2).double(), 2)
    with pytest.raises(ValueError, match="preconditioned_extremes: expected a symmetric"):
        preconditioned_extremes(operator, None, torch.ones(2).double())
    with pytest.raises(ValueError, match=r"norm 0\.0 and 2"):
        lanczos(DenseOperator(spd(3), symmetric=True), torch.zeros(3).double(), 2)
