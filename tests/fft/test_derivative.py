import itertools
import math

import pytest
import torch

from sciml.fft.derivative import spectral_derivative
from sciml.fft.resample import fourier_resample


def random_field(shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1732050807)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)


def wave(x, k, length, order, phase):
    """Derivative of sin(2πkx/L + phase)."""
    kappa = 2 * math.pi * k / length
    return kappa**order * torch.sin(kappa * x + phase + order * math.pi / 2)


def line(n, length):
    return torch.arange(n, dtype=torch.float64) * (length / n)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("n", [8, 9, 16, 21])
def test_exact_on_band_limited_lines(n, order):
    length = 1.7
    x, k = line(n, length), (n - 1) // 2
    u = wave(x, k, length, 0, 0.3) + 2 * wave(x, 1, length, 0, 1.1) + 5
    expected = wave(x, k, length, order, 0.3) + 2 * wave(x, 1, length, order, 1.1)
    expected = expected + 5 * (order == 0)
    error = (spectral_derivative(u, [order], [length]) - expected).abs().max()
    assert error <= 2e-13 * expected.abs().max()


@pytest.mark.parametrize("shape", [(9, 8), (8, 7), (6, 6), (7, 9)])
def test_mixed_derivatives_in_two_dimensions(shape):
    lengths = (1.7, 0.6)
    x, y = (line(n, length) for n, length in zip(shape, lengths, strict=True))
    for m, n in itertools.product(range(4), repeat=2):
        u = wave(x, 2, 1.7, 0, 0.2)[:, None] * wave(y, 1, 0.6, 0, 0.7)
        expected = wave(x, 2, 1.7, m, 0.2)[:, None] * wave(y, 1, 0.6, n, 0.7)
        result = spectral_derivative(u.expand(1, 3, *shape), [m, n], lengths)
        scale = expected.abs().max()
        torch.testing.assert_close(result / scale, (expected / scale).expand(1, 3, *shape))


def test_mixed_derivative_in_three_dimensions():
    shape, lengths, orders = (6, 7, 8), (1.0, 2.0, 3.0), (1, 2, 3)
    u, expected = torch.ones(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
    for axis in range(3):
        view = [1, 1, 1]
        view[axis] = -1
        x = line(shape[axis], lengths[axis])
        u = u * wave(x, 2, lengths[axis], 0, axis).view(view)
        expected = expected * wave(x, 2, lengths[axis], orders[axis], axis).view(view)
    result = spectral_derivative(u, orders, lengths)
    assert (result - expected).abs().max() <= 1e-13 * expected.abs().max()


def test_converges_exponentially_on_an_analytic_function():
    # exp(sin x): modes decay faster than any power, so every doubling squares the error.
    errors = []
    for n in (8, 16, 32):
        x = line(n, 2 * math.pi)
        exact = torch.cos(x) * torch.exp(torch.sin(x))
        result = spectral_derivative(torch.exp(torch.sin(x)), [1], [2 * math.pi])
        errors.append((result - exact).abs().max().item())
    assert 1e-4 < errors[0] < 1e-1
    assert errors[1] < 1e-6
    assert errors[2] < 1e-13


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_nyquist_mode_is_that_of_the_interpolant(order):
    # Differentiate on a finer grid, where the mode is resolved, and look at the old points.
    u = random_field((2, 6, 8))
    fine = spectral_derivative(fourier_resample(u, (18, 24)), [order, 0], [1.3, 0.7])
    torch.testing.assert_close(
        spectral_derivative(u, [order, 0], [1.3, 0.7]), fine[:, ::3, ::3]
    )
    fine = spectral_derivative(fourier_resample(u, (18, 24)), [order, order], [1.3, 0.7])
    result = spectral_derivative(u, [order, order], [1.3, 0.7])
    torch.testing.assert_close(result, fine[:, ::3, ::3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_is_kept(dtype):
    u = random_field((2, 6, 5), dtype)
    out = spectral_derivative(u, [1, 2], [7.0, 6.0])
    assert out.dtype == dtype
    expected = spectral_derivative(u.double(), [1, 2], [7.0, 6.0])
    torch.testing.assert_close(out, expected.to(dtype))


def test_order_zero_is_a_copy():
    u = random_field((3, 4))
    out = spectral_derivative(u, [0, 0], [1.0, 1.0])
    assert torch.equal(out, u)
    assert out.data_ptr() != u.data_ptr()


def test_gradient():
    u = random_field((2, 4, 5)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: spectral_derivative(v, [1, 2], [1.0, 2.0]), u, check_forward_ad=True
    )


def test_empty_batch():
    assert spectral_derivative(random_field((0, 5)), [1], [1.0]).shape == (0, 5)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_adjoint_is_the_derivative_itself_up_to_the_sign(order):
    u, v = random_field((2, 3, 8))
    inner = (spectral_derivative(u, [order], [1.3]) * v).sum()
    expected = (-1) ** order * (u * spectral_derivative(v, [order], [1.3])).sum()
    torch.testing.assert_close(inner, expected)


def test_bad_input_is_named():
    u = random_field((4, 4))
    for orders, lengths in [
        ((1,), (1.0, 2.0)),
        ((-1,), (1.0,)),
        ((), ()),
        ((1,) * 3, (1.0,) * 3),
    ]:
        with pytest.raises(ValueError, match="spectral_derivative: expected an order >= 0"):
            spectral_derivative(u, orders, lengths)
    for length in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="a positive length"):
            spectral_derivative(u, (0,), (length,))
    with pytest.raises(
        ValueError, match=r"factors that torch.float32 can hold, got exp\(143\)"
    ):
        spectral_derivative(u.float(), (20,), (0.01,))
    with pytest.raises(TypeError, match=r"spectral_derivative: expected a real .*torch.int64"):
        spectral_derivative(torch.arange(4), (1,), (1.0,))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cpu_equals_cuda_without_synchronisation():
    u = random_field((2, 8, 9))
    on_gpu = u.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = spectral_derivative(on_gpu, [1, 3], [1.0, 2.0])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(result.cpu(), spectral_derivative(u, [1, 3], [1.0, 2.0]))
