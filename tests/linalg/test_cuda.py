"""Every operator and direct solve on a CUDA device: equal to the CPU, gradients too."""

import pytest
import torch

from sciml.linalg.dense import IdentityOperator
from sciml.linalg.kronecker import KroneckerOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.toeplitz import ToeplitzOperator
from tests.devices import (
    ACCELERATORS,
    CUDA,
    PLACES,
    assert_close_to_largest,
    second_call_does_not_wait,
)
from tests.linalg.operators import ALL, SOLVABLE, SQUARE, decaying, definite, random
from tests.linalg.placement import placed

DOUBLE = torch.float64
TOLERANCE = {torch.float32: 5e-5, torch.float64: 1e-10}
LOGDETS = [
    name
    for name, factory in SOLVABLE.items()
    if hasattr(factory(DOUBLE), "logdet") and name != "toeplitz"  # symmetric ones only
]
# What their constructors check needs values, which the stand-in does not have.
CHECKED = ["kronecker_shifted", "low_rank_symmetric", "sparse"]
CHECKED += [name for name in ALL if name.startswith("poisson")]


def with_gradients(operator, function, x):
    """`function(operator, x)` and its gradients in `x` and in the operator's tensors."""
    tensors = [tensor.detach().requires_grad_() for tensor in operator.tensors]
    x = x.detach().requires_grad_()
    value = function(operator.with_tensors(tensors), x)
    index = torch.arange(value.numel(), dtype=DOUBLE, device=value.device)
    cotangent = torch.sin(1 + 0.3 * index.square()).to(value.dtype).view(value.shape)
    gradients = torch.autograd.grad(value, [x, *tensors], cotangent, allow_unused=True)
    return value, *(gradient for gradient in gradients if gradient is not None)


def assert_agrees(factory, function, shape_of, device, dtype, rtol):
    operator = factory(DOUBLE)
    x = random(2, *operator.batch_shape, *shape_of(operator), dtype=DOUBLE)
    expected = with_gradients(operator, function, x)
    there = placed(factory(dtype), device)
    results = with_gradients(there, function, x.to(device, dtype))
    for result, reference in zip(results, expected, strict=True):
        assert (result.device.type, result.dtype) == (device, dtype)
        assert_close_to_largest(result, reference, rtol)


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("name", ALL)
def test_products_equal_the_cpu(name, device, dtype):
    def product(operator, x):
        return operator @ x

    def transposed(operator, x):
        return operator.T @ x

    rtol = TOLERANCE[dtype]
    assert_agrees(ALL[name], product, lambda a: a.in_shape, device, dtype, rtol)
    assert_agrees(ALL[name], transposed, lambda a: a.out_shape, device, dtype, rtol)


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("name", SQUARE)
def test_diagonal_and_trace_equal_the_cpu(name, device, dtype):
    operator = SQUARE[name](DOUBLE)
    there = placed(SQUARE[name](dtype), device)
    assert_close_to_largest(there.diagonal(), operator.diagonal(), TOLERANCE[dtype])
    assert_close_to_largest(there.trace(), operator.trace(), TOLERANCE[dtype])
    assert_close_to_largest(there.to_dense(), operator.to_dense(), TOLERANCE[dtype])


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("name", SOLVABLE)
def test_solves_equal_the_cpu(name, device, dtype):
    def solve(operator, x):
        return operator.solve(operator.project(x))

    rtol = 20 * TOLERANCE[dtype]
    assert_agrees(SOLVABLE[name], solve, lambda a: a.out_shape, device, dtype, rtol)


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("name", LOGDETS)
def test_log_determinants_equal_the_cpu(name, device, dtype):
    def logdet(operator, x):
        return operator.logdet() + 0.0 * x.sum()

    rtol = 20 * TOLERANCE[dtype]
    assert_agrees(SOLVABLE[name], logdet, lambda a: a.out_shape, device, dtype, rtol)


@pytest.mark.parametrize(("device", "dtype"), PLACES)
def test_factorisations_and_draws_stay_on_the_device(device, dtype):
    factors = [definite(4, DOUBLE), definite(3, DOUBLE)]
    operator = KroneckerOperator(factors, positive_definite=True)
    there = placed(KroneckerOperator([f.to(dtype) for f in factors]), device)
    eigenvalues, _ = there.eigh()
    assert_close_to_largest(eigenvalues, operator.eigh()[0], TOLERANCE[dtype])
    dense = there.cholesky().to_dense()
    assert_close_to_largest(dense, operator.cholesky().to_dense(), TOLERANCE[dtype])
    generator = torch.Generator(device).manual_seed(104395301)
    draws = there.sample(4000, generator=generator)
    assert draws.device.type == device
    covariance = draws.flatten(1).T.double().cpu() @ draws.flatten(1).double().cpu() / 4000
    assert_close_to_largest(covariance, operator.to_dense(), 0.15)


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("size", [200, 700])
def test_long_toeplitz_equals_the_cpu(size, device, dtype):
    """Product by matrix and by FFT; solves by conjugate gradients or dense."""
    operator = ToeplitzOperator(decaying(size, DOUBLE), positive_definite=True)
    there = placed(ToeplitzOperator(decaying(size, dtype), positive_definite=True), device)
    x = random(3, size, dtype=DOUBLE)
    moved = x.to(device, dtype)
    assert_close_to_largest(there @ moved, operator @ x, TOLERANCE[dtype])
    assert_close_to_largest(there.solve(moved), operator.solve(x), TOLERANCE[dtype])
    assert_close_to_largest(there.logdet(), operator.logdet(), TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("name", "device"),
    [(name, device) for name in ALL if name not in CHECKED for device in ACCELERATORS[:1]]
    + [(name, "cpu") for name in CHECKED]
    + [pytest.param(name, "cuda", marks=CUDA) for name in ALL],
)
def test_products_never_wait_for_the_device(name, device):
    operator = placed(ALL[name](torch.float32), device)
    x = random(2, *operator.batch_shape, *operator.in_shape, dtype=torch.float32).to(device)
    with torch.no_grad():
        image = second_call_does_not_wait(device, lambda: operator @ x)
    assert image.device.type == device


@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("name", ["laplacian", "laplacian_half_cells"])
def test_fast_solves_never_wait_for_the_device(name, device):
    """What preconditioners apply in every step."""
    operator = placed(SOLVABLE[name](torch.float32), device)
    b = random(2, *operator.in_shape, dtype=torch.float32).to(device)
    x = second_call_does_not_wait(device, lambda: operator.solve(b))
    assert x.device.type == device


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_without_an_index_is_the_current_one():
    cuda = torch.device("cuda")
    for operator in (
        LaplacianOperator((5, 4), dtype=DOUBLE, device=cuda),
        IdentityOperator((5, 4), dtype=DOUBLE, device=cuda),
    ):
        assert (operator @ torch.ones(5, 4, dtype=DOUBLE, device=cuda)).is_cuda
