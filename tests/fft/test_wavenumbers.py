import math

import numpy as np
import pytest
import torch

from sciml.fft.transforms import irfftn, rfftn
from sciml.fft.wavenumbers import wavenumber_grid, wavenumbers


@pytest.mark.parametrize("length", [1.0, 2 * math.pi, 0.37])
@pytest.mark.parametrize("n", [1, 2, 5, 8, 9])
def test_matches_numpy(n, length):
    expected = 2 * math.pi * np.fft.fftfreq(n, d=length / n)
    np.testing.assert_allclose(wavenumbers(n, length).numpy(), expected, rtol=1e-15)
    expected = 2 * math.pi * np.fft.rfftfreq(n, d=length / n)
    np.testing.assert_allclose(wavenumbers(n, length, half=True).numpy(), expected, rtol=1e-15)


@pytest.mark.parametrize("shape", [(9, 8), (8, 7)])
def test_differentiates_a_band_limited_field(shape):
    lengths = (1.7, 0.6)
    x, y = (
        torch.arange(n, dtype=torch.float64) * (length / n)
        for n, length in zip(shape, lengths, strict=True)
    )
    a, b = 2 * math.pi * 2 / lengths[0], 2 * math.pi * 3 / lengths[1]
    u = torch.sin(a * x)[:, None] * torch.cos(b * y)
    kx, ky = wavenumber_grid(shape, lengths)
    spectrum = rfftn(u, (0, 1))
    u_x = irfftn(1j * kx * spectrum, (0, 1), shape)
    u_y = irfftn(1j * ky * spectrum, (0, 1), shape)
    torch.testing.assert_close(u_x, a * torch.cos(a * x)[:, None] * torch.cos(b * y))
    torch.testing.assert_close(u_y, -b * torch.sin(a * x)[:, None] * torch.sin(b * y))


def test_grid_broadcasts_over_the_half_spectrum():
    grid = wavenumber_grid((4, 5, 6), (1.0, 1.0, 1.0), dtype=torch.float32)
    assert [tuple(kappa.shape) for kappa in grid] == [(4, 1, 1), (1, 5, 1), (1, 1, 4)]
    assert all(kappa.dtype == torch.float32 for kappa in grid)


def test_bad_arguments_are_named():
    with pytest.raises(TypeError, match=r"wavenumbers: expected a floating dtype.*torch.int64"):
        wavenumbers(4, 1.0, dtype=torch.int64)
    with pytest.raises(ValueError, match="wavenumbers: expected num_points >= 1"):
        wavenumbers(0, 1.0)
    with pytest.raises(ValueError, match=r"length=-1\.0"):
        wavenumbers(4, -1.0)
    with pytest.raises(ValueError, match="wavenumber_grid: expected one length per axis"):
        wavenumber_grid((4, 4), (1.0,))
