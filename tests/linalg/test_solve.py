import math

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import eigsh

from sciml.linalg.dense import DenseOperator, DiagonalOperator
from sciml.linalg.kronecker import KroneckerOperator
from sciml.linalg.kronecker_sum import KroneckerSumOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.bicgstab import BiCGStab
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.direct import LU, Cholesky
from sciml.linalg.solvers.fast_diagonalization import FastDiagonalization
from sciml.linalg.solvers.gmres import GMRES
from sciml.linalg.solvers.minres import MINRES
from sciml.linalg.toeplitz import ToeplitzOperator
from sciml.solution import SolverError, Status
from tests.linalg.systems import (
    PAIRS,
    SOLVERS,
    SYSTEMS,
    definite_matrix,
    indefinite_matrix,
    nonsymmetric_matrix,
    nonsymmetric_sparse,
    pressure_matrix,
    random,
)

RTOL = {torch.float64: 1e-10, torch.float32: 1e-5}


def dense_solution(operator, b):
    matrix = operator.to_dense().double()
    flat = b.double().reshape(-1, matrix.shape[0])
    return torch.linalg.solve(matrix, flat.T).T.reshape(b.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)], ids=["plain", "one", "batched"])
@pytest.mark.parametrize(("system", "solver"), PAIRS)
def test_solver_equals_dense(system, solver, batch, dtype):
    make = SYSTEMS[system][0]
    for operator in (make(dtype), make(dtype).T):
        b = random(*batch, *operator.out_shape, dtype=dtype)
        solution = linear_solve(operator, b, SOLVERS[solver][0](rtol=RTOL[dtype]))
        assert solution.status is Status.CONVERGED
        assert solution.converged.shape == batch
        assert solution.history.shape == (solution.num_steps + 1, *batch)
        axes = tuple(range(b.ndim - len(operator.out_shape), b.ndim))
        residual = (b - operator.mv(solution.value)).double()
        relative = residual.square().sum(axes).sqrt() / b.double().square().sum(axes).sqrt()
        assert relative.max() <= RTOL[dtype] * 1.01
        error = (solution.value - dense_solution(operator, b)).norm() / b.norm()
        assert error <= 100 * RTOL[dtype]


@pytest.mark.parametrize("system", SYSTEMS)
def test_chosen_solver_is_named_and_solves(system):
    operator = SYSTEMS[system][0](torch.float64)
    b = random(4, *operator.out_shape)
    solution = linear_solve(operator, b, rtol=1e-9)
    assert solution
    assert (solution.value - dense_solution(operator, b)).norm() <= 1e-7 * b.norm()
    assert solution.stats["solver"]
    assert solution.stats["reason"]


def test_structure_decides_the_solver():
    b = random(1500)
    line = sparse.diags([-1.0, 2.5, -1.0], [-1, 0, 1], (1500, 1500), format="csr")
    indefinite = sparse.diags([-1.0, 0.7, -1.0], [-1, 0, 1], (1201, 1201), format="csr")
    shifted = sparse.diags([1.0, -2.5, 1.0], [-1, 0, 1], (1201, 1201), format="csr")
    chosen = {
        "CG": linear_solve(line, b),
        "GMRES": linear_solve(nonsymmetric_sparse(1500), b),
        "LU": linear_solve(nonsymmetric_sparse(30), b[:30]),
        "FastDiagonalization": linear_solve(LaplacianOperator((1500,), dtype=torch.float64), b),
        "Cholesky": linear_solve(
            DenseOperator(definite_matrix(30), positive_definite=True), b[:30]
        ),
        "Structured": linear_solve(
            KroneckerOperator([definite_matrix(30)] * 2), b[:900].view(30, 30)
        ),
    }
    assert {name: s.stats["solver"] for name, s in chosen.items()} == {n: n for n in chosen}
    negative = linear_solve(shifted, b[:1201])
    assert negative.stats["solver"] == "MINRES"
    assert negative.stats["fallback_from"] == "CG"
    failed = linear_solve(indefinite, b[:1201], throw=False)
    assert failed.stats["solver"] == "MINRES"


def test_preconditioner_asks_for_an_iterative_method():
    operator = DenseOperator(definite_matrix(30), positive_definite=True)
    solution = linear_solve(operator, random(30), preconditioner=Jacobi(operator))
    assert solution.stats["solver"] == "CG"
    assert solution.stats["num_preconditionings"] > 1


def test_numpy_and_scipy_come_back_in_kind():
    A = nonsymmetric_sparse(40)
    b = random(3, 40).numpy()
    for matrix in (
        A,
        A.tocoo(),
        sparse.csr_array(A),
        A.toarray(),
        torch.from_numpy(A.toarray()),
    ):
        value = linear_solve(matrix, b, rtol=1e-12).value
        assert isinstance(value, np.ndarray)
        assert value.dtype == b.dtype
        assert np.abs(A @ value.T - b.T).max() < 1e-11
    flipped = b[:, ::-1]
    flipped.flags.writeable = False
    assert np.allclose(A @ linear_solve(A, flipped).value.T, flipped.T, atol=1e-5)
    tensor = linear_solve(A, torch.from_numpy(b)).value
    assert isinstance(tensor, torch.Tensor)


def test_zero_right_side_gives_zero_also_from_a_start():
    A = definite_matrix(9)
    b = random(3, 9)
    b[1] = 0
    for solver in (CG(), MINRES(), GMRES(), BiCGStab(), LU(), Cholesky(), None):
        solution = linear_solve(A, torch.zeros(9, dtype=torch.float64), solver)
        assert solution
        assert solution.num_steps == 0
        assert not solution.value.any()
        batched = linear_solve(A, b, solver, x0=torch.ones_like(b))
        assert batched
        assert torch.allclose(batched.value @ A, b, atol=1e-4)
    assert not linear_solve(A, b, CG(), x0=torch.ones_like(b)).value[1].any()


@pytest.mark.parametrize(
    "solver", [None, CG(rtol=1e-10), MINRES(rtol=1e-10), GMRES(rtol=1e-10), LU(), Cholesky()]
)
def test_batch_of_operators_broadcasts(solver):
    matrices = torch.stack([definite_matrix(8, seed=seed) for seed in (771, 90211)])
    operator = DenseOperator(matrices, (2, 4), positive_definite=True)
    for batch in ((), (2,), (3, 2), (3, 1)):
        b = random(*batch, 2, 4)
        x = linear_solve(operator, b, solver).value
        full = b.expand(*torch.broadcast_shapes(batch, (2,)), 2, 4)
        expected = torch.linalg.solve(matrices, full.flatten(-2).unsqueeze(-1))
        assert torch.allclose(x, expected.reshape(full.shape), atol=1e-6)


@pytest.mark.parametrize("solver", [CG(), MINRES(), GMRES(), BiCGStab(), LU(), Cholesky()])
def test_one_unknown(solver):
    A = torch.full((1, 1), 4.0)
    assert torch.allclose(linear_solve(A, torch.ones(1), solver).value, torch.tensor([0.25]))


def test_good_start_saves_the_steps():
    A, b = definite_matrix(30), random(30)
    solution = linear_solve(A, b, CG(rtol=1e-10))
    again = linear_solve(A, b, CG(rtol=1e-9), x0=solution.value)
    assert again.num_steps == 0
    assert torch.equal(again.value, solution.value)


def gradient_systems():
    root, other = random(4, 4), random(3, 3, seed=771233)

    def definite(matrix):
        return matrix @ matrix.T + torch.eye(len(matrix), dtype=matrix.dtype)

    def toeplitz(column):
        return ToeplitzOperator(torch.cat([3 + column[:1] ** 2, column[1:]]))

    return {
        "dense": (DenseOperator, [nonsymmetric_matrix(5)], (5,)),
        "kronecker": (
            lambda m, n: KroneckerOperator([definite(m), definite(n)], positive_definite=True),
            [root, other],
            (4, 3),
        ),
        "kronecker_sum": (
            lambda m, n: KroneckerSumOperator(
                [definite(m), definite(n)], symmetric=True, positive_definite=True
            ),
            [root, other],
            (4, 3),
        ),
        "toeplitz": (toeplitz, [random(6) / 4], (6,)),
        "diagonal": (
            lambda d: DiagonalOperator(d.exp(), positive_definite=True),
            [random(6)],
            (6,),
        ),
        "scaled_laplacian": (
            lambda k: LaplacianOperator((4, 3), dtype=torch.float64) * k[0],
            [torch.tensor([1.7], dtype=torch.float64)],
            (4, 3),
        ),
    }


@pytest.mark.parametrize("solver", [None, GMRES(rtol=1e-13)], ids=["chosen", "gmres"])
@pytest.mark.parametrize("system", gradient_systems())
def test_gradients_in_right_side_and_operator(system, solver):
    make, tensors, shape = gradient_systems()[system]
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    b = random(2, *shape).requires_grad_()

    def solve(b, *tensors):
        tolerance = {} if solver else {"rtol": 1e-12}
        return linear_solve(make(*tensors), b, solver, **tolerance).value

    assert torch.autograd.gradcheck(solve, (b, *tensors))


def test_second_derivative():
    matrix = definite_matrix(4).requires_grad_()
    b = random(4).requires_grad_()

    def solve(matrix, b):
        return linear_solve(DenseOperator(matrix), b, rtol=1e-12).value

    assert torch.autograd.gradgradcheck(solve, (matrix, b))


def test_gradient_of_a_singular_system_is_that_of_the_pseudo_inverse():
    operator = LaplacianOperator((4, 5), boundary="neumann", dtype=torch.float64)
    inverse = torch.linalg.pinv(operator.to_dense())
    b = operator.project(random(4, 5)).requires_grad_()
    for solver in (
        None,
        CG(rtol=1e-12),
        MINRES(rtol=1e-12),
        LU(rtol=1e-12),
        Cholesky(rtol=1e-12),
    ):
        x = linear_solve(operator, b, solver).value
        assert torch.allclose(x.flatten(), inverse @ b.detach().flatten(), atol=1e-10)
        weight = random(4, 5, seed=5550123)
        (gradient,) = torch.autograd.grad((x * weight).sum(), b)
        assert torch.allclose(gradient.flatten(), inverse @ weight.flatten(), atol=1e-10)


def test_null_space_is_projected_and_reported():
    operator = LaplacianOperator((6, 5), boundary="periodic", dtype=torch.float64)
    b = operator.project(random(2, 6, 5))
    shifted = b + 1e-3 * b.square().mean().sqrt()
    solution = linear_solve(operator, shifted, CG(rtol=1e-10))
    fraction = solution.stats["removed_fraction"]
    assert fraction.shape == (2,)
    assert torch.allclose(fraction, torch.full_like(fraction, 1e-3), rtol=0.5)
    exact = linear_solve(operator, b, CG(rtol=1e-10)).value
    assert torch.allclose(solution.value, exact, atol=1e-8)
    assert solution.value.sum((-2, -1)).abs().max() < 1e-10
    with pytest.raises(
        ValueError, match=r"range of the singular LaplacianOperator.*A\.project"
    ):
        linear_solve(operator, b + 1.0, CG())


def test_nonsymmetric_singular_system():
    operator = LaplacianOperator((7,), boundary="neumann", grid="vertex", dtype=torch.float64)
    assert not operator.symmetric
    b = operator.project(random(7))
    expected = torch.linalg.pinv(operator.to_dense()) @ b
    for solver in (None, GMRES(rtol=1e-12), LU(rtol=1e-12)):
        assert torch.allclose(linear_solve(operator, b, solver).value, expected, atol=1e-10)


def test_singular_kronecker_sum_by_fast_diagonalization():
    line = LaplacianOperator((5,), boundary="neumann", dtype=torch.float64).to_dense()
    operator = KroneckerSumOperator([line, line], symmetric=True)
    b = random(5, 5)
    b = b - b.mean()
    x = linear_solve(operator, b, FastDiagonalization(rtol=1e-12)).value
    expected = torch.linalg.pinv(operator.to_dense()) @ b.flatten()
    assert torch.allclose(x.flatten(), expected, atol=1e-12)


def test_inconsistent_system_is_named():
    A = pressure_matrix(8, 2)
    fluid = np.diff(A.indptr) > 0
    b = np.where(fluid, 1.0 + 0.5 * random(64).numpy(), 0.0)
    with pytest.raises(
        SolverError, match=r"STAGNATION.*null vector of Aᵀ.*outside its range"
    ) as caught:
        linear_solve(A, b, MINRES())
    assert caught.value.solution.status is Status.STAGNATION
    assert not linear_solve(A, b, CG(), throw=False)


def test_failure_is_data_or_an_error_that_carries_it():
    A, b = definite_matrix(40), random(2, 40)
    solution = linear_solve(A, b, CG(rtol=1e-12, max_steps=3), throw=False)
    assert solution.status is Status.MAX_STEPS
    assert not solution
    assert solution.num_steps == 3
    with pytest.raises(
        SolverError, match=r"MAX_STEPS after 3 steps \(2 of 2 right-hand"
    ) as caught:
        linear_solve(A, b, CG(rtol=1e-12, max_steps=3))
    assert torch.equal(caught.value.solution.value, solution.value)
    indefinite = indefinite_matrix(12)
    with pytest.raises(
        SolverError, match=r"BREAKDOWN .*p · A p <= 0: the operator is not positive"
    ):
        linear_solve(indefinite, random(12), CG())
    with pytest.raises(SolverError, match=r"BREAKDOWN .*smallest eigenvalue -1\.9"):
        linear_solve(indefinite, random(12), Cholesky())
    singular = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))
    with pytest.raises(SolverError, match=r"BREAKDOWN .*LU: expected an invertible matrix"):
        linear_solve(singular, random(3), LU())


def test_failing_adjoint_solve_raises():
    # the start solves the system, but the adjoint has to begin at zero
    A, x = definite_matrix(40), random(40)
    b = (A @ x).requires_grad_()
    value = linear_solve(A, b, CG(rtol=1e-10, max_steps=2), x0=x).value
    with pytest.raises(SolverError, match=r"linear_solve \(adjoint\).*MAX_STEPS"):
        value.sum().backward()


def test_reference_pressure_matrix():
    """Sizes and eigenvalues as measured of the published matrices."""
    A = pressure_matrix(16, 3)
    fluid = np.diff(A.indptr) > 0
    assert fluid.sum() == 3920
    assert np.abs(A - A.T).max() == 0
    assert np.abs(A.sum(1)).max() == 0
    A = A[fluid][:, fluid]
    values = np.sort(eigsh(A, 6, sigma=-0.01, return_eigenvectors=False))
    assert abs(values[0]) < 1e-13
    assert np.allclose(values[1:4], 3.10790484e-2, rtol=1e-8)
    assert values[4] > 1.5 * values[3]
    largest = eigsh(A, 1, which="LA", return_eigenvectors=False)[0]
    assert math.isclose(largest, 11.872, abs_tol=5e-4)
    plane = pressure_matrix(64, 2)
    assert (np.diff(plane.indptr) > 0).sum() == 4092
    assert (np.diff(pressure_matrix(64, 3).indptr) == 0).sum() == 752


def test_cg_on_the_reference_pressure_matrix_equals_dense():
    A = pressure_matrix(16, 3)
    fluid = np.diff(A.indptr) > 0
    b = np.where(fluid, random(4096).numpy(), 0.0)
    b[fluid] -= b[fluid].mean()
    solution = linear_solve(A, b, CG(rtol=1e-12))
    assert np.linalg.norm(b - A @ solution.value) <= 1e-12 * np.linalg.norm(b)
    # one null vector, the constant on the fluid, makes the dense matrix invertible
    dense = A[fluid][:, fluid].toarray() + 1.0 / fluid.sum()
    expected = np.linalg.solve(dense, b[fluid])
    x = solution.value[fluid] - solution.value[fluid].mean()
    assert np.linalg.norm(x - expected) <= 1e-10 * np.linalg.norm(expected)
    # (√κ - 1) / (√κ + 1) to the power of the steps: the bound that theory gives
    ratio = (np.sqrt(11.872 / 3.10790484e-2) - 1) / (np.sqrt(11.872 / 3.10790484e-2) + 1)
    assert solution.num_steps <= np.log(1e-12 / 2 / np.sqrt(11.872 / 3.1e-2)) / np.log(ratio)
