"""Layers and models on a CUDA device: equal to the CPU, gradients too, and never waiting."""

import copy

import pytest
import torch

from sciml.nn.factorized import CPWeight, TuckerWeight
from sciml.nn.fno import FNO
from sciml.nn.mlp import PointwiseMLP
from sciml.nn.spectral_conv import SpectralConv
from tests.devices import (
    ACCELERATORS,
    HALF_PLACES,
    PLACES,
    assert_close_to_largest,
    second_call_does_not_wait,
)

TOLERANCE = {
    torch.float16: 2e-2,
    torch.bfloat16: 6e-2,
    torch.float32: 2e-5,
    torch.float64: 1e-12,
}


class OnOtherGrid(torch.nn.Module):
    def __init__(self, layer, shape):
        super().__init__()
        self.layer, self.shape = layer, shape

    def forward(self, u):
        return self.layer(u, self.shape)


# name -> (module, shape of its input)
CASES = {
    "conv_1d": (lambda: SpectralConv(3, 4, (9,)), (2, 3, 33)),
    "conv_2d": (lambda: SpectralConv(3, 4, (8, 7)), (2, 3, 24, 15)),
    "conv_3d": (lambda: SpectralConv(2, 3, (4, 5, 4)), (1, 2, 8, 9, 6)),
    "conv_few_modes": (lambda: SpectralConv(2, 2, (2, 2)), (2, 2, 256, 64)),
    "conv_all_modes": (lambda: SpectralConv(2, 2, (64, 64)), (1, 2, 64, 64)),
    "conv_separable": (lambda: SpectralConv(3, 3, (8, 7), separable=True), (2, 3, 12, 15)),
    "conv_no_bias": (lambda: SpectralConv(3, 2, (8, 7), bias=False), (2, 3, 12, 15)),
    "conv_up": (lambda: OnOtherGrid(SpectralConv(2, 3, (8, 8)), (18, 21)), (2, 2, 9, 12)),
    "conv_down": (lambda: OnOtherGrid(SpectralConv(2, 3, (8, 8)), (6, 7)), (2, 2, 9, 12)),
    "conv_cp": (
        lambda: SpectralConv(3, 4, (8, 7), weight=CPWeight(3, 4, (8, 7), 5)),
        (2, 3, 12, 15),
    ),
    "conv_tucker": (
        lambda: SpectralConv(3, 4, (8, 7), weight=TuckerWeight(3, 4, (8, 7), 3)),
        (2, 3, 12, 15),
    ),
    "mlp": (lambda: PointwiseMLP(3, 8, 2), (2, 3, 6, 5)),
    "fno_1d": (lambda: FNO(2, 1, (7,), 6, 2, 8), (2, 2, 20)),
    "fno_2d": (lambda: FNO(2, 1, (5, 4), 6, 2, 8, periodic=(True, False)), (2, 2, 12, 10)),
    "fno_3d": (lambda: FNO(1, 2, (3, 4, 3), 4, 1, 4, separable=True), (1, 1, 6, 7, 8)),
}


def case(name):
    build, shape = CASES[name]
    torch.manual_seed(86028121)
    module = build().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)  # biases start at zero
    return module, torch.randn(shape, dtype=torch.float64)


def value_and_gradients(module, u):
    u = u.detach().requires_grad_()
    value = module(u)
    index = torch.arange(value.numel(), dtype=torch.float64, device=u.device)
    cotangent = torch.sin(0.3 * index.square()).to(value.dtype)
    parameters = list(module.parameters())
    gradients = torch.autograd.grad(value, [u, *parameters], cotangent.view(value.shape))
    return value, *gradients


def assert_agreement(results, references, device, rtol):
    for result, expected in zip(results, references, strict=True):
        assert result.device.type == device
        assert_close_to_largest(result, expected, rtol)


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("name", CASES)
def test_equals_the_cpu_with_its_gradients(name, device, dtype):
    module, u = case(name)
    placed = copy.deepcopy(module).to(device, dtype)
    results = value_and_gradients(placed, u.to(device, dtype))
    assert {result.dtype for result in results} == {dtype}
    assert_agreement(results, value_and_gradients(module, u), device, TOLERANCE[dtype])


@pytest.mark.parametrize(("device", "dtype"), PLACES)
def test_second_derivatives_equal_the_cpu(device, dtype):
    module, u = case("conv_2d")

    def second(module, u):
        u = u.detach().requires_grad_()
        weight = module.weight
        first = torch.autograd.grad(module(u).pow(3).sum(), (u, weight), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), (u, weight))

    results = second(copy.deepcopy(module).to(device, dtype), u.to(device, dtype))
    assert_agreement(results, second(module, u), device, 10 * TOLERANCE[dtype])


@pytest.mark.parametrize(("device", "dtype"), HALF_PLACES)
@pytest.mark.parametrize("name", CASES)
def test_half_precision(name, device, dtype):
    module, u = case(name)
    half = copy.deepcopy(module).to(device, dtype)
    results = value_and_gradients(half, u.to(device, dtype))
    assert {result.dtype for result in results} == {dtype}
    rounded = value_and_gradients(
        copy.deepcopy(module).to(dtype).double(), u.to(dtype).double()
    )
    assert_agreement(results, rounded, device, TOLERANCE[dtype])


@pytest.mark.parametrize(("device", "dtype"), HALF_PLACES)
@pytest.mark.parametrize("name", ["conv_2d", "conv_separable", "mlp", "fno_2d"])
def test_autocast(name, device, dtype):
    module, u = case(name)
    single = copy.deepcopy(module).to(device, torch.float32)
    with torch.autocast(device, dtype):
        results = value_and_gradients(single, u.to(device, torch.float32))
    assert {result.dtype for result in results[1:]} == {torch.float32}
    assert_agreement(results, value_and_gradients(module, u), device, 2 * TOLERANCE[dtype])


@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("name", CASES)
def test_never_waits_for_the_device(name, device):
    module, u = case(name)
    module, u = module.to(device, torch.float32), u.to(device, torch.float32)
    results = second_call_does_not_wait(device, lambda: value_and_gradients(module, u))
    assert {result.device.type for result in results} == {device}
