"""The posterior of the lattice solver: calibration, noise, statuses."""

import math

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_posterior import smoothed, solve_posterior
from sciml.models.gp_hm.lattice import harmonic_lattice
from sciml.models.gp_hm.solver import GPHMSolver
from sciml.pde.conditions import Dirichlet, Observations
from sciml.pde.gallery.allen_cahn import allen_cahn_1d
from sciml.pde.gallery.poisson import poisson_1d, poisson_2d
from sciml.pde.problem import Problem
from sciml.solvers.base import solve

POSTERIOR = DirectOptions(posterior=True)


def noisy_problem(slow, fast, num_nodes, level, seed):
    """u = sin ax cos bx with noise on the right-hand side, one number per node."""
    length = 2 * math.pi

    def u(points):
        return torch.sin(slow * points.x) * torch.cos(fast * points.x)

    def right(x):
        square, twice = slow**2 + fast**2, 2 * slow * fast
        return -square * torch.sin(slow * x) * torch.cos(fast * x) - twice * torch.cos(
            slow * x
        ) * torch.sin(fast * x)

    nodes = torch.linspace(0, length, num_nodes, dtype=torch.float64)
    deviation = level * float(right(nodes).square().mean().sqrt())
    generator = torch.Generator().manual_seed(seed)
    noise = deviation * torch.randn(num_nodes, dtype=torch.float64, generator=generator)

    def residual(points, v):
        nearest = (points.x / length * (num_nodes - 1)).round().long()
        return v.d(x=2) - right(points.x) - noise[nearest]

    ends = [Dirichlet("x", side, u) for side in ("low", "high")]
    box = Box(("x",), (0.0,), (length,))
    return Problem(box, residual, ends, exact=u), deviation


def coverage(slow, fast, num_nodes, seeds):
    points = torch.linspace(0.01, 6.27, 300, dtype=torch.float64)[:, None]
    one, two, noise = [], [], []
    for seed in seeds:
        problem, deviation = noisy_problem(slow, fast, num_nodes, 0.01, seed)
        solution = solve_posterior(problem, (num_nodes,), POSTERIOR)
        gap = (solution.value(points) - problem.exact(points)).abs()
        scaled = gap / solution.value.std(points)
        one.append(float((scaled < 1).double().mean()))
        two.append(float((scaled < 2).double().mean()))
        noise.append(solution.stats["noise"] / deviation)
    return [sum(values) / len(values) for values in (one, two, noise)]


def test_intervals_cover_and_the_noise_is_found():
    one, two, noise = coverage(6, 40, 160, range(1_000_003, 1_000_019, 2))
    assert 0.55 < one < 0.8
    assert 0.87 < two < 0.995
    assert noise == pytest.approx(1.0, abs=0.08)


@pytest.mark.slow
def test_calibration_of_the_published_problem():
    _, two, noise = coverage(6, 100, 400, range(1_000_003, 1_000_083, 2))
    assert 0.90 < two < 0.99
    assert noise == pytest.approx(1.0, abs=0.03)


def test_deviation_shrinks_with_the_noise_and_vanishes_on_the_boundary():
    inside = torch.linspace(0.1, 6.1, 50, dtype=torch.float64)[:, None]
    ends = torch.tensor([[0.0], [2 * math.pi]], dtype=torch.float64)
    typical = []
    for level in (0.01, 0.001):
        problem, _ = noisy_problem(3, 20, 120, level, 7_654_321)
        u = solve(problem, GPHMSolver(120, options=POSTERIOR)).value
        typical.append(float(u.std(inside).mean()))
        assert tuple(u.std(inside).shape) == (50, 1)
        assert float(u.std(ends).max()) < 1e-2 * typical[-1]
    assert 4 < typical[0] / typical[1] < 25


def test_smoothing_averages_neighbouring_lines():
    lattice = harmonic_lattice(0.0, 1.0, highest_frequency=1.5, kappa=2.137)
    coefficients = torch.zeros(2 * lattice.num_lines, dtype=torch.float64)
    coefficients[2] = 2.0
    weight = smoothed(lattice, coefficients).weight
    expected = torch.tensor([0.0, 0.25, 0.5, 0.25, 0.0], dtype=torch.float64)
    torch.testing.assert_close(weight, (expected / 0.5).sqrt() + 1e-8, rtol=1e-12, atol=0)


def test_what_has_no_posterior_says_so():
    with pytest.raises(ValueError, match="expected a linear problem on one axis"):
        solve(poisson_2d("sin_add_cos"), GPHMSolver(64, options=POSTERIOR))
    with pytest.raises(ValueError, match="expected a linear problem on one axis"):
        solve(allen_cahn_1d("sin_cos"), GPHMSolver(400, options=POSTERIOR))
    clean = poisson_1d("x2_add_sinx", frequencies=(60.0,))
    seen = Observations(
        torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([0.1]).double(), 0.05
    )
    noisy = Problem(clean.domain, lambda p, u: u.d(x=2), [*clean.conditions, seen])
    with pytest.raises(ValueError, match="use inference='evidence'"):
        GPHMSolver(60).solve(noisy)
