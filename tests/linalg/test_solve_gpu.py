import pytest
import torch

from sciml.linalg.dense import DenseOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.base import LinearSystem
from sciml.linalg.solvers.bicgstab import BiCGStab
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.direct import LU, Cholesky
from sciml.linalg.solvers.gmres import GMRES
from sciml.linalg.solvers.iteration import Iteration
from sciml.linalg.solvers.minres import MINRES
from tests.linalg.systems import definite_matrix, random

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
KRYLOV = [CG, MINRES, GMRES, BiCGStab]


@pytest.mark.parametrize("method", [*KRYLOV, Cholesky, LU])
def test_cuda_equals_cpu(method):
    matrix, b = definite_matrix(50), random(3, 50)
    solver = method(rtol=1e-10)
    on_cpu = linear_solve(DenseOperator(matrix, positive_definite=True), b, solver)
    operator = DenseOperator(matrix.cuda(), positive_definite=True)
    on_gpu = linear_solve(operator, b.cuda(), solver)
    assert on_gpu.value.is_cuda
    assert torch.allclose(on_gpu.value.cpu(), on_cpu.value, atol=1e-8)


@pytest.mark.parametrize("method", KRYLOV)
def test_steps_do_not_wait_for_the_device(method):
    operator = LaplacianOperator((32, 32), dtype=torch.float64, device=torch.device("cuda"))
    b = random(2, 32, 32).cuda()
    system = LinearSystem(operator, b, Jacobi(operator))
    with torch.no_grad():
        run = Iteration(method(), system, None)
        run.state.active = run.pending.clone()
        run.advance()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(5):
                run.advance()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert run.num_steps == 6
