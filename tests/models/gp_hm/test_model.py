"""The lattice model: its covariance, its weights, and derivatives of its features."""

import math

import pytest
import torch

from sciml.models.gp_hm.model import HarmonicFeatures, harmonic_lattice


def points(count=9):
    generator = torch.Generator().manual_seed(3_640_217)
    return 0.4 + 1.5 * torch.rand(count, dtype=torch.float64, generator=generator)


def test_covariance_is_the_mixture_of_bumps_without_width():
    lattice = harmonic_lattice(0.4, 1.5, highest_frequency=2.0, kappa=2.137)
    weight = torch.linspace(1.0, 0.2, lattice.num_lines, dtype=torch.float64)
    features = HarmonicFeatures(0.4, 1.5, lattice.omega, lattice.degree, weight, len(weight))
    x = points()
    weighted = features.evaluate(x) * features.scales
    lag = x[:, None] - x
    expected = (weight.square() * torch.cos(lag[..., None] * lattice.omega)).sum(-1)
    torch.testing.assert_close(weighted @ weighted.T, expected, rtol=1e-12, atol=1e-12)


def test_lines_of_the_lattice():
    lattice = harmonic_lattice(-1.0, 4.0, highest_frequency=0.5, kappa=2.137)
    assert lattice.num_lines == math.floor(2.137 * 4.0 * 0.5) + 2
    spacing = lattice.omega.diff()
    torch.testing.assert_close(spacing, torch.full_like(spacing, 2 * math.pi / (2.137 * 4.0)))
    assert lattice.largest_omega > 2 * math.pi * 0.5


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("degree", [0.0, 2.0])
def test_derivatives_of_lines_and_atoms(order, degree):
    omega = torch.tensor([1.3, 5.1], dtype=torch.float64)
    degrees = torch.tensor([0.0, degree], dtype=torch.float64)
    features = HarmonicFeatures(0.4, 1.5, omega, degrees, torch.ones_like(omega), 1)
    x = points().requires_grad_()
    for column in range(4):
        value = features.evaluate(x)[:, column]
        for _ in range(order):
            (value,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        torch.testing.assert_close(
            features.evaluate(x, order)[:, column], value, rtol=1e-10, atol=1e-9
        )


def test_reweighting_takes_the_size_of_both_coefficients():
    lattice = harmonic_lattice(0.0, 1.0, highest_frequency=1.0, kappa=2.137)
    count = lattice.num_lines
    coefficients = torch.zeros(2 * count, dtype=torch.float64)
    coefficients[1], coefficients[count + 1], coefficients[2] = 3.0, 4.0, 2.5
    weight = lattice.reweighted(coefficients).weight
    torch.testing.assert_close(
        weight[:3], torch.tensor([1e-8, 1.0, 0.5], dtype=torch.float64), rtol=1e-6, atol=1e-10
    )
    nothing = lattice.reweighted(torch.zeros_like(coefficients))
    assert torch.equal(nothing.weight, torch.ones_like(nothing.weight))
