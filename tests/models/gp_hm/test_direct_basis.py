"""Harmonic features, their orthonormal bases, and the separable solves built on them."""

import math

import numpy as np
import pytest
import torch

from sciml.models.gp_hm.direct_basis import (
    LegendreBasis,
    NodalBasis,
    differentiated,
    gauss_count,
    truncated_svd,
)
from sciml.models.gp_hm.direct_separable import SeparableInverse
from sciml.models.gp_hm.model import HarmonicFeatures, harmonic_lattice
from sciml.models.gp_hm.repair import add_atoms, correct_atoms

KAPPA = 2.137


def mixed_features() -> HarmonicFeatures:
    omega = torch.tensor([0.0, 1.3, 4.7, 4.7, 4.7, 0.0, 0.0], dtype=torch.float64)
    degree = torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 12.0], dtype=torch.float64)
    return HarmonicFeatures(0.5, 1.7, omega, degree, torch.ones_like(omega), num_lattice=2)


@pytest.mark.parametrize("order", range(5))
def test_derivatives_of_features_are_those_of_the_formula(order):
    features = mixed_features()
    points = torch.linspace(0.5, 2.2, 7, dtype=torch.float64)

    def formula(x):
        s = x[:, None] - 1.35
        power = (2.0 * s / 1.7) ** features.degree
        angle = s * features.omega
        return torch.cat([power * angle.cos(), power * angle.sin()], dim=1)

    for _ in range(order):
        previous = formula

        def formula(x, previous=previous):
            return torch.func.jvp(previous, (x,), (torch.ones_like(x),))[1]

    expected = formula(points)
    error = (features.evaluate(points, order) - expected).abs().amax(0)
    assert bool((error <= 1e-12 * expected.abs().amax(0).clamp_min(1.0)).all())


def test_lattice_of_the_paper():
    lattice = harmonic_lattice(1.0, 2.0, highest_frequency=3.0, kappa=KAPPA)
    count = math.floor(KAPPA * 2.0 * 3.0) + 2
    expected = 2 * math.pi * np.arange(count) / (KAPPA * 2.0)
    np.testing.assert_allclose(lattice.omega.numpy(), expected, rtol=1e-15)
    assert lattice.largest_omega > 2 * math.pi * 3.0
    assert lattice.scales[count] == 0  # the sine of frequency zero


def test_reweighting_is_the_fixed_point_formula():
    lattice = harmonic_lattice(0.0, 1.0, highest_frequency=1.0, kappa=KAPPA)
    m = lattice.num_lines
    coefficients = torch.zeros(2 * m, dtype=torch.float64)
    coefficients[1], coefficients[m + 1], coefficients[2] = 3.0, 4.0, 1.0
    weight = lattice.reweighted(coefficients).weight
    assert float(weight[1]) == pytest.approx(1.0 + 1e-8)
    assert float(weight[2]) == pytest.approx(0.2 + 1e-8)
    assert float(weight[0]) == pytest.approx(1e-8)
    zero = lattice.reweighted(torch.zeros_like(coefficients)).weight
    assert bool((zero == 1).all())


def test_atoms_sit_on_the_peaks():
    lattice = harmonic_lattice(0.0, 1.0, highest_frequency=2.5, kappa=KAPPA)
    weight = torch.tensor([0.5, 0.1, 0.1, 1.0, 0.3, 0.005, 0.001], dtype=torch.float64)
    lattice = HarmonicFeatures(0.0, 1.0, lattice.omega, lattice.degree, weight, 7)
    features = add_atoms(lattice)
    # the constant brings 13 polynomials and the peak three degrees; a shoulder is no peak
    atoms = features.omega[7:]
    assert atoms.numel() == 13 + 3
    assert bool((atoms[:13] == 0).all())
    assert bool((atoms[13:] == lattice.omega[3]).all())
    assert features.degree[7:].tolist() == [*range(13), 0, 1, 2]
    torch.testing.assert_close(features.weight[:7], 0.01 * weight, rtol=1e-15, atol=0)
    assert bool((features.weight[7:] == 1).all())


@pytest.mark.parametrize("offset", [0.08, -0.05])
def test_correction_finds_the_line(offset):
    points = torch.linspace(0.0, 2.0, 81, dtype=torch.float64)
    omega = 21.37
    weight = torch.full((1,), 1e-12, dtype=torch.float64)
    lattice = HarmonicFeatures(
        0.0, 2.0, torch.tensor([omega + offset], dtype=torch.float64), 0 * weight, weight, 1
    )
    features = add_atoms(lattice)
    shifts = []
    for _ in range(4):
        design = features.evaluate(points) * features.scales
        fit = torch.linalg.pinv(design, rtol=1e-12) @ torch.sin(omega * points + 0.4)
        features, shift = correct_atoms(features, features.scales * fit)
        shifts.append(shift)
    assert shifts[0] == pytest.approx(abs(offset), rel=0.2)
    assert abs(float(features.omega[1]) - omega) < 1e-9


def lattice_for(count: int, fraction: float = 0.6, length: float = 2 * math.pi):
    frequency = fraction * (count - 1) / (2 * length)
    return harmonic_lattice(0.0, length, highest_frequency=frequency, kappa=KAPPA)


def test_nodal_basis_is_orthonormal_and_consistent():
    features = lattice_for(41)
    nodes = torch.linspace(0, 2 * math.pi, 41, dtype=torch.float64)
    basis = NodalBasis(features, nodes, cut=1e-10)
    values = basis.at_nodes()
    identity = torch.eye(basis.size, dtype=torch.float64)
    torch.testing.assert_close(basis.test @ values, identity, rtol=0, atol=1e-12)
    torch.testing.assert_close(basis.evaluate(nodes), values, rtol=0, atol=1e-4)
    # the second derivative of a resolved wave is exact away from the ends
    u = torch.sin(5 * nodes + 0.3)
    second = basis.at_nodes(2) @ (basis.test @ u)
    assert float((second + 25 * u)[6:-6].abs().max()) < 1e-6
    assert tuple(basis.operator({1: 2.0}).shape) == (basis.size, basis.size)


@pytest.mark.parametrize("sampled", [False, True])
def test_weak_spectrum_is_real_negative_and_right(sampled):
    length = 2 * math.pi
    features = lattice_for(60)
    nodes = torch.linspace(0, length, 60, dtype=torch.float64) if sampled else None
    basis = LegendreBasis(features, cut=1e-10 if sampled else 1e-12, sample=nodes)
    stiffness = basis.operator({2: 1.0})
    torch.testing.assert_close(stiffness, stiffness.T, rtol=0, atol=1e-9)
    ends = basis.evaluate(torch.tensor([0.0, length], dtype=torch.float64))
    full, _ = torch.linalg.qr(ends.T, mode="complete")
    free = full[:, 2:]
    values = torch.linalg.eigvalsh(free.T @ stiffness @ free).flip(0)
    assert bool((values < 0).all())
    exact = -((math.pi * torch.arange(1, 6, dtype=torch.float64) / length) ** 2)
    torch.testing.assert_close(values[:5], exact, rtol=1e-7 if sampled else 1e-10, atol=0)


def test_legendre_basis_integrates_by_parts_to_rounding():
    features = lattice_for(50)
    basis = LegendreBasis(features, cut=1e-12)
    assert basis.nodes.numel() == gauss_count(features)
    direct = basis.test @ basis.at_nodes(2)
    ends = torch.tensor([0.0, 2 * math.pi], dtype=torch.float64)
    value, slope = basis.evaluate(ends), basis.evaluate(ends, 1)
    boundary = value[1:].T @ slope[1:] - value[:1].T @ slope[:1]
    scale = float(direct.abs().max())
    gap = (direct - boundary - basis.operator({2: 1.0})).abs().max()
    assert float(gap) < 1e-9 * scale


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_series_derivative(count):
    generator = torch.Generator().manual_seed(8_123_457)
    series = torch.randn(count, 3, dtype=torch.float64, generator=generator)
    norm = (np.arange(count) + 0.5)[:, None] ** 0.5
    expected = np.zeros((count, 3))
    if count > 1:
        expected[:-1] = np.polynomial.legendre.legder(series.numpy() * norm)
    np.testing.assert_allclose(differentiated(series).numpy() * norm, expected, atol=1e-12)


def test_singular_values_survive_a_failing_driver(monkeypatch):
    generator = torch.Generator().manual_seed(5_550_127)
    matrix = torch.randn(9, 6, dtype=torch.float64, generator=generator)
    left, singular, right = truncated_svd(matrix, 0.0)

    def fail(*_args, **_kwargs):
        raise RuntimeError("did not converge")

    monkeypatch.setattr(torch.linalg, "svd", fail)
    again = truncated_svd(matrix, 0.0)
    torch.testing.assert_close(again[1], singular)
    torch.testing.assert_close((again[0] * again[1]) @ again[2].T, matrix)
    assert left.shape == again[0].shape
    assert right.shape == again[2].shape
    assert truncated_svd(matrix, 0.999)[1].numel() == 1


def dense_sum(matrices):
    total = torch.zeros(1, 1, dtype=torch.float64)
    for matrix in matrices:
        n, m = total.shape[0], matrix.shape[0]
        total = torch.kron(total, torch.eye(m, dtype=torch.float64)) + torch.kron(
            torch.eye(n, dtype=torch.float64), matrix
        )
    return total


@pytest.mark.parametrize("kinds", ["ss", "gg", "sg", "gsg", "jg"])
def test_separable_inverse_is_the_dense_one(kinds):
    generator = torch.Generator().manual_seed(6_413_207)
    matrices = []
    for number, kind in enumerate(kinds):
        size = 4 + number
        matrix = torch.randn(size, size, dtype=torch.float64, generator=generator)
        if kind == "s":
            matrix = matrix + matrix.T
        if kind == "j":  # a Jordan block has no basis of eigenvectors
            matrix = 2.0 * torch.eye(size, dtype=torch.float64) + torch.diag(
                torch.ones(size - 1, dtype=torch.float64), 1
            )
        matrices.append(matrix)
    inverse = SeparableInverse(matrices, [kind == "s" for kind in kinds])
    assert ("j" in kinds) == (not inverse.condition < 1e10)
    shape = [len(matrix) for matrix in matrices]
    right = torch.randn(*shape, dtype=torch.float64, generator=generator)
    system = dense_sum(matrices) + 0.37 * torch.eye(math.prod(shape), dtype=torch.float64)
    expected = torch.linalg.solve(system, right.flatten()).reshape(shape)
    torch.testing.assert_close(inverse(right, 0.37), expected, rtol=1e-9, atol=1e-9)
