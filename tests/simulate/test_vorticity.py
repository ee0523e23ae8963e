import math

import pytest
import torch

from sciml.fft.resample import fourier_resample
from sciml.fft.transforms import irfftn, rfftn
from sciml.fft.wavenumbers import wavenumber_grid
from sciml.simulate.vorticity import VorticityEquation

PLANE = (-2, -1)
CASES = [((16, 16), (1.0, 1.0)), ((12, 20), (2.0, 0.7)), ((15, 17), (1.0, 3.0))]


def field(resolution, batch=2):
    generator = torch.Generator().manual_seed(1414213563)
    return torch.randn((batch, *resolution), dtype=torch.float64, generator=generator)


def spectral_derivative(u, lengths, axis):
    kappa = wavenumber_grid(u.shape[-2:], lengths)[axis]
    return irfftn(1j * kappa * rfftn(u, PLANE), PLANE, u.shape[-2:])


def velocity_of(omega, lengths):
    """u = ψ_y, v = -ψ_x with -Δψ = ω, on omega's own grid."""
    kx, ky = wavenumber_grid(omega.shape[-2:], lengths)
    squared = kx**2 + ky**2
    psi = torch.where(squared > 0, 1 / squared, 0.0) * rfftn(omega, PLANE)
    psi = irfftn(psi, PLANE, omega.shape[-2:])
    return spectral_derivative(psi, lengths, 1), -spectral_derivative(psi, lengths, 0)


@pytest.mark.parametrize(("resolution", "lengths"), CASES)
def test_nonlinear_term_is_the_dealiased_advection(resolution, lengths):
    """Against u·∇ω in advective form on a grid that is fine enough to hold every product."""
    equation = VorticityEquation(resolution, viscosity=0.0, lengths=lengths)
    block, rest = equation.split(field(resolution))
    omega = fourier_resample(
        equation.join(block, torch.zeros_like(rest)), tuple(3 * n + 1 for n in resolution)
    )
    u, v = velocity_of(omega, lengths)
    advection = u * spectral_derivative(omega, lengths, 0)
    advection = advection + v * spectral_derivative(omega, lengths, 1)
    expected, _ = equation.split(fourier_resample(-advection, resolution))
    torch.testing.assert_close(equation.nonlinear(block), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("resolution", "lengths"), CASES)
def test_advection_conserves_mean_energy_and_enstrophy(resolution, lengths):
    equation = VorticityEquation(resolution, viscosity=0.0, lengths=lengths)
    block, rest = equation.split(field(resolution))
    none = torch.zeros_like(rest)
    omega = equation.join(block, none)
    rate = equation.join(equation.nonlinear(block), none)
    kx, ky = wavenumber_grid(resolution, lengths)
    squared = kx**2 + ky**2
    psi = torch.where(squared > 0, 1 / squared, 0.0) * rfftn(omega, PLANE)
    psi = irfftn(psi, PLANE, resolution)
    scale = rate.norm() * omega.norm()
    assert rate.mean(dim=PLANE).abs().max() < 1e-12 * rate.abs().max()
    assert (rate * omega).sum(dim=PLANE).abs().max() < 1e-13 * scale
    assert (rate * psi).sum(dim=PLANE).abs().max() < 1e-13 * scale


@pytest.mark.parametrize(("resolution", "lengths"), CASES)
def test_velocity_and_rate(resolution, lengths):
    equation = VorticityEquation(resolution, viscosity=0.0, lengths=lengths)
    block, rest = equation.split(field(resolution))
    u, v = velocity_of(equation.join(block, torch.zeros_like(rest)), lengths)
    torch.testing.assert_close(equation.velocity(block), torch.stack([u, v], dim=1))
    kx, ky = ((n - 1) // 3 * 2 * math.pi / b for n, b in zip(resolution, lengths, strict=True))
    assert equation.max_wavenumbers == pytest.approx((kx, ky))
    expected = (kx * u.abs() + ky * v.abs()).amax(dim=PLANE)
    torch.testing.assert_close(equation.advection_rate(block), expected)


@pytest.mark.parametrize(("resolution", "lengths"), CASES)
def test_split_and_join_are_inverse(resolution, lengths):
    equation = VorticityEquation(resolution, viscosity=0.1, lengths=lengths)
    omega = field(resolution)
    block, rest = equation.split(omega)
    torch.testing.assert_close(equation.join(block, rest), omega)
    limits = [(n - 1) // 3 for n in resolution]
    rows = torch.fft.fftfreq(resolution[0], 1 / resolution[0]).round().abs()
    assert block.shape[-1] == limits[1] + 1
    assert block[:, rows > limits[0]].abs().max() == 0
    assert rest[:, rows <= limits[0], : limits[1] + 1].abs().max() == 0


def test_forcing_enters_the_block():
    x = torch.arange(16, dtype=torch.float64) / 16
    forcing = torch.sin(2 * math.pi * (x[:, None] + x))
    equation = VorticityEquation((16, 16), viscosity=0.0, forcing=forcing)
    block, rest = equation.split(torch.zeros(1, 16, 16, dtype=torch.float64))
    torch.testing.assert_close(equation.join(equation.nonlinear(block), rest)[0], forcing)


def test_bad_arguments_are_named():
    with pytest.raises(
        ValueError, match=r"viscosity >= 0, got resolution=\(8, 8\), viscosity=-1"
    ):
        VorticityEquation((8, 8), viscosity=-1.0)
    with pytest.raises(ValueError, match=r"at least 4 points per axis .*\(8, 2\)"):
        VorticityEquation((8, 2), viscosity=1.0)
    with pytest.raises(
        ValueError, match=r"expected forcing on the grid \(8, 8\), got shape \(4,"
    ):
        VorticityEquation((8, 8), viscosity=1.0, forcing=torch.zeros(4, 4))
    rough = torch.cos(2 * math.pi * 3 * torch.arange(8, dtype=torch.float64) / 8).expand(8, 8)
    with pytest.raises(ValueError, match=r"forcing with \|k\| < n/3 .*raise the resolution"):
        VorticityEquation((8, 8), viscosity=1.0, forcing=rough)
