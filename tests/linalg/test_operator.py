"""What holds for every operator: one body each, over all factories."""

import math

import pytest
import torch

from sciml.linalg.dense import DenseOperator
from sciml.linalg.interop import from_linear_operator
from sciml.linalg.kronecker import KroneckerOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from tests.linalg.operators import ALL, FLAGS, SOLVABLE, SQUARE, random

DTYPES = [torch.float32, torch.float64]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
BATCHES = [(), (3,), (2, 3)]


def broadcasting(operator: LinearOperator, batch: tuple[int, ...]) -> tuple[int, ...]:
    """A batch that broadcasts against the operator's own."""
    if not operator.batch_shape or not batch:
        return batch
    return batch[:-1] + (2, 3)[-len(operator.batch_shape) :]


def field(operator: LinearOperator, batch: tuple[int, ...], seed: int = 88211) -> torch.Tensor:
    return random(*batch, *operator.in_shape, dtype=operator.dtype, seed=seed)


def image(operator: LinearOperator, batch: tuple[int, ...], seed: int = 44771) -> torch.Tensor:
    return random(*batch, *operator.out_shape, dtype=operator.dtype, seed=seed)


def apply_dense(operator: LinearOperator, x: torch.Tensor) -> torch.Tensor:
    flat = x.reshape(*x.shape[: x.ndim - len(operator.in_shape)], -1, 1)
    result = (operator.to_dense() @ flat).squeeze(-1)
    return result.reshape(*result.shape[:-1], *operator.out_shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", ALL)
def test_product_equals_dense(name, batch, dtype):
    operator = ALL[name](dtype)
    x = field(operator, broadcasting(operator, batch))
    got = operator @ x
    assert got.dtype == dtype
    torch.testing.assert_close(
        got, apply_dense(operator, x), rtol=TOLERANCE[dtype], atol=30 * TOLERANCE[dtype]
    )


@pytest.mark.parametrize("name", ALL)
def test_linear(name):
    operator = ALL[name](torch.float64)
    x, y = field(operator, ()), field(operator, (), seed=30713)
    torch.testing.assert_close(operator @ (2 * x - y), 2 * (operator @ x) - operator @ y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_adjoint_identity(name, dtype):
    operator = ALL[name](dtype)
    x, y = field(operator, ()), image(operator, ())
    axes = tuple(range(-len(operator.out_shape), 0))
    forward = ((operator @ x) * y).sum(axes)
    backward = (operator.T @ y * x).sum(tuple(range(-len(operator.in_shape), 0)))
    torch.testing.assert_close(
        forward,
        backward,
        rtol=1e-4 if dtype is DTYPES[0] else 1e-11,
        atol=TOLERANCE[dtype] * 50,
    )


@pytest.mark.parametrize("name", ALL)
def test_transpose_twice_and_dense(name):
    operator = ALL[name](torch.float64)
    dense = operator.to_dense()
    assert dense.shape[-2:] == (math.prod(operator.out_shape), math.prod(operator.in_shape))
    torch.testing.assert_close(operator.T.to_dense(), dense.mT)
    torch.testing.assert_close(operator.T.T.to_dense(), dense)
    assert (operator.T.in_shape, operator.T.out_shape) == (
        operator.out_shape,
        operator.in_shape,
    )


@pytest.mark.parametrize("name", SQUARE)
def test_declared_structure_is_true(name):
    operator = SQUARE[name](torch.float64)
    dense = operator.to_dense()
    if operator.symmetric:
        torch.testing.assert_close(dense, dense.mT)
    if operator.positive_definite:
        least = torch.linalg.eigvalsh(dense).min()
        assert float(least) > -1e-12 if operator.singular else float(least) > 0


@pytest.mark.parametrize("name", SQUARE)
def test_diagonal_trace_and_quadratic_form(name):
    operator = SQUARE[name](torch.float64)
    dense = operator.to_dense()
    diagonal = torch.diagonal(dense, dim1=-2, dim2=-1)
    shape = (*operator.batch_shape, *operator.in_shape)
    torch.testing.assert_close(operator.diagonal(), diagonal.reshape(shape))
    torch.testing.assert_close(operator.trace(), diagonal.sum(-1))
    x = field(operator, ())
    expected = ((dense @ x.flatten()) * x.flatten()).sum(-1)
    torch.testing.assert_close(operator.quadratic_form(x), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", SOLVABLE)
def test_solve_equals_dense(name, batch, dtype):
    operator = SOLVABLE[name](dtype)
    b = image(operator, broadcasting(operator, batch))
    flat = b.reshape(*b.shape[: b.ndim - len(operator.in_shape)], -1, 1)
    expected = torch.linalg.solve(operator.to_dense(), flat).squeeze(-1)
    expected = expected.reshape(*expected.shape[:-1], *operator.in_shape)
    got = operator.solve(b)
    assert got.dtype == dtype
    torch.testing.assert_close(
        got, expected, rtol=1e-3 if dtype is DTYPES[0] else 1e-10, atol=50 * TOLERANCE[dtype]
    )


def tracked(operator: LinearOperator) -> list[torch.Tensor]:
    return [tensor.detach().clone().requires_grad_() for tensor in operator.tensors]


@pytest.mark.parametrize("name", ALL)
def test_product_gradients(name):
    operator = ALL[name](torch.float64)
    x = field(operator, (2,) if not operator.batch_shape else ()).requires_grad_()
    if math.prod(operator.in_shape) > 100:
        pytest.skip("finite differences over hundreds of inputs; the small twin is checked")

    def product(x, *tensors):
        return operator.with_tensors(tensors) @ x

    assert torch.autograd.gradcheck(product, (x, *tracked(operator)))


def symmetrised(operator: LinearOperator, tensors: tuple[torch.Tensor, ...]) -> LinearOperator:
    """Perturbations of a symmetric matrix stay symmetric, as Cholesky and eigh presume."""
    if operator.symmetric:
        square = [t.ndim >= 2 and t.shape[-1] == t.shape[-2] for t in operator.tensors]
        tensors = tuple(
            0.5 * (t + t.mT) if is_square else t
            for t, is_square in zip(tensors, square, strict=True)
        )
    return operator.with_tensors(tensors)


@pytest.mark.parametrize("name", SOLVABLE)
def test_solve_gradients(name):
    operator = SOLVABLE[name](torch.float64)
    b = image(operator, ()).requires_grad_()

    def solution(b, *tensors):
        return symmetrised(operator, tensors).solve(b)

    assert torch.autograd.gradcheck(solution, (b, *tracked(operator)))


@pytest.mark.parametrize(
    "name", ["kronecker_shifted", "kronecker_sum_two", "toeplitz_definite", "toeplitz"]
)
def test_solve_second_derivatives(name):
    """Operators whose gradient is an adjoint solve of our own."""
    operator = SOLVABLE[name](torch.float64)
    b = image(operator, ()).requires_grad_()

    def solution(b, *tensors):
        return symmetrised(operator, tensors).solve(b)

    assert torch.autograd.gradgradcheck(solution, (b, *tracked(operator)), fast_mode=True)


@pytest.mark.parametrize("name", ALL)
def test_interoperates_with_linear_operator(name):
    operator = ALL[name](torch.float64)
    external = operator.to_linear_operator()
    dense = operator.to_dense()
    torch.testing.assert_close(external.to_dense(), dense)
    right = random(dense.shape[-1], 3, dtype=torch.float64)
    torch.testing.assert_close(external @ right, dense @ right)
    torch.testing.assert_close(external.mT @ (dense @ right), dense.mT @ (dense @ right))
    torch.testing.assert_close(from_linear_operator(external).to_dense(), dense)


def test_wrong_input_is_refused_in_words():
    operator = KroneckerOperator([torch.eye(2), torch.eye(3)])
    with pytest.raises(
        ValueError, match=r"mv: expected a field of shape \(\*batch, 2, 3\), got"
    ):
        operator @ torch.zeros(6)
    with pytest.raises(TypeError, match=r"expected dtype torch\.float32, got torch\.float64"):
        operator @ torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(TypeError, match="expected a field on cpu, got meta; move one"):
        operator @ torch.zeros(2, 3, device="meta")
    with pytest.raises(TypeError, match="unsupported operand"):
        operator @ 3.0
    with pytest.raises(TypeError, match=r"floating-point dtype, got torch\.complex64"):
        DenseOperator(torch.eye(2, dtype=torch.complex64))
    with pytest.raises(ValueError, match="expected a square operator where symmetric"):
        DenseOperator(torch.zeros(2, 3), symmetric=True)
    with pytest.raises(
        ValueError, match=r"diagonal: expected a square operator, got \(3,\) -> \(2"
    ):
        DenseOperator(torch.zeros(2, 3)).trace()


def test_representation_names_shapes():
    operator = DenseOperator(torch.zeros(4, 1, 6, 6), (3, 2))
    assert repr(operator) == (
        "DenseOperator((3, 2) -> (3, 2), batch=(4, 1), torch.float32, cpu)"
    )


def test_project_is_the_identity_without_a_null_space():
    operator = DenseOperator(torch.eye(3))
    b = torch.arange(3.0)
    assert operator.null_space() is None
    assert operator.project(b) is b
    assert operator.range_projection() is None
    assert not operator.singular
    assert operator.describe_outside(b) == ""


def test_prepared_projection_is_that_of_project():
    line = LaplacianOperator((4, 3), boundary="neumann", grid="vertex", dtype=torch.float64)
    for operator in (
        line,
        line.T,
        2.0 * line,
        PoissonOperator(FLAGS),
        2.0 * PoissonOperator(FLAGS),
    ):
        assert operator.singular
        b = random(2, *operator.out_shape, dtype=torch.float64)
        projected = operator.range_projection()(b)
        torch.testing.assert_close(projected, operator.project(b))
        assert float((projected - b).norm()) > 0.1
        rows = operator.T.null_space().flatten(1)
        assert float((projected.flatten(1) @ rows.T).abs().max()) < 1e-13
