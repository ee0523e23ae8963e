import numpy as np
import pytest
import torch
from scipy import sparse

from sciml.linalg.preconditioners.incomplete import IncompleteCholesky, incomplete_cholesky
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from tests.linalg.systems import pressure_matrix, random


def row_by_row(matrix):
    """The textbook loop of IC(0)."""
    A = matrix.toarray()
    pattern = np.tril(A) != 0
    L = np.zeros_like(A)
    for i in range(len(A)):
        for j in range(i + 1):
            if pattern[i, j]:
                rest = A[i, j] - L[i, :j] @ L[j, :j]
                L[i, j] = np.sqrt(rest) if i == j else rest / L[j, j]
    return L


def column_by_column(matrix, share):
    """The textbook elimination of MIC(0): dropped entries go to the diagonals of their rows."""
    A = matrix.toarray()
    pattern, L = A != 0, np.zeros_like(A)
    for k in range(len(A)):
        L[k, k] = np.sqrt(A[k, k])
        below = [i for i in range(k + 1, len(A)) if pattern[i, k]]
        L[below, k] = A[below, k] / L[k, k]
        for i in below:
            for j in below:
                entry = L[i, k] * L[j, k]
                if pattern[i, j]:
                    A[i, j] -= entry
                else:
                    A[i, i] -= share * entry
    return L


def poisson(*shape):
    total = sparse.csr_matrix((np.prod(shape),) * 2)
    for k, n in enumerate(shape):
        line = sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], (n, n))
        before, after = (
            sparse.eye(int(np.prod(shape[:k]))),
            sparse.eye(int(np.prod(shape[k + 1 :]))),
        )
        total = total + sparse.kron(sparse.kron(before, line), after)
    return sparse.csr_matrix(total)


def filled():
    """A positive definite M-matrix whose pattern has triangles, unlike a grid's."""
    rng = np.random.default_rng(550127)
    links = sparse.random(40, 40, 0.12, random_state=rng, format="csr")
    links = links + links.T
    return sparse.csr_matrix(sparse.diags(np.asarray(links.sum(1)).ravel() + 0.3) - links)


@pytest.mark.parametrize(
    "matrix",
    [poisson(30), poisson(7, 9), poisson(4, 5, 6), filled()],
    ids=["1d", "2d", "3d", "graph"],
)
def test_factor_equals_the_textbook_loop(matrix):
    factor = incomplete_cholesky(matrix).toarray()
    expected = row_by_row(matrix)
    assert np.abs(factor - expected).max() < 1e-11
    assert ((factor != 0) <= (np.tril(matrix.toarray()) != 0)).all()


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    "matrix",
    [poisson(30), poisson(7, 9), poisson(4, 5, 6), filled()],
    ids=["1d", "2d", "3d", "graph"],
)
def test_modified_factor_equals_elimination_column_by_column(matrix, share):
    factor = incomplete_cholesky(matrix, modified=share).toarray()
    assert np.abs(factor - column_by_column(matrix, share)).max() < 1e-11


def test_fully_modified_factor_keeps_the_row_sums():
    matrix = filled()
    factor = incomplete_cholesky(matrix, modified=1.0).toarray()
    assert np.allclose((factor @ factor.T).sum(1), matrix.sum(1), rtol=0, atol=1e-12)


def test_modification_halves_the_steps_on_the_poisson_equation():
    matrix = poisson(96, 80)
    b = random(96 * 80)
    steps = [
        linear_solve(
            matrix, b, CG(), preconditioner=IncompleteCholesky(matrix, modified=share)
        ).num_steps
        for share in (0.0, 0.97)
    ]
    assert steps[1] < 0.65 * steps[0]


def test_a_share_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"expected 0 <= modified <= 1, got 1\.2"):
        IncompleteCholesky(poisson(5), modified=1.2)


def test_without_dropping_it_is_the_inverse():
    matrix = poisson(40)  # tridiagonal: no fill to drop
    x = random(2, 40)
    image = IncompleteCholesky(matrix).mv(torch.from_numpy((matrix @ x.numpy().T).T.copy()))
    assert torch.allclose(image, x, atol=1e-10)


def test_is_symmetric_positive_definite_and_leaves_zero_rows_alone():
    matrix = pressure_matrix(8, 2)
    M = IncompleteCholesky(matrix, (8, 8))
    dense = M.to_dense()
    assert torch.allclose(dense, dense.T, atol=1e-12)
    assert torch.linalg.eigvalsh(dense)[0] > 0
    corner = torch.zeros(8, 8, dtype=torch.float64)
    corner[0, 0] = 3.0
    assert torch.equal(M.mv(corner), corner)


def test_cuts_the_steps_of_cg_to_less_than_half():
    matrix = pressure_matrix(16, 3)
    b = np.where(np.diff(matrix.indptr) > 0, random(4096).numpy(), 0.0)
    b[b != 0] -= b[b != 0].mean()
    plain = linear_solve(matrix, b, CG(rtol=1e-10))
    helped = linear_solve(matrix, b, CG(rtol=1e-10), preconditioner=IncompleteCholesky(matrix))
    assert helped.num_steps < 0.5 * plain.num_steps
    assert np.linalg.norm(b - matrix @ helped.value) <= 1e-10 * np.linalg.norm(b)


def test_missing_pivot_is_named_and_cured_by_a_shift():
    # Kershaw's matrix: positive definite, without an incomplete factor
    matrix = sparse.csr_matrix(
        np.array([[3.0, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3]])
    )
    with pytest.raises(
        ValueError, match=r"IncompleteCholesky: expected positive pivots.*shift"
    ):
        IncompleteCholesky(matrix)
    b = random(4).numpy()
    M = IncompleteCholesky(matrix, shift=0.5)
    assert linear_solve(matrix, b, CG(rtol=1e-12), preconditioner=M)


def test_shape_has_to_hold_the_unknowns():
    with pytest.raises(ValueError, match=r"fields of shape \(5, 5\), got \(30, 30\); give the"):
        IncompleteCholesky(poisson(30), (5, 5))
