import math

import pytest
import torch

from sciml.fft.resample import fourier_resample


def naive_matrix(n, m):
    """Dense trigonometric interpolation from n to m points, modes above min(n, m)/2 dropped."""
    kept = min(n, m)
    j, i = torch.arange(n, dtype=torch.float64), torch.arange(m, dtype=torch.float64)
    matrix = torch.zeros(m, n, dtype=torch.float64)
    for k in range(-(n // 2), n // 2 + 1):
        weight = 1.0
        if n % 2 == 0 and abs(k) == n // 2:
            weight = 0.5  # the Nyquist mode of the old grid stands for both signs
        if 2 * abs(k) > kept:
            continue
        phase = 2 * math.pi * k * (i[:, None] / m - j[None, :] / n)
        matrix += weight * torch.cos(phase) / n
    return matrix


def random_field(shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2718281829)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)


SIZES = [(4, 6), (6, 4), (5, 8), (8, 5), (6, 9), (9, 6), (5, 7), (7, 5), (8, 8), (2, 3), (1, 4)]


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_one_axis_equals_the_dense_interpolant(n, m):
    u = random_field((3, n))
    torch.testing.assert_close(
        fourier_resample(u, (m,)), u @ naive_matrix(n, m).T, rtol=0, atol=1e-14
    )


def test_several_axes_are_a_tensor_product():
    u = random_field((1, 2, 4, 7, 6))
    expected = torch.einsum(
        "bcxyz,ix,jy,kz->bcijk", u, naive_matrix(4, 9), naive_matrix(7, 4), naive_matrix(6, 8)
    )
    torch.testing.assert_close(fourier_resample(u, (9, 4, 8)), expected)


def band_limited(shape):
    """Highest mode 2 on each axis."""
    grids = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) / n for n in shape), indexing="ij"
    )
    u = torch.ones(shape, dtype=torch.float64)
    for axis, x in enumerate(grids):
        u = u * (0.3 + torch.sin(2 * math.pi * 2 * x + axis) + torch.cos(2 * math.pi * x))
    return u


@pytest.mark.parametrize(
    ("old", "new"),
    [((6,), (11,)), ((11,), (6,)), ((5, 8), (12, 7)), ((8, 9), (5, 6)), ((5, 6, 7), (8, 5, 6))],
)
def test_band_limited_fields_are_exact(old, new):
    torch.testing.assert_close(
        fourier_resample(band_limited(old), new), band_limited(new), rtol=0, atol=1e-13
    )


def test_refinement_keeps_shared_points_and_round_trips():
    u = random_field((2, 6, 5))
    fine = fourier_resample(u, (12, 15))
    torch.testing.assert_close(fine[:, ::2, ::3], u)
    torch.testing.assert_close(fourier_resample(fine, (6, 5)), u)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_is_kept(dtype):
    u = random_field((2, 6), dtype)
    out = fourier_resample(u, (9,))
    assert out.dtype == dtype
    torch.testing.assert_close(out, fourier_resample(u.double(), (9,)).to(dtype))


def test_gradient():
    u = random_field((2, 4, 5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: fourier_resample(v, (6, 4)), u)


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"fourier_resample: expected 1 to 2 .*\(4, 4, 4\)"):
        fourier_resample(random_field((4, 4)), (4, 4, 4))
    with pytest.raises(ValueError, match=r"expected 1 to 2 positive sizes .*\(0,\)"):
        fourier_resample(random_field((4, 4)), (0,))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cpu_equals_cuda():
    u = random_field((2, 8, 9))
    torch.testing.assert_close(
        fourier_resample(u.cuda(), (12, 6)).cpu(), fourier_resample(u, (12, 6))
    )


def test_integers_are_refused():
    with pytest.raises(
        TypeError, match=r"expected a real floating-point field, got torch.int64"
    ):
        fourier_resample(torch.arange(4), (8,))
