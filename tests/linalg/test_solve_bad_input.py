import numpy as np
import pytest
import torch
from scipy import sparse

from sciml.linalg.dense import DenseOperator
from sciml.linalg.preconditioners.fft import as_solvable
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.bicgstab import BiCGStab
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.direct import LU, Cholesky, Structured
from sciml.linalg.solvers.fast_diagonalization import FastDiagonalization
from sciml.linalg.solvers.gmres import GMRES
from sciml.linalg.solvers.minres import MINRES
from sciml.linalg.sparse import SparseOperator
from tests.linalg.systems import definite_matrix, nonsymmetric_matrix, random

A = definite_matrix(6)
b = random(6)


@pytest.mark.parametrize(
    ("matrix", "right", "error", "message"),
    [
        (A[:, :4], b, ValueError, r"expected a square matrix A, got shape \(6, 4\); use torch"),
        (A[0], b, ValueError, r"expected a square matrix A, got shape \(6,\)"),
        (
            DenseOperator(A[:4]),
            b[:4],
            ValueError,
            r"square operator, got \(6,\) -> \(4,\); solve",
        ),
        (A, b[:4], ValueError, r"b of shape \(\*batch, 6\), got \(4,\); batch axes lead"),
        (A, random(6, 2), ValueError, r"columns of right-hand sides are b\.T"),
        (A, random(0, 6), ValueError, r"at least one right-hand side, got b of shape \(0, 6\)"),
        (A, b.float(), TypeError, r"b of the operator's dtype.*got torch.float32 for"),
        (A, b.long(), TypeError, r"b of the operator's dtype.*got torch.int64 for"),
        (A, b + 1j, TypeError, r"expected a real b, got torch.complex128; solve for real"),
        (
            A + 1j,
            b,
            TypeError,
            r"expected a real matrix A, got complex128; solve the real system",
        ),
        (A.long(), b, TypeError, r"float32 or float64 matrix A, got int64; convert it"),
        (A.half(), b.half(), TypeError, r"float32 or float64 matrix A, got float16; convert"),
        (sparse.eye(6, dtype=int), b, TypeError, r"float32 or float64 matrix A, got int64"),
        (sparse.eye(6) * 1j, b, TypeError, r"expected a real matrix A, got complex128"),
        (A.numpy()[:, :3], b, ValueError, r"expected a square matrix A, got shape \(6, 3\)"),
        (A * torch.nan, b, ValueError, r"finite entries in A, got 36 NaN or infinite; find"),
        (sparse.eye(6) * np.inf, b, ValueError, r"finite entries in A, got 6 NaN"),
        (A, b / 0, ValueError, r"expected finite entries in b, got 6 NaN or infinite"),
        (
            DenseOperator(A.to("meta")),
            b,
            TypeError,
            r"b on meta, got cpu; move one of them with \.to",
        ),
    ],
)
def test_bad_system_is_refused(matrix, right, error, message):
    with pytest.raises(error, match="linear_solve: " + ".*" + message):
        linear_solve(matrix, right)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"x0": b[:3]}, ValueError, r"expected x0 of shape \(\*batch, 6\), got \(3,\)"),
        ({"x0": random(2, 6)}, ValueError, r"x0 of the shape of b, got \(2, 6\) and \(6,\)"),
        ({"x0": b * torch.inf}, ValueError, r"finite entries in x0, got 6 NaN or infinite"),
        ({"x0": b.float()}, TypeError, r"expected x0 of the operator's dtype"),
        (
            {"rtol": 1e-17},
            ValueError,
            r"rtol >= 2\.2e-16 in torch.float64, got 1\.0e-17; solve",
        ),
        ({"solver": CG(rtol=1e-18)}, ValueError, r"expected rtol >= 2\.2e-16 in torch.float64"),
        (
            {"solver": CG(), "rtol": 1e-8},
            ValueError,
            r"beside CG; write CG\(rtol=1e-08, atol=0",
        ),
        ({"rtol": -1.0}, ValueError, r"0 <= rtol < 1 and a finite atol >= 0, got rtol=-1"),
        ({"rtol": 0.0}, ValueError, r"expected a positive rtol or atol, got zero for both"),
        (
            {"preconditioner": Jacobi(DenseOperator(definite_matrix(5)))},
            ValueError,
            r"expected a preconditioner \(6,\) -> \(6,\), got Jacobi\(\(5,\) -> \(5,\)",
        ),
        (
            {"preconditioner": Jacobi(DenseOperator(A)), "solver": LU()},
            ValueError,
            r"LU: expected no preconditioner, got Jacobi.*take CG, MINRES",
        ),
    ],
)
def test_bad_option_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        linear_solve(A, b, **options)


def test_batch_that_does_not_fit_the_operators_is_refused():
    operators = DenseOperator(A.expand(2, 6, 6))
    with pytest.raises(ValueError, match=r"batch shapes that broadcast, got \(3,\), \(2,\)"):
        linear_solve(operators, random(3, 6))
    with pytest.raises(
        ValueError, match=r"broadcast against \(2,\), the batch of the operator"
    ):
        operators @ random(3, 6)


def test_float32_names_its_precision():
    with pytest.raises(
        ValueError, match=r"rtol >= 1\.2e-07 in torch.float32, got 1\.0e-08; solve"
    ):
        linear_solve(A.float(), b.float(), rtol=1e-8)
    assert linear_solve(A.float(), b.float(), rtol=0.0, atol=1e-3)


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (CG(), r"CG: expected a symmetric positive definite operator, got .*GMRES or BiCGStab"),
        (MINRES(), r"MINRES: expected a symmetric operator, got .*use GMRES or BiCGStab"),
        (Cholesky(), r"Cholesky: expected a symmetric positive definite operator.*use LU"),
        (FastDiagonalization(), r"FastDiagonalization: expected a LaplacianOperator or a sym"),
    ],
)
def test_structure_that_a_solver_needs(solver, message):
    with pytest.raises(ValueError, match=message):
        linear_solve(nonsymmetric_matrix(6), b, solver)


def test_structured_needs_an_own_solve():
    operator = SparseOperator.from_scipy(sparse.eye(6, format="csr"))
    with pytest.raises(
        ValueError, match=r"Structured: expected an operator with a solve of its"
    ):
        linear_solve(operator, b, Structured())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CG(max_steps=0), r"CG: expected max_steps >= 1, got 0; it counts steps"),
        (lambda: BiCGStab(check_every=0), r"BiCGStab: expected check_every >= 1, got 0"),
        (lambda: GMRES(restart=0), r"GMRES: expected restart >= 1, got 0; it is the length"),
        (lambda: LU(rtol=1.5), r"LU: expected 0 <= rtol < 1 .* got rtol=1\.5"),
        (lambda: Jacobi(DenseOperator(torch.zeros(3, 3))), r"no zero on the diagonal, got 3"),
    ],
)
def test_bad_hyper_parameter_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_preconditioner_on_another_device_is_refused():
    elsewhere = Jacobi(DenseOperator(A.to("meta"), positive_definite=True))
    with pytest.raises(
        TypeError, match=r"expected the preconditioner on cpu, got meta; move one"
    ):
        linear_solve(A, b, preconditioner=elsewhere)


def test_nearby_solve_is_refused_without_a_solve():
    operator = SparseOperator.from_scipy(sparse.eye(6, format="csr"))
    with pytest.raises(
        TypeError, match=r"NearbySolve: expected an operator with a solve of its"
    ):
        as_solvable(operator)
