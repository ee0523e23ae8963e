import importlib
import importlib.util

import numpy as np
import pytest
import torch

from sciml.linalg.composite import SumOperator
from sciml.linalg.dense import DenseOperator, DiagonalOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.preconditioners.algebraic import AlgebraicMultigrid
from sciml.linalg.preconditioners.fft import NearbySolve
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from tests.linalg.systems import definite_matrix, indefinite_matrix, pressure_matrix, random


def test_jacobi_is_the_inverse_of_the_diagonal_in_magnitude():
    matrix = indefinite_matrix(9)
    M = Jacobi(DenseOperator(matrix, (3, 3), symmetric=True))
    assert torch.allclose(M.to_dense(), torch.diag(1 / matrix.diagonal().abs()))
    assert M.T is M


def test_jacobi_cures_bad_scaling():
    scale = torch.logspace(-4, 4, 50, dtype=torch.float64)
    operator = DenseOperator(
        scale[:, None] * definite_matrix(50) * scale, positive_definite=True
    )
    b = random(50)
    solver = CG(rtol=1e-8, max_steps=200)
    assert linear_solve(operator, b, solver, preconditioner=Jacobi(operator))
    assert not linear_solve(operator, b, solver, throw=False)


@pytest.mark.parametrize("size", [16, 32])
def test_nearby_solve_needs_steps_independent_of_the_resolution(size):
    """-Δ + c(x), preconditioned by the Laplacian of the box."""
    laplacian = LaplacianOperator((size, size), 1 / size, dtype=torch.float64)
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    field = 20 * (1 + torch.sin(6 * centres)[:, None] * torch.cos(5 * centres))
    operator = SumOperator(laplacian, DiagonalOperator(field + 1.0, positive_definite=True))
    b = random(size, size)
    plain = linear_solve(operator, b, CG(rtol=1e-10))
    single = LaplacianOperator((size, size), 1 / size, dtype=torch.float32)
    for nearby in (laplacian, single):
        helped = linear_solve(operator, b, CG(rtol=1e-10), preconditioner=NearbySolve(nearby))
        assert helped.num_steps <= 12 < plain.num_steps
        assert torch.allclose(helped.value, plain.value, atol=1e-9)


def test_nearby_solve_transposes():
    operator = LaplacianOperator((6,), boundary="neumann", grid="vertex", dtype=torch.float64)
    M = NearbySolve(operator)
    assert torch.allclose(M.T.to_dense(), M.to_dense().T, atol=1e-12)
    assert torch.allclose(M.to_dense(), torch.linalg.pinv(operator.to_dense()), atol=1e-12)


def test_algebraic_multigrid_names_its_extra(monkeypatch):
    actual = importlib.import_module

    def without_pyamg(name, *rest):
        if name == "pyamg":
            raise ImportError(name)
        return actual(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without_pyamg)
    with pytest.raises(
        ImportError, match=r"expected pyamg.*pip install 'sciml-pde\[solvers\]'"
    ):
        AlgebraicMultigrid(pressure_matrix(8, 2))


@pytest.mark.skipif(importlib.util.find_spec("pyamg") is None, reason="pyamg is not installed")
@pytest.mark.parametrize("method", ["ruge_stuben", "smoothed_aggregation"])
def test_algebraic_multigrid_cuts_the_steps(method):
    matrix = pressure_matrix(32, 2)
    fluid = np.flatnonzero(np.diff(matrix.indptr))
    matrix = matrix[fluid][:, fluid]
    b = random(fluid.size).numpy()
    b -= b.mean()
    np.random.seed(918273)  # noqa: NPY002  pyamg estimates spectral radii by it
    M = AlgebraicMultigrid(matrix, method=method)
    helped = linear_solve(matrix, b, CG(rtol=1e-8), preconditioner=M)
    assert helped.num_steps < 0.3 * linear_solve(matrix, b, CG(rtol=1e-8)).num_steps
    fields = random(2, 3, fluid.size)
    single = torch.stack([torch.stack([M.mv(field) for field in row]) for row in fields])
    assert torch.equal(M.mv(fields), single)
