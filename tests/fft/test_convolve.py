import numpy as np
import pytest
import scipy.signal
import torch

from sciml.fft.convolve import circular_convolve, convolve, dealiased_product, fast_length
from sciml.fft.resample import fourier_resample


def random_field(shape, dtype=torch.float64, seed=2236067977):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)


def direct_sums(u, kernel):
    """All n + m - 1 sums along one axis."""
    out = torch.zeros(len(u) + len(kernel) - 1, dtype=u.dtype)
    for i in range(len(u)):
        for j in range(len(kernel)):
            out[i + j] += u[i] * kernel[j]
    return out


@pytest.mark.parametrize(("n", "m"), [(7, 3), (8, 4), (5, 5), (1, 1), (6, 1), (3, 8), (13, 2)])
def test_equals_direct_sums(n, m):
    u, kernel = random_field((n,)), random_field((m,), seed=577215665)
    full = direct_sums(u, kernel)
    torch.testing.assert_close(convolve(u, kernel), full, rtol=0, atol=1e-13)
    start = (m - 1) // 2
    torch.testing.assert_close(convolve(u, kernel, "same"), full[start : start + n])
    if m <= n:
        torch.testing.assert_close(convolve(u, kernel, "valid"), full[m - 1 : n])


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(
    ("shape", "kernel_shape", "axes"),
    [
        ((1, 9, 8), (1, 3, 4), (1, 2)),
        ((2, 9, 8), (1, 3, 4), (-1, -2)),
        ((9, 2, 8), (4, 3, 3), (0, 2)),
        ((6, 7, 5), (2, 3, 4), (0, 1, 2)),
    ],
)
def test_equals_scipy_on_any_axes(shape, kernel_shape, axes, mode):
    batch = [axis for axis in range(len(shape)) if axis not in [a % len(shape) for a in axes]]
    kernel_shape = [1 if axis in batch else size for axis, size in enumerate(kernel_shape)]
    u, kernel = random_field(shape), random_field(kernel_shape, seed=577215665)
    expected = scipy.signal.fftconvolve(u.numpy(), kernel.numpy(), mode, axes)
    np.testing.assert_allclose(convolve(u, kernel, mode, axes).numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("shape", [(1, 5), (2, 8)])
def test_circular_equals_direct_sums(shape):
    u, kernel = random_field(shape), random_field(shape[1:], seed=577215665)
    n = shape[1]
    index = (torch.arange(n)[:, None] - torch.arange(n)) % n
    expected = u[:, index] @ kernel
    torch.testing.assert_close(circular_convolve(u, kernel[None]), expected)


def test_circular_in_two_dimensions_is_separable():
    u = random_field((5, 2, 6))
    first, last = random_field((5, 1, 1), seed=3), random_field((1, 1, 6), seed=5)
    expected = circular_convolve(circular_convolve(u, first, (0,)), last, (2,))
    torch.testing.assert_close(circular_convolve(u, first * last, (2, 0)), expected)


def band_limited(shape, highest, seed):
    """A field on `shape` with random modes up to `highest` per axis."""
    coarse = random_field([2 * highest + 1] * len(shape), seed=seed)
    return fourier_resample(coarse, shape)


@pytest.mark.parametrize("shape", [(16,), (15,), (12, 9), (8, 10, 7)])
def test_dealiased_product_is_the_truncated_exact_one(shape):
    highest = (min(shape) - 1) // 2
    a, b = band_limited(shape, highest, 7), band_limited(shape, highest, 11)
    fine = [4 * n for n in shape]
    exact = fourier_resample(fourier_resample(a, fine) * fourier_resample(b, fine), shape)
    result = dealiased_product(a, b, range(len(shape)))
    torch.testing.assert_close(result, exact, rtol=0, atol=1e-13)
    assert (a * b - exact).abs().max() > 1e-2


def test_dealiased_product_is_plain_where_nothing_aliases():
    a, b = band_limited((2, 16), 3, 7), band_limited((2, 16), 4, 11)
    torch.testing.assert_close(dealiased_product(a, b), a * b)
    torch.testing.assert_close(dealiased_product(a.T, b.T, (0,)), a.T * b.T)


@pytest.mark.parametrize("n", [4, 6, 8, 10, 16])
def test_dealiased_product_with_full_nyquist_modes(n):
    a, b = random_field((3, n), seed=7), random_field((3, n), seed=11)
    fine = fourier_resample(a, (4 * n,)) * fourier_resample(b, (4 * n,))
    torch.testing.assert_close(dealiased_product(a, b), fourier_resample(fine, (n,)))


def test_fast_length_is_the_smallest():
    smooth = sorted(2**a * 3**b * 5**c for a in range(13) for b in range(9) for c in range(7))
    for minimum in range(1, 3000):
        assert fast_length(minimum) == next(n for n in smooth if n >= minimum)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_is_kept(dtype):
    u, kernel = random_field((2, 9), dtype), random_field((2, 9), dtype, seed=577215665)
    for function in (convolve, circular_convolve, dealiased_product):
        out = function(u, kernel)
        assert out.dtype == dtype
        expected = function(u.double(), kernel.double()).to(dtype)
        torch.testing.assert_close(
            out, expected, rtol=2e-2 if dtype != torch.float32 else 1e-5, atol=1e-5
        )


def test_gradients():
    u, kernel = (
        random_field((2, 5)).requires_grad_(),
        random_field((2, 5), seed=3).requires_grad_(),
    )
    for function in (convolve, circular_convolve, dealiased_product):
        assert torch.autograd.gradcheck(function, (u, kernel), check_forward_ad=True)


def test_bad_input_is_named():
    u = random_field((2, 5))
    with pytest.raises(TypeError, match=r"convolve: expected a real .*torch.int64"):
        convolve(u, torch.ones(2, 5, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"one dtype, got torch.float64 and torch.float32"):
        circular_convolve(u, u.float())
    with pytest.raises(
        ValueError, match=r"broadcast outside axes \(-1,\), got \(2, 5\) and \(3, 5\)"
    ):
        convolve(u, random_field((3, 5)))
    with pytest.raises(ValueError, match=r"broadcast outside .*got \(2, 5\) and \(5,\)"):
        convolve(u, random_field((5,)))
    with pytest.raises(ValueError, match=r"convolve: expected distinct axes"):
        convolve(u, u, "full", (2,))
    with pytest.raises(ValueError, match=r"no longer than the field in mode 'valid'"):
        convolve(u, random_field((2, 6)), "valid")
    with pytest.raises(ValueError, match=r"at least 1 point on axes \(-1,\)"):
        convolve(u, random_field((2, 0)))
    with pytest.raises(ValueError, match=r"kernel of \[5\] points .*shape \(2, 4\)"):
        circular_convolve(u, random_field((2, 4)))
    with pytest.raises(ValueError, match=r"dealiased_product: .* got \(2, 5\) and \(2, 4\)"):
        dealiased_product(u, random_field((2, 4)))
    with pytest.raises(ValueError, match="fast_length: expected a length of at least 1, got 0"):
        fast_length(0)


@pytest.mark.parametrize("function", [convolve, circular_convolve, dealiased_product])
def test_empty_batch_and_vmap(function):
    u, kernel = random_field((3, 6)), random_field((3, 6), seed=577215665)
    assert function(u[:0], kernel[:0]).shape[0] == 0
    batched = torch.func.vmap(function)(u, kernel)
    torch.testing.assert_close(batched, function(u, kernel))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cpu_equals_cuda_without_synchronisation():
    u, kernel = random_field((2, 9, 8)), random_field((2, 9, 8), seed=577215665)
    u_gpu, kernel_gpu = u.cuda(), kernel.cuda()
    for function in (convolve, circular_convolve, dealiased_product):
        torch.cuda.set_sync_debug_mode("error")
        try:
            result = function(u_gpu, kernel_gpu)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.testing.assert_close(result.cpu(), function(u, kernel))
