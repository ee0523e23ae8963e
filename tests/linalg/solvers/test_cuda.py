"""Solvers and preconditioners on a CUDA device: equal to the CPU, and loops never wait."""

import pytest
import torch

from sciml.linalg.composite import SumOperator
from sciml.linalg.dense import DenseOperator, DiagonalOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.preconditioners.circulant import OptimalCirculant
from sciml.linalg.preconditioners.fft import NearbySolve
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.base import LinearSystem
from sciml.linalg.solvers.bicgstab import BiCGStab
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.gmres import GMRES
from sciml.linalg.solvers.iteration import Iteration
from sciml.linalg.solvers.minres import MINRES
from tests.devices import (
    ACCELERATORS,
    CUDA,
    PLACES,
    HostReads,
    assert_close_to_largest,
    second_call_does_not_wait,
)
from tests.linalg.placement import placed
from tests.linalg.systems import PAIRS, SOLVERS, SYSTEMS, definite_matrix, random

KRYLOV = {
    "cg": CG,
    "flexible_cg": lambda **options: CG(flexible=True, **options),
    "minres": MINRES,
    "gmres": GMRES,
    "bicgstab": BiCGStab,
}
RTOL = {torch.float32: 1e-5, torch.float64: 1e-11}
LIMIT = {torch.float32: 1e-3, torch.float64: 1e-9}  # RTOL times the largest condition number


def exact(operator, b):
    matrix = operator.to_dense()
    return torch.linalg.solve(matrix, b.reshape(-1, len(matrix)).T).T.reshape(b.shape)


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize(("system", "solver"), PAIRS)
def test_solutions_and_gradients_equal_the_cpu(system, solver, device, dtype):
    build, _ = SYSTEMS[system]
    reference = build(torch.float64)
    b, cotangent = (random(3, *reference.in_shape, seed=seed) for seed in (6700417, 86028157))
    operator = placed(build(dtype), device)
    right = b.to(device, dtype).requires_grad_()
    solution = linear_solve(operator, right, SOLVERS[solver][0](rtol=RTOL[dtype]))
    (gradient,) = torch.autograd.grad(solution.value, right, cotangent.to(device, dtype))
    for result in (solution.value, gradient, solution.converged, solution.history):
        assert result.device.type == device
    assert_close_to_largest(solution.value, exact(reference, b), LIMIT[dtype])
    assert_close_to_largest(gradient, exact(reference.T, cotangent), LIMIT[dtype])


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_chosen_solver_is_that_of_the_cpu(system, device, dtype):
    build, _ = SYSTEMS[system]
    reference = build(torch.float64)
    b = random(*reference.in_shape)
    there = linear_solve(placed(build(dtype), device), b.to(device, dtype), rtol=RTOL[dtype])
    here = linear_solve(reference, b, rtol=RTOL[dtype])
    assert there.stats["solver"] == here.stats["solver"]
    assert_close_to_largest(there.value, exact(reference, b), LIMIT[dtype])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
@pytest.mark.parametrize("method", ["cg", "flexible_cg", "minres", "gmres", "bicgstab"])
@pytest.mark.parametrize("preconditioner", ["jacobi", "nearby", "nearby_single"])
def test_preconditioners_help_as_on_the_cpu(preconditioner, method, device):
    """-Δ + c(x) on a box; what helps on the CPU takes as many steps on the device."""
    c = 20 + 500 * torch.linspace(0, 1, 144, dtype=torch.float64).view(12, 12) ** 4
    b = random(2, 12, 12)

    def solve(device):
        where = torch.empty(0, device=device).device
        single, double = (
            LaplacianOperator((12, 12), 1 / 12, dtype=dtype, device=where)
            for dtype in (torch.float32, torch.float64)
        )
        field = DiagonalOperator(c.to(device), positive_definite=True)
        operator = SumOperator(double, field)
        M = {
            "jacobi": lambda: Jacobi(operator),
            "nearby": lambda: NearbySolve(double),
            "nearby_single": lambda: NearbySolve(single),
        }[preconditioner]()
        solver = KRYLOV[method](rtol=1e-10, check_every=1)
        return operator, linear_solve(operator, b.to(device), solver, preconditioner=M)

    operator, expected = solve("cpu")
    _, actual = solve(device)
    assert abs(actual.num_steps - expected.num_steps) <= 1
    assert_close_to_largest(actual.value, exact(operator, b), 1e-8)


@pytest.mark.parametrize(("device", "dtype"), PLACES)
def test_circulant_preconditioner_equals_the_cpu(device, dtype):
    column = 0.5 ** torch.arange(300, dtype=torch.float64)
    x = random(2, 300)
    M = OptimalCirculant(column.to(device, dtype))
    right = x.to(device, dtype)
    z = second_call_does_not_wait(device, lambda: M @ right)
    assert_close_to_largest(z, OptimalCirculant(column) @ x, RTOL[dtype])


@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("preconditioner", [None, "jacobi", "nearby_single"])
@pytest.mark.parametrize("method", KRYLOV)
def test_steps_never_wait_for_the_device(method, preconditioner, device):
    where = torch.empty(0, device=device).device
    double, single = (
        LaplacianOperator((8, 9), boundary="neumann", dtype=dtype, device=where)
        for dtype in (torch.float64, torch.float32)
    )
    b = double.project(random(2, 8, 9).to(device))
    M = {"jacobi": lambda: Jacobi(double), "nearby_single": lambda: NearbySolve(single)}
    system = LinearSystem(double, b, M[preconditioner]() if preconditioner else None)
    solver = KRYLOV[method](rtol=1e-12)

    def several_steps():
        run = Iteration(solver, system, None)
        for _ in range(5):
            run.advance()
        return run

    with torch.no_grad():
        run = second_call_does_not_wait(device, several_steps)
    assert run.num_steps == 5
    assert run.history[-1].device.type == device


@pytest.mark.parametrize(
    ("method", "device"),
    # on the CPU GMRES asks in every step whether it has to orthogonalise again
    [(method, "cpu") for method in KRYLOV if method != "gmres"]
    + [pytest.param(method, "cuda", marks=CUDA) for method in KRYLOV],
)
def test_the_host_reads_as_often_as_it_tests(method, device):
    """Twice the steps between two tests, and not a single value read more."""
    matrix = definite_matrix(60) + torch.diag(torch.logspace(0, 4, 60, dtype=torch.float64))
    operator = DenseOperator(matrix.to(device), positive_definite=True)
    b = random(2, 60).to(device)
    reads = []
    for steps in (20, 40):
        solver = KRYLOV[method](rtol=1e-12, max_steps=steps, check_every=steps)
        with HostReads() as watch:
            solution = solver.solve(operator, b)
        assert solution.num_steps == steps
        reads.append(len(watch.operations))
    assert reads[0] == reads[1]
