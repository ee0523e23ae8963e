import numpy as np
import pytest
import torch

from sciml.fft import transforms
from sciml.fft.transforms import drop_imaginary_edges, irfftn, rfftn


def random_field(shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1618033989)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize("shape", [(6,), (7,), (6, 5), (5, 8), (4, 5, 6), (3, 7, 5)])
def test_matches_numpy_and_inverts(shape, norm):
    u = random_field((1, *shape))
    axes = tuple(range(1, u.ndim))
    spectrum = rfftn(u, axes, norm=norm)
    np.testing.assert_allclose(
        spectrum.numpy(), np.fft.rfftn(u.numpy(), axes=axes, norm=norm), atol=1e-13
    )
    back = irfftn(spectrum, axes, shape, norm=norm)
    assert back.dtype == torch.float64
    torch.testing.assert_close(back, u, rtol=0, atol=1e-14)


def test_last_named_axis_is_halved_wherever_it_stands():
    u = random_field((6, 3, 5))
    spectrum = rfftn(u, (2, 0))
    assert spectrum.shape == (4, 3, 5)
    torch.testing.assert_close(spectrum, torch.fft.rfftn(u, dim=(2, 0)))
    torch.testing.assert_close(irfftn(spectrum, (2, 0), (5, 6)), u)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_returned(dtype):
    u = random_field((2, 6, 5), dtype)
    spectrum = rfftn(u, (1, 2))
    assert spectrum.dtype == torch.complex64
    torch.testing.assert_close(spectrum, torch.fft.rfftn(u.float(), dim=(1, 2)))
    back = irfftn(spectrum, (1, 2), (6, 5), dtype=dtype)
    assert back.dtype == dtype
    torch.testing.assert_close(back, u)


def test_single_precision_stays_single():
    spectrum = rfftn(random_field((4, 4), torch.float32), (0, 1))
    assert spectrum.dtype == torch.complex64
    assert irfftn(spectrum, (0, 1), (4, 4)).dtype == torch.float32


@pytest.mark.parametrize("lengths", [(4, 5), (3, 6)])
def test_gradients(lengths):
    u = random_field((2, *lengths)).requires_grad_()
    spectrum = rfftn(u.detach(), (1, 2)).requires_grad_()
    for function, argument in [
        (lambda v: rfftn(v, (1, 2)), u),
        (lambda s: irfftn(s, (1, 2), lengths), spectrum),
        (lambda s: drop_imaginary_edges(s, 2, lengths[1]), spectrum),
    ]:
        assert torch.autograd.gradcheck(function, argument, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(function, argument)


def test_batching_by_vmap():
    u = random_field((3, 4, 5))
    spectra = torch.func.vmap(lambda v: rfftn(v, (0, 1)))(u)
    torch.testing.assert_close(spectra, rfftn(u, (1, 2)))
    back = torch.func.vmap(lambda s: irfftn(s, (0, 1), (4, 5)))(spectra)
    torch.testing.assert_close(back, u)


def real_part_of_the_full_inverse(spectrum, shape):
    """Real part of the complex inverse, each mode counted as often as the field has it."""
    n = shape[-1]
    full = spectrum.new_zeros(shape)
    full[..., : n // 2 + 1] = spectrum
    full[..., 1 : (n + 1) // 2] *= 2
    return torch.fft.ifftn(full).real


@pytest.mark.parametrize("shape", [(6,), (7,), (4, 6), (5, 6), (6, 5), (3, 4, 6)])
def test_field_of_any_spectrum_is_the_real_part(shape):
    half = (*shape[:-1], shape[-1] // 2 + 1)
    spectrum = torch.complex(random_field(half), random_field((*half, 1))[..., 0].flip(-1))
    axes = range(len(shape))
    expected = real_part_of_the_full_inverse(spectrum, shape)
    torch.testing.assert_close(irfftn(spectrum, axes, shape), expected)
    # What other devices do beforehand, for libraries that would read those parts.
    rows = spectrum
    if len(shape) > 1:
        rows = torch.fft.ifftn(spectrum, dim=tuple(axes)[:-1])
    edges = drop_imaginary_edges(rows, -1, shape[-1])
    assert not edges.imag[..., 0].any()
    assert edges.imag[..., -1].any() == (shape[-1] % 2 == 1)
    torch.testing.assert_close(torch.fft.irfft(edges, shape[-1]), expected)


def test_empty_batch():
    u = random_field((0, 4, 6)).requires_grad_()
    spectrum = rfftn(u, (1, 2))
    assert spectrum.shape == (0, 4, 4)
    assert spectrum.dtype == torch.complex128
    back = irfftn(spectrum, (1, 2), (4, 6), dtype=torch.float32)
    assert back.shape == (0, 4, 6)
    assert back.dtype == torch.float32
    back.sum().backward()
    assert u.grad.shape == u.shape


def test_bad_axes_and_lengths_are_named():
    u = random_field((4, 6))
    with pytest.raises(ValueError, match=r"rfftn: expected distinct axes .*\(0, 0\)"):
        rfftn(u, (0, 0))
    with pytest.raises(ValueError, match=r"rfftn: expected distinct axes .*\(2,\)"):
        rfftn(u, (2,))
    with pytest.raises(ValueError, match=r"rfftn: expected distinct axes .*\(\)"):
        rfftn(u, ())
    with pytest.raises(ValueError, match=r"irfftn: expected \[4, 5\] bins .*got \[4, 4\]"):
        irfftn(rfftn(u, (0, 1)), (0, 1), (4, 8))
    with pytest.raises(ValueError, match=r"irfftn: expected \[1\] bins .*lengths \(0,\)"):
        irfftn(rfftn(u, (0,))[:1], (0,), (0,))
    with pytest.raises(ValueError, match=r"rfftn: expected at least 1 point .*\(3, 0\)"):
        rfftn(random_field((3, 0)), (1,))


def test_unknown_norms_are_named():
    # Below the annotations, which the test run checks first.
    with pytest.raises(ValueError, match=r"rfftn: expected norm to be one of .*'unitary'"):
        transforms._check_norm("rfftn", "unitary")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("shape", [(15, 16), (16, 15)])
def test_cpu_equals_cuda_on_any_spectrum_without_synchronisation(shape):
    u = random_field((2, *shape))
    garbage = torch.complex(random_field((2, shape[0], shape[1] // 2 + 1)), u.flip(2)[..., :1])
    u_gpu, garbage_gpu = u.cuda(), garbage.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        spectrum = rfftn(u_gpu, (1, 2))
        back = irfftn(spectrum, (1, 2), shape)
        real_part = irfftn(garbage_gpu, (1, 2), shape)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(spectrum.cpu(), rfftn(u, (1, 2)))
    torch.testing.assert_close(back.cpu(), u)
    torch.testing.assert_close(real_part.cpu(), irfftn(garbage, (1, 2), shape))


def test_wrong_kinds_of_numbers_are_refused():
    with pytest.raises(TypeError, match=r"rfftn: expected a real floating-point .*torch.int64"):
        rfftn(torch.arange(4), (0,))
    with pytest.raises(TypeError, match=r"rfftn: expected .*got torch.complex64"):
        rfftn(torch.zeros(4, dtype=torch.complex64), (0,))
    with pytest.raises(
        TypeError, match=r"irfftn: expected a complex spectrum .*got torch.float32"
    ):
        irfftn(torch.zeros(3), (0,), (4,))
    with pytest.raises(TypeError, match=r"irfftn: expected a floating dtype .*torch.int64"):
        irfftn(torch.zeros(3, dtype=torch.complex64), (0,), (4,), dtype=torch.int64)
