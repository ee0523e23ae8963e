"""Samplers of right-hand sides: their spectra, their addresses, what they refuse."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from sciml.fft.trigonometric import dct
from sciml.linalg.lanczos import ritz_vectors
from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.poisson_samples import (
    CosineSampler,
    PressureSampler,
    RitzSampler,
    mask_channels,
    poisson_spec,
)
from sciml.simulate.sampler import sample_stream

SAMPLERS = [
    CosineSampler((8, 10)),
    CosineSampler((6, 5, 7)),
    RitzSampler((8, 10), 12),
    RitzSampler((8, 10), 12, kinds=("random", "freesurf"), num_geometries=3, masks=True),
    PressureSampler((8, 10), kinds=("thin", "opentop")),
    PressureSampler((6, 4, 8), masks=True),
]


def eigenvalues(resolution):
    values = torch.zeros((), dtype=torch.float64)
    for n in resolution:
        values = values[..., None] + 2 - 2 * torch.cos(torch.pi * torch.arange(n).double() / n)
    return values


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: f"{type(s).__name__}{s.resolution}")
def test_samples_have_unit_norm_in_the_range_and_an_address(sampler):
    batch = sampler.draw(60013, [0, 1, 7])
    spec = sampler.spec
    assert batch.inputs.shape == (3, spec.in_channels, *spec.resolution)
    assert batch.static.shape == (3, 1, *spec.resolution)
    assert batch.inputs.dtype == torch.float32
    for flags, r in zip(batch.static[:, 0], batch.inputs[:, 0].double(), strict=True):
        operator = PoissonOperator(flags.to(torch.uint8))
        assert float(r.norm()) == pytest.approx(1.0, abs=1e-6)
        assert float((operator.project(r) - r).norm()) < 1e-6
    # neither the company nor the order changes a sample; seed and number do
    alone = sampler.draw(60013, [7])
    torch.testing.assert_close(alone.inputs[0], batch.inputs[2], rtol=0, atol=1e-7)
    assert torch.equal(alone.static[0], batch.static[2])
    assert not torch.allclose(sampler.draw(60017, [7]).inputs, alone.inputs, atol=1e-3)
    assert not torch.allclose(batch.inputs[0, 0], batch.inputs[1, 0], atol=1e-3)


@pytest.mark.parametrize(("resolution", "num_ritz"), [((16, 16, 16), 300), ((32, 32), 400)])
def test_energies_are_those_of_a_lanczos_set(resolution, num_ritz):
    """Energy per band of the spectrum against real Ritz vectors, within 30 %."""
    operator = PoissonOperator(torch.full(resolution, 2))
    white = torch.from_numpy(sample_stream(7919, 0).standard_normal(resolution))
    values, vectors = ritz_vectors(operator, operator.mv(white), num_ritz)
    weights = torch.where(torch.arange(len(values)) < 0.55 * len(values), 81.0, 1.0).double()
    axes = tuple(range(1, len(resolution) + 1))
    real = torch.einsum("j,j...->...", weights, dct(vectors, 2, axes, norm="ortho").square())
    ours = CosineSampler(resolution, num_ritz).deviations.square()
    spectrum, largest = eigenvalues(resolution), 4 * len(resolution)
    edges = torch.tensor([0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0]) * largest
    assert float(ours.sum()) == pytest.approx(1.0)
    assert float(ours.reshape(-1)[0]) == 0.0
    for low, high in pairwise(edges[1:].tolist()):
        band = (spectrum > low) & (spectrum <= high)
        share = float(real[band].sum() / real.sum())
        assert float(ours[band].sum()) == pytest.approx(share, rel=0.3), (low, high)
    lowest = (spectrum > 0) & (spectrum <= edges[1])
    share = float(real[lowest].sum() / real.sum())
    assert float(ours[lowest].sum()) == pytest.approx(share, rel=0.6)


def test_samples_have_the_announced_deviations():
    sampler = CosineSampler((6, 8), num_ritz=20)
    draws = sampler.draw(60013, range(3000)).inputs[:, 0].double()
    found = dct(draws, 2, (1, 2), norm="ortho").square().mean(0)
    expected = sampler.deviations.square()
    # samples are normalised, which shifts energies a little
    kept = expected > 1e-3
    ratio = found[kept] / expected[kept]
    assert 0.75 < float(ratio.min()) <= float(ratio.max()) < 1.25


@pytest.mark.parametrize("num_ritz", [None, 1, 40, 10_000])
def test_variances_add_up_to_one_whatever_is_imitated(num_ritz):
    variances = CosineSampler((9, 7), num_ritz).deviations.square()
    assert float(variances.sum()) == pytest.approx(1.0)
    assert bool((variances >= 0).all())


def test_weight_and_cut_are_those_of_the_ritz_vectors():
    flat = CosineSampler((16, 16), 30, factor=1.0).deviations
    low = CosineSampler((16, 16), 30, factor=9.0, cut=0.5).deviations
    ratio = (low / flat).nan_to_num(0)
    spectrum = eigenvalues((16, 16))
    below = (spectrum > 0) & (spectrum < 4 - 1e-9)
    above = spectrum > 4 + 1e-9
    assert float(ratio[below].max() / ratio[above].min()) == pytest.approx(9.0)
    assert float(ratio[below].min() / ratio[above].max()) == pytest.approx(9.0)


def test_ritz_samples_are_combinations_of_ritz_vectors():
    sampler = RitzSampler((8, 8), 6, kinds=("random",), masks=True)
    batch = sampler.draw(60013, [0])
    _, vectors = sampler._geometry(0)
    noise = torch.from_numpy(sample_stream(60013, 0).standard_normal(len(vectors)))
    noise[: round(0.55 * len(vectors))] *= 9
    expected = torch.einsum("j,jxy->xy", noise, vectors)
    torch.testing.assert_close(
        batch.inputs[0, 0].double(), expected / expected.norm(), rtol=1e-5, atol=1e-6
    )
    assert sampler._geometry(0)[1] is vectors


def test_geometries_take_turns():
    sampler = RitzSampler(
        (12, 12), 5, kinds=("random", "opentop"), num_geometries=4, masks=True
    )
    flags = sampler.draw(60013, range(8)).static
    assert torch.equal(flags[0], flags[4])
    assert not torch.equal(flags[0], flags[2])
    assert bool((flags[1] == 3).any())
    assert not bool((flags[0] == 3).any())


def test_masks_are_those_of_the_flags():
    flags = torch.tensor([[0.0, 1.0], [2.0, 3.0]])[None, None]
    expected = [[[1, 1], [0, 0]], [[0, 0], [1, 0]], [[0, 0], [0, 1]]]
    assert mask_channels(flags)[0].int().tolist() == expected
    batch = PressureSampler((8, 8), kinds=("freesurf",), masks=True).draw(7919, [0])
    assert torch.equal(batch.inputs[:, 1:], mask_channels(batch.static))


def test_text_of_a_sampler_tells_everything_that_it_depends_on():
    assert repr(CosineSampler([8, 8])) == repr(CosineSampler((8, 8)))
    assert repr(CosineSampler((8, 8))) != repr(CosineSampler((8, 8), cut=0.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CosineSampler((8, 8), 0), "CosineSampler: expected num_ritz >= 1"),
        (lambda: CosineSampler((8, 8), cut=1.0), "0 < cut < 1"),
        (lambda: RitzSampler((8, 8), 5, factor=0.0), "factor > 0"),
        (
            lambda: RitzSampler((8, 8), 5, kinds=("box", "thin")),
            "at least one geometry of each",
        ),
        (lambda: PressureSampler((8, 8), kinds=()), "at least one kind of geometry"),
        (lambda: poisson_spec("p", (8,), masks=False), r"two or three axes, got \[8\]"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_streams_of_neighbouring_samples_are_independent():
    noise = np.stack([sample_stream(60013, i).standard_normal(400) for i in range(6)])
    assert np.abs(np.corrcoef(noise) - np.eye(6)).max() < 0.2
