"""Every transform on a CUDA device: equal to the CPU, gradients too, and never waiting."""

import pytest
import torch

from sciml.fft.convolve import circular_convolve, convolve, dealiased_product
from sciml.fft.derivative import spectral_derivative
from sciml.fft.resample import fourier_resample, resample
from sciml.fft.transforms import irfftn, rfftn
from sciml.fft.trigonometric import dct, dst, idct, idst
from sciml.fft.truncated import analyse, synthesise
from sciml.fft.wavenumbers import wavenumber_grid
from tests.devices import (
    ACCELERATORS,
    HALF_PLACES,
    PLACES,
    assert_close_to_largest,
    second_call_does_not_wait,
)

TOLERANCE = {
    torch.float16: 1e-2,
    torch.bfloat16: 4e-2,
    torch.float32: 1e-5,
    torch.float64: 1e-13,
}
GRIDS = [(33,), (64,), (130,), (16, 15), (64, 128), (256, 12), (6, 9, 8)]
# Real FFT, matrix, and matrix folded in half: even, odd and prime-period lengths.
LENGTHS = [(2, 7, 32), (3, 65), (3, 130), (2, 108), (2, 113)]


def truncation(backend, shape):
    modes = [max(1, n // 3) for n in shape]

    def there_and_back(u):
        return synthesise(analyse(u, modes, backend=backend), shape, backend=backend)

    return there_and_back


def spectrum(u):
    return torch.view_as_real(rfftn(u, (1, 2)))


def filtered(u):
    axes, lengths = (-2, -1), tuple(u.shape[-2:])
    bins = rfftn(u, axes)
    kappa = wavenumber_grid(lengths, (1.0, 2.0), device=u.device)
    decay = torch.exp(-0.01 * (kappa[0].square() + kappa[1].square()))
    return irfftn(bins * decay, axes, lengths, dtype=u.dtype)


def in_range(function, *arguments, **options):
    return lambda u: function(u, *arguments, **options)


# name -> (function of one field, shape of the field)
CASES = {
    "rfftn": (spectrum, (2, 15, 16)),
    "irfftn": (filtered, (2, 15, 16)),
    "derivative": (in_range(spectral_derivative, [1, 3], [1.0, 2.0]), (2, 8, 9)),
    "fourier_resample_up": (in_range(fourier_resample, (12, 18)), (2, 8, 9)),
    "fourier_resample_down": (in_range(fourier_resample, (6, 5)), (2, 8, 9)),
    "circular_convolve": (lambda u: circular_convolve(u, u.flip(0), (1, 2)), (2, 9, 8)),
    "convolve": (lambda u: convolve(u, u[..., :3], "same"), (2, 9, 8)),
    "dealiased_product": (lambda u: dealiased_product(u, u.flip(0), (1, 2)), (2, 9, 8)),
}
CASES |= {
    f"resample_{boundary}_{grid}": (
        in_range(resample, (size, 9), boundary=boundary, grid=grid),
        (2, 12, 9),
    )
    for boundary, grid, size in [
        ("periodic", "cell", 7),
        ("neumann", "vertex", 17),
        ("neumann", "cell", 8),
        ("dirichlet", "interior", 17),
        ("dirichlet", "vertex", 8),
        ("dirichlet", "cell", 15),
    ]
}
CASES |= {
    f"{transform.__name__}_{kind}_{shape[-1]}": (in_range(transform, kind, (-1, 0)), shape)
    for transform in (dct, idct, dst, idst)
    for kind in (1, 2, 3)
    for shape in LENGTHS
}
CASES |= {
    f"dct_ortho_{kind}": (in_range(dct, kind, (0, 1), norm="ortho"), (130, 9))
    for kind in (1, 2, 3)
}
CASES |= {
    f"truncated_{backend}_{'x'.join(map(str, shape))}": (
        truncation(backend, shape),
        (5, *shape),
    )
    for backend in ("matrix", "fft")
    for shape in GRIDS
}


def field(shape):
    generator = torch.Generator().manual_seed(271828183)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def value_and_gradient(function, u):
    u = u.detach().requires_grad_()
    value = function(u)
    # A cotangent with all frequencies, made on the device.
    index = torch.arange(value.numel(), dtype=torch.float64, device=u.device)
    cotangent = torch.sin(0.3 * index.square()).to(value.dtype)
    (gradient,) = torch.autograd.grad(value, u, cotangent.view(value.shape))
    return value, gradient


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_cpu_with_its_gradient(case, device, dtype):
    function, shape = CASES[case]
    u = field(shape)
    results = value_and_gradient(function, u.to(device, dtype))
    for result, expected in zip(results, value_and_gradient(function, u), strict=True):
        assert (result.device.type, result.dtype) == (device, dtype)
        assert_close_to_largest(result, expected, 3 * TOLERANCE[dtype])


@pytest.mark.parametrize(("device", "dtype"), HALF_PLACES)
@pytest.mark.parametrize("case", [case for case in CASES if case not in ("rfftn", "irfftn")])
def test_half_precision_keeps_its_dtype(case, device, dtype):
    function, shape = CASES[case]
    u = field(shape).to(dtype)
    results = value_and_gradient(function, u.to(device))
    for result, expected in zip(results, value_and_gradient(function, u.double()), strict=True):
        assert (result.device.type, result.dtype) == (device, dtype)
        assert_close_to_largest(result, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("case", CASES)
def test_never_waits_for_the_device(case, device):
    function, shape = CASES[case]
    u = field(shape).to(device, torch.float32)
    results = second_call_does_not_wait(device, lambda: value_and_gradient(function, u))
    assert {result.device.type for result in results} == {device}
