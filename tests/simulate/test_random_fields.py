import math

import pytest
import torch

from sciml.simulate.random_fields import GaussianRandomField

SEED = 1234567891


@pytest.mark.parametrize(
    ("lengths", "shape"),
    [
        ((1.0,), (33,)),
        ((1.0, 1.0), (16, 16)),
        ((2.0, 0.7), (12, 9)),
        ((1.0, 2.0, 1.5), (6, 7, 8)),
    ],
)
def test_variance_matches_the_closed_form(lengths, shape):
    field = GaussianRandomField(lengths, alpha=2.0, tau=3.0, amplitude=1.3)
    samples = field.sample(shape, seed=SEED, indices=range(2000))
    # The mean square over space of one sample varies; its ensemble mean has a standard error.
    squares = samples.square().flatten(1).mean(dim=1)
    error = (squares.mean() - field.variance(shape)).abs() / (squares.std() / math.sqrt(2000))
    assert error < 4
    # Homogeneous: every point has this variance.
    pointwise = samples.square().mean(dim=0)
    torch.testing.assert_close(
        pointwise, torch.full_like(pointwise, field.variance(shape)), rtol=0.2, atol=0
    )
    assert samples.flatten(1).mean(dim=1).abs().max() < 1e-14


def test_covariance_spectrum_is_the_operator_s():
    field = GaussianRandomField((1.5,), alpha=1.5, tau=2.0, amplitude=0.8)
    samples = field.sample((15,), seed=SEED, indices=range(4000))
    power = torch.fft.fft(samples, norm="forward").abs().square().mean(dim=0)
    kappa = 2 * math.pi * torch.fft.fftfreq(15, 1.5 / 15, dtype=torch.float64)
    # E|û_k|² = λ_k / (2V) for each of the two signs: together they carry λ_k / V each.
    expected = 0.8**2 * (kappa**2 + 4.0) ** (-1.5) / 1.5
    torch.testing.assert_close(power[1:], expected[1:], rtol=0.1, atol=0)


def test_published_root_mean_squares():
    for amplitude_squared, rms in ((2 * 7**3, 0.262), (7**3, 0.185), (7**1.5, 0.043)):
        field = GaussianRandomField((1.0, 1.0), 2.5, 7.0, math.sqrt(amplitude_squared))
        assert math.sqrt(field.variance((256, 256))) == pytest.approx(rms, abs=6e-4)


def test_a_sample_depends_on_seed_and_index_alone():
    field = GaussianRandomField((1.0, 1.0), 2.0, 3.0, 1.0)
    batch = field.sample((8, 8), seed=SEED, indices=[3, 11, 4])
    alone = field.sample((8, 8), seed=SEED, indices=[11])
    torch.testing.assert_close(batch[1:2], alone, rtol=1e-14, atol=1e-14)
    assert not torch.allclose(batch[1:2], field.sample((8, 8), seed=SEED + 2, indices=[11]))
    assert batch.dtype == torch.float64


@pytest.mark.parametrize(("coarse", "fine"), [((8, 8), (16, 24)), ((7, 9), (21, 27))])
def test_the_same_sample_on_a_finer_grid_has_the_same_modes(coarse, fine):
    field = GaussianRandomField((1.0, 1.0), 2.0, 3.0, 1.0)
    # The nesting is by max|k|, so grids of unlike sizes share the modes of the smaller square.
    k = min((min(coarse) - 1) // 2, 3)
    spectra = [
        torch.fft.fftn(field.sample(shape, seed=SEED, indices=[5]), dim=(1, 2), norm="forward")
        for shape in (coarse, fine)
    ]
    index = torch.arange(-k, k + 1)
    small, large = (s[:, index][:, :, index] for s in spectra)
    torch.testing.assert_close(small, large, rtol=1e-12, atol=1e-15)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"expected positive lengths, got \(1.0, 0.0\)"):
        GaussianRandomField((1.0, 0.0), 2.0, 3.0, 1.0)
    with pytest.raises(ValueError, match=r"alpha > 0, tau >= 0 and amplitude > 0.*alpha=0"):
        GaussianRandomField((1.0,), 0.0, 3.0, 1.0)
    field = GaussianRandomField((1.0, 1.0), 2.0, 3.0, 1.0)
    with pytest.raises(ValueError, match=r"2 axes, got \(8,\)"):
        field.sample((8,), seed=SEED, indices=[0])
    with pytest.raises(ValueError, match="non-negative seed and indices, got seed=-1"):
        field.sample((8, 8), seed=-1, indices=[0])
    with pytest.raises(ValueError, match=r"indices=\[-3\]"):
        field.sample((8, 8), seed=SEED, indices=[-3])
