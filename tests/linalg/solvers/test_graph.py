import dataclasses

import pytest
import torch

from sciml.linalg.dense import DenseOperator
from sciml.linalg.kronecker import KroneckerOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.preconditioners.fft import NearbySolve
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.base import LinearSystem
from sciml.linalg.solvers.bicgstab import BiCGStab
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.gmres import GMRES
from sciml.linalg.solvers.graph import ReplayedStep
from sciml.linalg.solvers.iteration import Iteration
from sciml.linalg.solvers.minres import MINRES
from tests.devices import CUDA
from tests.linalg.systems import definite_matrix, random

METHODS = {
    "cg": CG,
    "flexible_cg": lambda **options: CG(flexible=True, **options),
    "minres": MINRES,
    "bicgstab": BiCGStab,
}
REPORTED = ("residual_norm", "column_steps", "num_applications", "num_preconditionings")


def repeat_after_two_rehearsals(work, device):
    """Records as a CUDA graph does, but for the graph."""
    del device
    work()
    work()
    return work


def graphed_solve(solver, operator, b, *, x0=None, preconditioner=None):
    """The graph itself on CUDA, all that is around it on the CPU."""
    if b.is_cuda:
        graphed = dataclasses.replace(solver, cuda_graph=True)
        return graphed.solve(operator, b, x0=x0, preconditioner=preconditioner)
    with torch.no_grad():
        run = Iteration(solver, LinearSystem(operator, b, preconditioner), x0)
        run.step = ReplayedStep(solver.step, repeat_after_two_rehearsals)
        return run.run()


def right_hand_sides(device):
    """Columns that finish at different times: one is zero, one is an eigenvector."""
    b = random(4, 6, 7)
    b[1] = 0
    b[2] = 1.0
    return b.to(device)


def box(device):
    return LaplacianOperator(
        (6, 7),
        boundary=("dirichlet", "periodic"),
        dtype=torch.float64,
        device=torch.empty(0, device=device).device,
    )


def assert_same(actual, expected):
    assert actual.status == expected.status
    assert actual.num_steps == expected.num_steps
    assert torch.equal(actual.converged, expected.converged)
    # launched in a graph, a product may be summed in another order
    tolerance = (
        {"rtol": 1e-6, "atol": 1e-10} if actual.value.is_cuda else {"rtol": 0, "atol": 0}
    )
    torch.testing.assert_close(actual.history, expected.history, **tolerance)
    torch.testing.assert_close(actual.value, expected.value, **tolerance)
    for name in REPORTED:
        value, reference = (torch.as_tensor(s.stats[name]) for s in (actual, expected))
        torch.testing.assert_close(value, reference, **tolerance)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_replayed_steps_are_the_steps(method, preconditioned, device):
    operator, b = box(device), right_hand_sides(device)
    options = {"preconditioner": Jacobi(operator)} if preconditioned else {}
    solver = METHODS[method](rtol=1e-10, check_every=4, refresh_every=8)
    expected = solver.solve(operator, b, **options)
    assert expected
    assert_same(graphed_solve(solver, operator, b, **options), expected)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
@pytest.mark.parametrize("method", ["cg", "minres", "bicgstab"])
def test_restarts_start_the_recording_afresh(method, device):
    """In float32 the recursion drifts off, so that columns restart one by one."""
    matrix = definite_matrix(40) + 200 * torch.diag(torch.linspace(0, 1, 40).double() ** 4)
    operator = DenseOperator(matrix.float().to(device), positive_definite=True)
    b = random(3, 40, dtype=torch.float32).to(device)
    solver = METHODS[method](rtol=3e-7, check_every=3, refresh_every=5, max_steps=200)
    expected = solver.solve(operator, b)
    actual = graphed_solve(solver, operator, b)
    assert expected.stats["num_restarts"] > 0
    if device == "cpu":
        assert_same(actual, expected)
    torch.testing.assert_close(actual.value, expected.value, rtol=1e-4, atol=1e-6)


def test_one_recorder_serves_several_systems():
    method = CG(rtol=1e-10)
    step = ReplayedStep(method.step, repeat_after_two_rehearsals)
    for size in (6, 9):
        operator = DenseOperator(definite_matrix(size), positive_definite=True)
        b, start = random(2, size), random(2, size, seed=15485863)
        with torch.no_grad():
            run = Iteration(method, LinearSystem(operator, b), start)
            run.step = step
            assert_same(run.run(), method.solve(operator, b, x0=start))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_methods_that_count_on_the_host_are_refused(device):
    with pytest.raises(
        ValueError, match=r"cuda_graph: expected a method .* GMRESState whose column"
    ):
        graphed_solve(GMRES(), box(device), right_hand_sides(device))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_the_option_changes_no_result(device):
    """Not on the CPU, where it does nothing, and not on CUDA; gradients included."""
    matrix, b = definite_matrix(12).to(device), random(2, 12).to(device)
    operator = DenseOperator(matrix.requires_grad_(), positive_definite=True)
    results = []
    for cuda_graph in (False, True):
        solution = linear_solve(operator, b, CG(rtol=1e-11, cuda_graph=cuda_graph))
        (gradient,) = torch.autograd.grad(solution.value.square().sum(), matrix)
        results.append((solution, gradient))
    (expected, reference), (actual, gradient) = results
    assert_same(actual, expected)
    torch.testing.assert_close(gradient, reference)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_that_waits_is_refused():
    operator = DenseOperator(definite_matrix(6).cuda(), positive_definite=True)
    factors = [definite_matrix(6).cuda()]
    waiting = NearbySolve(KroneckerOperator(factors, positive_definite=True))
    solver, b = CG(cuda_graph=True), random(2, 6).cuda()
    with pytest.raises(ValueError, match="cuda_graph: expected an operator and a precond"):
        solver.solve(operator, b, preconditioner=waiting)
    # the device is as before
    assert linear_solve(operator, b, solver)
