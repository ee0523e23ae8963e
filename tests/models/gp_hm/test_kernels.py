"""Kernels against JAX autodiff, against 60-digit arithmetic, and under autograd."""

import math

import numpy as np
import pytest
import torch

from sciml.models.gp_hm.assembly import cross_matrix, toeplitz_matrices, uniform_spacing
from sciml.models.gp_hm.kernels import (
    GM,
    KERNELS,
    STM,
    MixtureParameters,
    initial_parameters,
    kernel_named,
)
from tests.golden import golden

GOLDEN_NAMES = {"stm": "matern52_cos", "gm": "se_cos", "matern": "matern52", "se": "se"}
BLOCKS = {
    "K": (0, 0),
    "D_x1_kappa": (1, 0),
    "DD_x1_kappa": (2, 0),
    "D_y1_kappa": (0, 1),
    "DD_y1_kappa": (0, 2),
    "D_x1_D_y1_kappa": (1, 1),
    "D_x1_DD_y1_kappa": (1, 2),
    "DD_x1_DD_y1_kappa": (2, 2),
}


def tensor(array):
    return torch.from_numpy(np.array(array, dtype=np.float64))


def parameters_of(archive, weights="log_w"):
    return MixtureParameters(
        tensor(archive[weights]), tensor(archive["log_ls"]), tensor(archive["freq"])
    )


def some_parameters(**options):
    return MixtureParameters(
        torch.tensor([-0.7, -1.6, 0.3], dtype=torch.float64, **options),
        torch.tensor([-0.7, 0.3, 1.1], dtype=torch.float64, **options),
        torch.tensor([0.0, 1.25, -2.5], dtype=torch.float64, **options),
    )


@pytest.mark.parametrize("name", KERNELS)
def test_blocks_equal_automatic_differentiation(name):
    archive = golden("gp_hm_kernels.npz")
    parameters, kernel = parameters_of(archive), KERNELS[name]
    nodes, scattered = tensor(archive["x"]), tensor(archive["xs"])
    for block, (first, second) in BLOCKS.items():
        order, sign = first + second, (-1) ** second
        made = toeplitz_matrices(kernel, parameters, 11, uniform_spacing(nodes), [order])[0]
        crossed = cross_matrix(kernel, parameters, scattered, nodes, order)
        for matrix, suffix in ((made, ""), (crossed, "_cross")):
            reference = tensor(archive[f"{GOLDEN_NAMES[name]}__{block}{suffix}"])
            error = (sign * matrix - reference).abs().max() / reference.abs().max()
            assert error < 1e-12, (block, suffix)


@pytest.mark.parametrize("name", KERNELS)
def test_derivatives_equal_sixty_digits(name):
    archive = golden("gp_hm_mpmath.npz")
    parameters = MixtureParameters(
        tensor(archive["w"]).log(), tensor(archive["log_ls"]), tensor(archive["freq"])
    )
    made = KERNELS[name].derivatives(parameters, tensor(archive["tau"]), range(5))
    reference = tensor(archive[GOLDEN_NAMES[name]]).T
    errors = (made - reference).abs().amax(1) / reference.abs().amax(1)
    assert float(errors.max()) < 1e-14


@pytest.mark.parametrize("name", KERNELS)
def test_each_order_is_the_lag_derivative_of_the_one_before_also_at_zero(name):
    lags = torch.tensor([-0.3, 0.0, 1e-9, 0.2], dtype=torch.float64, requires_grad=True)
    values = KERNELS[name].derivatives(some_parameters(), lags, range(5))
    for order in range(4):
        (slope,) = torch.autograd.grad(values[order].sum(), lags, retain_graph=True)
        scale = float(values[order + 1].detach().abs().max())
        torch.testing.assert_close(slope, values[order + 1], rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_in_the_parameters(name):
    parameters = some_parameters(requires_grad=True)
    lags = torch.tensor([-0.31, 0.0, 0.17], dtype=torch.float64)

    def derivatives(*tensors):
        return KERNELS[name].derivatives(MixtureParameters(*tensors), lags, [0, 1, 2, 4])

    assert torch.autograd.gradcheck(derivatives, parameters.tensors, rtol=1e-5, atol=1e-6)


def test_hyper_gradients_are_the_closed_forms():
    parameters = some_parameters(requires_grad=True)
    lags = torch.tensor([0.23], dtype=torch.float64)
    (value,) = STM.derivatives(parameters, lags, [0])
    by_weight, by_scale, by_frequency = torch.autograd.grad(value.sum(), parameters.tensors)
    weights, rate = parameters.log_weights.exp(), math.sqrt(5) * parameters.log_scales.exp()
    phase, s = 2 * math.pi * parameters.frequencies * 0.23, rate * 0.23
    envelope = (1 + s + s**2 / 3) * torch.exp(-s)
    torch.testing.assert_close(by_weight, weights * envelope * phase.cos())
    damped = -(s**2) / 3 * (1 + s) * torch.exp(-s)
    torch.testing.assert_close(by_scale, weights * damped * phase.cos())
    turned = -2 * math.pi * 0.23 * phase.sin()
    torch.testing.assert_close(by_frequency, weights * envelope * turned)


def test_curvature_at_zero():
    parameters = some_parameters()
    zero = torch.zeros(1, dtype=torch.float64)
    weights, scales = parameters.log_weights.exp(), parameters.log_scales.exp()
    squares = (2 * math.pi * parameters.frequencies) ** 2
    student = STM.derivatives(parameters, zero, [2])[0, 0]
    gaussian = GM.derivatives(parameters, zero, [2])[0, 0]
    torch.testing.assert_close(student, -(weights * (5 * scales**2 / 3 + squares)).sum())
    torch.testing.assert_close(gaussian, -(weights * (2 * scales + squares)).sum())


def test_student_mixture_is_the_transform_of_student_bumps():
    """The spectrum of the Matérn-5/2 envelope is a Student t of 5 degrees, scale λ / (2π)."""
    scale = 0.8
    frequencies = torch.linspace(-60, 60, 480001, dtype=torch.float64)
    bump = torch.distributions.StudentT(5.0, 1.7, scale / (2 * math.pi)).log_prob(frequencies)
    lag = 0.37
    waves = torch.cos(2 * math.pi * frequencies * lag)
    transform = torch.trapezoid(bump.exp() * waves, frequencies)
    one = torch.ones(1, dtype=torch.float64)
    parameters = MixtureParameters(0 * one, math.log(scale) * one, 1.7 * one)
    value = STM.derivatives(parameters, lag * one, [0])[0, 0]
    torch.testing.assert_close(value, transform, rtol=1e-6, atol=1e-8)


def test_toeplitz_matrices_are_symmetric_in_even_orders_and_equal_the_direct_ones():
    nodes = torch.linspace(-0.4, 1.3, 13, dtype=torch.float64)
    matrices = toeplitz_matrices(STM, some_parameters(), 13, uniform_spacing(nodes), range(5))
    for order, matrix in enumerate(matrices):
        torch.testing.assert_close(matrix.T, (-1) ** order * matrix, rtol=0, atol=0)
        direct = cross_matrix(STM, some_parameters(), nodes, nodes, order)
        scale = float(direct.abs().max())
        torch.testing.assert_close(matrix, direct, rtol=0, atol=1e-12 * scale)


def test_initial_parameters_are_the_published_ones():
    parameters = initial_parameters(30, 20.0)
    assert float(parameters.log_weights.exp().sum()) == pytest.approx(1.0)
    assert parameters.frequencies[0] == 0
    assert parameters.frequencies[-1] == 20
    assert not parameters.log_scales.any()


def test_errors_say_what_to_do():
    lags = torch.zeros(1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"expected orders from 0 to 4, got \(2, 5\)"):
        STM.derivatives(some_parameters(), lags, [2, 5])
    with pytest.raises(ValueError, match="expected at least one component, got 0"):
        initial_parameters(0, 20.0)
    with pytest.raises(ValueError, match=r"expected one of \['gm', .*\], got 'rbf'"):
        kernel_named("rbf")
    with pytest.raises(ValueError, match="expected uniform nodes, got steps from 1 to 2"):
        uniform_spacing(torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64))
    with pytest.raises(ValueError, match="expected at least 2 nodes, got 1"):
        uniform_spacing(torch.zeros(1, dtype=torch.float64))
