"""What gpytorch asks of an operator of ours, and what we make of theirs."""

import linear_operator.operators as external
import pytest
import torch

from sciml.linalg.interop import from_linear_operator
from sciml.linalg.solve import linear_solve
from tests.linalg.operators import ALL, SOLVABLE, decaying, definite, random

DOUBLE = torch.float64


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # their diagonals
@pytest.mark.parametrize("name", ALL)
def test_rows_blocks_and_diagonals(name):
    operator = ALL[name](DOUBLE)
    theirs, dense = operator.to_linear_operator(), operator.to_dense()
    row = theirs[..., 1, :]
    torch.testing.assert_close(
        row if torch.is_tensor(row) else row.to_dense(), dense[..., 1, :]
    )
    block = theirs[..., :2, 1:3]
    torch.testing.assert_close(block.to_dense(), dense[..., :2, 1:3])
    if operator.is_square:
        diagonal = torch.diagonal(dense, dim1=-2, dim2=-1)
        torch.testing.assert_close(theirs.diagonal(dim1=-2, dim2=-1), diagonal)


@pytest.mark.parametrize("name", [n for n in SOLVABLE if SOLVABLE[n](DOUBLE).positive_definite])
def test_gaussian_algebra(name):
    operator = SOLVABLE[name](DOUBLE)
    theirs, dense = operator.to_linear_operator(), operator.to_dense()
    right = random(*operator.batch_shape, dense.shape[-1], 2, dtype=DOUBLE)
    solution = torch.linalg.solve(dense, right)
    torch.testing.assert_close(theirs.solve(right), solution)
    quadratic, logdet = theirs.inv_quad_logdet(right, logdet=True)
    torch.testing.assert_close(quadratic, (right * solution).sum((-2, -1)))
    torch.testing.assert_close(logdet, torch.logdet(dense))
    eye = torch.eye(dense.shape[-1], dtype=DOUBLE)
    torch.testing.assert_close(theirs.add_jitter(0.1).to_dense(), dense + 0.1 * eye)


FOREIGN = {
    "product_of_structures": lambda: external.KroneckerProductLinearOperator(
        external.DenseLinearOperator(definite(3, DOUBLE)),
        external.ToeplitzLinearOperator(decaying(4, DOUBLE)),
    ),
    "noisy_product": lambda: external.KroneckerProductLinearOperator(
        external.DenseLinearOperator(definite(3, DOUBLE)),
        external.DenseLinearOperator(definite(2, DOUBLE)),
    ).add_diagonal(torch.tensor(0.3, dtype=DOUBLE)),
    "sum": lambda: (
        external.DenseLinearOperator(definite(3, DOUBLE))
        + external.ToeplitzLinearOperator(decaying(3, DOUBLE))
    ),
    "multiple": lambda: external.DenseLinearOperator(definite(3, DOUBLE)) * 2.0,
    "zero": lambda: external.ZeroLinearOperator(3, 3),
    "batch_of_diagonals": lambda: external.DiagLinearOperator(random(2, 3, dtype=DOUBLE)),
    "blocks": lambda: external.BlockDiagLinearOperator(
        external.DenseLinearOperator(torch.stack([definite(3, DOUBLE), definite(3, DOUBLE)]))
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_operators(name):
    theirs = FOREIGN[name]()
    ours = from_linear_operator(theirs)
    torch.testing.assert_close(ours.to_dense(), theirs.to_dense())
    torch.testing.assert_close(ours.T.to_dense(), theirs.to_dense().mT)


def test_operator_that_does_not_know_its_device():
    part = external.DenseLinearOperator(definite(3, DOUBLE))
    theirs = external.CatLinearOperator(part, part, dim=-2)
    assert theirs.device is None
    x = random(2, 3, dtype=DOUBLE)
    torch.testing.assert_close(from_linear_operator(theirs) @ x, x @ theirs.to_dense().T)


def test_gradients_reach_the_tensors_of_a_foreign_operator():
    """Theirs differentiate by functions of their own, which functorch does not take."""

    def solve(matrix, factor):
        operator = from_linear_operator(external.DenseLinearOperator(matrix) * factor)
        return linear_solve(operator, torch.ones(3, dtype=DOUBLE), rtol=1e-13).value

    matrix = definite(3, DOUBLE).requires_grad_()
    factor = torch.tensor(1.3, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(solve, (matrix, factor))
