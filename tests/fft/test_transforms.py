import numpy as np
import pytest
import torch

from sciml.fft.transforms import irfftn, rfftn


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


def test_gradients():
    u = random_field((2, 4, 5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: rfftn(v, (1, 2)), u)
    spectrum = rfftn(u.detach(), (1, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: irfftn(s, (1, 2), (4, 5)), spectrum)


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cpu_equals_cuda():
    u = random_field((2, 15, 16))
    on_gpu = rfftn(u.cuda(), (1, 2))
    torch.testing.assert_close(on_gpu.cpu(), rfftn(u, (1, 2)))
    torch.testing.assert_close(irfftn(on_gpu, (1, 2), (15, 16)).cpu(), u)


def test_wrong_kinds_of_numbers_are_refused():
    with pytest.raises(TypeError, match=r"rfftn: expected a real floating-point .*torch.int64"):
        rfftn(torch.arange(4), (0,))
    with pytest.raises(TypeError, match=r"rfftn: expected .*got torch.complex64"):
        rfftn(torch.zeros(4, dtype=torch.complex64), (0,))
    with pytest.raises(
        TypeError, match=r"irfftn: expected a complex spectrum, got torch.float32"
    ):
        irfftn(torch.zeros(3), (0,), (4,))
