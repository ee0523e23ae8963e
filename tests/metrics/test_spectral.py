import math

import pytest
import torch

from sciml.metrics.spatial import relative_l2
from sciml.metrics.spectral import banded_spectral_error, radial_spectrum

GRIDS = [((16,), (1.0,)), ((9,), (2.5,)), ((8, 12), (1.0, 3.0)), ((7, 8), (1.0, 1.0)),
         ((9, 5), (2.0, 1.0)), ((6, 5, 8), (1.0, 1.0, 2.0))]  # fmt: skip


def field(*shape, dtype=torch.float64, seed=71_993):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plane_wave(space, extent, modes, amplitude=1.0):
    lines = [torch.arange(n, dtype=torch.float64) / n for n in space]
    phase = sum(
        m * x for m, x in zip(modes, torch.meshgrid(*lines, indexing="ij"), strict=True)
    )
    return amplitude * torch.cos(2 * math.pi * phase)


@pytest.mark.parametrize(("space", "extent"), GRIDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spectrum_sums_to_the_mean_square(space, extent, dtype):
    u = field(2, 3, *space, dtype=dtype)
    _, energy = radial_spectrum(u, extent)
    assert energy.dtype == dtype
    mean_square = u.square().flatten(2).mean(-1)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(energy.sum(-1), mean_square, rtol=tolerance, atol=0)


@pytest.mark.parametrize(
    ("space", "extent", "modes"),
    [((16,), (2.0,), (5,)), ((8, 12), (1.0, 1.0), (3, 4)), ((9, 7), (1.0, 1.0), (-2, 2)),
     ((8, 8), (3.0, 1.0), (1, 2)), ((6, 6, 9), (1.0, 1.0, 1.0), (1, 2, 2))],
)  # fmt: skip
def test_one_mode_lands_in_one_shell(space, extent, modes):
    spectrum = radial_spectrum(plane_wave(space, extent, modes, amplitude=3.0), extent)
    k = 2 * math.pi * math.hypot(*(m / length for m, length in zip(modes, extent, strict=True)))
    shell = round(k * max(extent) / (2 * math.pi))
    assert spectrum.energy.argmax().item() == shell
    torch.testing.assert_close(spectrum.energy[shell].item(), 4.5)
    assert (spectrum.energy.sum() - spectrum.energy[shell]).abs() < 1e-13
    torch.testing.assert_close(
        spectrum.wavenumbers[shell].item(), 2 * math.pi / max(extent) * shell
    )


def test_mean_and_nyquist_count_once():
    n = 8
    alternating = (-1.0) ** torch.arange(n, dtype=torch.float64)
    _, energy = radial_spectrum(2.0 + 3.0 * alternating, (1.0,))
    torch.testing.assert_close(energy, torch.tensor([4.0, 0, 0, 0, 9.0]).double())


def test_spectrum_matches_a_dense_transform():
    space, extent = (5, 6), (1.0, 2.0)
    u = field(*space)
    full = torch.fft.fft2(u).abs().square() / u.numel() ** 2
    _, energy = radial_spectrum(u, extent)
    expected = torch.zeros_like(energy)
    for i in range(5):
        for j in range(6):
            kx, ky = (i if i <= 2 else i - 5) / extent[0], (j if j <= 3 else j - 6) / extent[1]
            expected[round(math.hypot(kx, ky) * 2.0)] += full[i, j]
    torch.testing.assert_close(energy, expected)


@pytest.mark.parametrize(("space", "extent"), GRIDS)
def test_a_single_band_is_the_relative_error(space, extent):
    pred, target = field(2, 3, *space), field(2, 3, *space, seed=9_001)
    error = banded_spectral_error(pred, target, 1, extent=extent)
    torch.testing.assert_close(error[:, 0], relative_l2(pred, target))


def test_errors_in_single_modes_land_in_their_bands():
    space, extent = (64, 64), (1.0, 1.0)  # edges at modes 32^(1/3) = 3.2 and 32^(2/3) = 10.1
    waves = [plane_wave(space, extent, modes) for modes in [(0, 2), (6, 0), (15, 9)]]
    mean, corner = torch.full(space, 0.5).double(), plane_wave(space, extent, (31, 31))
    target = sum(waves)[None, None]
    pred = target + 0.01 * waves[0] + 0.1 * waves[1] - 0.5 * waves[2]
    error = banded_spectral_error(pred, target)
    torch.testing.assert_close(error, torch.tensor([[0.01, 0.1, 0.5]]).double())
    # The mean counts as low and the corner as high: cos carries half the energy of a constant.
    error = banded_spectral_error(target + mean + 2 * corner, target)
    torch.testing.assert_close(
        error, torch.tensor([[math.sqrt(0.25 / 0.5), 0, 2.0]]).double(), atol=1e-12, rtol=1e-7
    )


def test_given_edges_are_angular_wavenumbers_and_an_edge_belongs_above():
    target = sum(plane_wave((16,), (2.0,), (m,)) for m in (1, 2, 3, 4))[None, None]
    pred = target + plane_wave((16,), (2.0,), (3,))
    error = banded_spectral_error(pred, target, [3 * math.pi], extent=(2.0,))
    torch.testing.assert_close(
        error, torch.tensor([[0.0, math.sqrt(0.5)]]).double(), atol=1e-12, rtol=1e-7
    )


def test_default_edges_on_a_power_of_two_do_not_depend_on_rounding():
    # 16 points: edges at modes 2 and 4 exactly.
    target = sum(plane_wave((16, 16), (1.0, 1.0), (m, 0)) for m in (1, 2, 3, 4, 5))[None, None]
    for mode, band in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]:
        error = banded_spectral_error(
            target + plane_wave((16, 16), (1.0, 1.0), (0, mode)), target
        )
        assert error[0].argmax().item() == band


def test_half_precision_is_computed_in_float32():
    pred, target = field(1, 1, 8, 8), field(1, 1, 8, 8, seed=5_003)
    error = banded_spectral_error(pred.bfloat16(), target.bfloat16())
    assert error.dtype == torch.float32
    torch.testing.assert_close(
        error.double(), banded_spectral_error(pred, target), rtol=0.05, atol=0
    )


def test_gradient_matches_finite_differences():
    pred, target = field(1, 2, 4, 5), field(1, 2, 4, 5, seed=5_003)
    assert torch.autograd.gradcheck(
        lambda p: banded_spectral_error(p, target, 2), (pred.requires_grad_(),)
    )


def test_bad_input_is_named():
    u = field(1, 1, 8, 8)
    with pytest.raises(
        ValueError, match="banded_spectral_error: expected pred and target of the same"
    ):
        banded_spectral_error(u, u[..., :4])
    with pytest.raises(ValueError, match="expected positive band edges in increasing order"):
        banded_spectral_error(u, u, [3.0, 2.0])
    with pytest.raises(ValueError, match="expected at least one band, got 0"):
        banded_spectral_error(u, u, 0)
    with pytest.raises(
        ValueError, match="radial_spectrum: expected one positive length per trailing"
    ):
        radial_spectrum(u, (1.0, -1.0))
    with pytest.raises(
        ValueError, match="radial_spectrum: expected one positive length per trailing"
    ):
        radial_spectrum(u, (1.0,) * 5)
