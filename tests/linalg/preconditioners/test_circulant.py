import pytest
import torch

from sciml import ToeplitzOperator
from sciml.linalg.circulant import optimal_circulant
from sciml.linalg.preconditioners.circulant import OptimalCirculant
from sciml.linalg.solvers.cg import CG
from tests.linalg.systems import random

DOUBLE = torch.float64


def algebraic(n, dtype=DOUBLE):
    return (1 + torch.arange(n, dtype=dtype)) ** -1.1


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 30])
def test_is_the_inverse_of_the_nearest_circulant(size, dtype):
    column = algebraic(size, dtype)
    expected = torch.linalg.inv(optimal_circulant(column).to_dense())
    M = OptimalCirculant(column)
    torch.testing.assert_close(M.to_dense(), expected, rtol=1e-5, atol=1e-5)
    b = random(2, 3, size, dtype=dtype)
    torch.testing.assert_close(M.mv(b), b @ expected, rtol=1e-4, atol=1e-4)


def test_steps_do_not_grow_with_the_size():
    steps = []
    for size in (250, 2000):
        operator = ToeplitzOperator(algebraic(size), positive_definite=True)
        M = OptimalCirculant(operator.column)
        solution = CG(rtol=1e-10).solve(operator, random(size), preconditioner=M)
        plain = CG(rtol=1e-10).solve(operator, random(size))
        assert solution
        assert 2 * solution.num_steps < plain.num_steps
        steps.append(solution.num_steps)
    assert steps[1] <= steps[0] + 1


def test_matrix_that_is_not_positive_definite_is_refused():
    with pytest.raises(ValueError, match=r"OptimalCirculant: expected positive eigenvalues"):
        OptimalCirculant(torch.tensor([1.0, 2.0, 0.5], dtype=DOUBLE))
