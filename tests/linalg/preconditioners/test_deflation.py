import pytest
import torch

from sciml.linalg.dense import DenseOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.preconditioners.deflation import Deflation, ritz_vectors
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from tests.linalg.systems import random


def spread(size, slow):
    """A positive definite matrix with a few eigenvalues far below the others, and those."""
    basis = torch.linalg.qr(random(size, size))[0]
    values = torch.cat([1e-5 * torch.arange(1, slow + 1), torch.linspace(1, 4, size - slow)])
    values = values.to(basis.dtype)
    matrix = (basis * values) @ basis.T
    matrix = 0.5 * (matrix + matrix.T)
    return DenseOperator(matrix, positive_definite=True), basis[:, :slow].T.contiguous()


@pytest.mark.parametrize("scaled", [False, True])
def test_it_is_the_formula_and_symmetric(scaled):
    operator, vectors = spread(17, 3)
    inner = Jacobi(operator) if scaled else None
    A, W = operator.to_dense(), vectors.T
    first = inner.to_dense() if inner else torch.eye(17, dtype=A.dtype)
    E = torch.linalg.inv(W.T @ A @ W)
    P = torch.eye(17, dtype=A.dtype) - A @ W @ E @ W.T
    expected = P.T @ first @ P + W @ E @ W.T
    M = Deflation(operator, vectors, inner).to_dense()
    assert torch.allclose(M, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))
    assert torch.allclose(M, M.T, rtol=0, atol=1e-12 * float(expected.abs().max()))
    assert float(torch.linalg.eigvalsh(M).min()) > 0


def test_deflated_directions_no_longer_count():
    operator, vectors = spread(300, 5)
    b = random(300)
    plain = linear_solve(operator, b, CG(rtol=1e-8))
    deflated = linear_solve(
        operator, b, CG(rtol=1e-8), preconditioner=Deflation(operator, vectors)
    )
    # 2 ((√κ - 1) / (√κ + 1))^k with κ = 4 for what is left, and its square root for norms
    assert deflated.num_steps <= 20
    assert plain.num_steps > 40
    A = Deflation(operator, vectors).to_dense() @ operator.to_dense()
    values = torch.linalg.eigvals(A).real
    assert 1 - 1e-6 < float(values.min()) < 1 + 1e-6
    assert float(values.max()) < 4.01


def test_batches_equal_single_fields_and_low_precision_inner():
    operator = LaplacianOperator((9, 12), boundary="neumann")
    W = ritz_vectors(operator, random(9, 12), 4)
    M = Deflation(operator, W, Jacobi(LaplacianOperator((9, 12), boundary="neumann")))
    fields = random(3, 2, 9, 12)
    images = M.mv(fields)
    assert torch.allclose(images[2, 1], M.mv(fields[2, 1]), rtol=0, atol=1e-12)


def test_ritz_vectors_are_the_lowest_eigenvectors_without_the_constant():
    operator = LaplacianOperator((6, 7), boundary="neumann")
    vectors = ritz_vectors(operator, random(6, 7), 3, num_steps=42).reshape(3, -1)
    exact, basis = torch.linalg.eigh(operator.to_dense())
    assert torch.allclose(
        (vectors @ basis[:, 1:4]).abs(), torch.eye(3).to(exact), rtol=0, atol=1e-7
    )
    assert torch.allclose(vectors.sum(1), exact.new_zeros(3), rtol=0, atol=1e-10)


def test_deflation_saves_steps_on_a_singular_laplacian():
    operator = LaplacianOperator((48, 40), boundary="neumann")
    b = operator.project(random(48, 40))
    vectors = ritz_vectors(operator, b, 16)
    steps = [
        linear_solve(operator, b, CG(), preconditioner=M).num_steps
        for M in (Jacobi(operator), Deflation(operator, vectors, Jacobi(operator)))
    ]
    assert steps[1] < 0.9 * steps[0]


def test_bad_vectors_are_refused():
    operator, vectors = spread(17, 3)
    with pytest.raises(ValueError, match=r"expected vectors \(k, 17\)"):
        Deflation(operator, vectors[:, :16])
    neumann = LaplacianOperator((17,), boundary="neumann")
    with_null = torch.stack([torch.ones(17, dtype=torch.float64), vectors[0]])
    with pytest.raises(ValueError, match="expected 2 independent vectors outside the null"):
        Deflation(neumann, with_null)
    wave = torch.cos(torch.pi * (torch.arange(17, dtype=torch.float64) + 0.5) / 17)
    with pytest.raises(ValueError, match="at least 4 directions"):
        ritz_vectors(neumann, wave, 4)
