"""The posterior of the lattice solver: calibration, noise, statuses."""

import math

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.direct_evidence import SingularData, smoothed
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_posterior import solve_line_posterior
from sciml.models.gp_hm.model import harmonic_lattice
from sciml.models.gp_hm.solver import GPHMSolver
from sciml.pde.conditions import Dirichlet, Observations
from sciml.pde.gallery.allen_cahn import allen_cahn_1d
from sciml.pde.gallery.poisson import poisson_1d, poisson_3d
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
        solution = solve_line_posterior(problem, (num_nodes,), POSTERIOR)
        gap = (solution.value(points) - problem.exact(points)).abs()
        scaled = gap / solution.value.std(points)
        one.append(float((scaled < 1).double().mean()))
        two.append(float((scaled < 2).double().mean()))
        noise.append(solution.stats["noise"] / deviation)
    return [sum(values) / len(values) for values in (one, two, noise)]


def test_intervals_cover_and_the_noise_is_found():
    one, two, noise = coverage(6, 40, 160, range(1_000_003, 1_000_017, 2))
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


def test_smoothing_can_add_a_smooth_part():
    lattice = harmonic_lattice(0.0, 2.0, highest_frequency=4.0, kappa=2.137)
    coefficients = torch.zeros(2 * lattice.num_lines, dtype=torch.float64)
    coefficients[10] = 3.0
    mass = smoothed(lattice, coefficients, 0.5).weight.square()
    plain = smoothed(lattice, coefficients).weight.square()
    added = (mass / mass[10] - plain / plain[10])[:8]
    expected = (1 + (0.2 * 2.0 * lattice.omega[:8]) ** 2 / 5) ** -3.0
    torch.testing.assert_close(added / added[0], expected, rtol=1e-3, atol=1e-3)
    nothing = smoothed(lattice, torch.zeros_like(coefficients)).weight
    torch.testing.assert_close(nothing, torch.ones_like(nothing))


def test_evidence_in_the_singular_basis_is_the_gaussian_density():
    generator = torch.Generator().manual_seed(40_009)
    rows = torch.randn(9, 5, dtype=torch.float64, generator=generator)
    right = torch.randn(9, dtype=torch.float64, generator=generator)
    left, singular, _ = torch.linalg.svd(rows, full_matrices=False)
    y = left.T @ right
    outside = float(right.square().sum() - y.square().sum())
    data = SingularData(singular.square(), y.square(), outside, 9)

    def density(ratio, variance):
        covariance = variance * (rows @ rows.T + ratio * torch.eye(9, dtype=torch.float64))
        normal = torch.distributions.MultivariateNormal(torch.zeros_like(right), covariance)
        return float(normal.log_prob(right))

    assert data.log_density(0.3, 1.7) == pytest.approx(density(0.3, 1.7), rel=1e-10)
    ratio, variance, evidence = data.best()
    assert evidence == pytest.approx(density(ratio, variance), rel=1e-8)
    for factor in (0.8, 1.25):
        assert density(ratio * factor, variance) < evidence
        assert density(ratio, variance * factor) < evidence


def test_a_smooth_part_below_the_noise_keeps_its_deviation():
    """x² under noise far above its second derivative; nothing but the ends tells its size."""
    clean = poisson_1d("x2_add_sinx", frequencies=(120.0,))
    nodes = torch.linspace(0, 1, 160, dtype=torch.float64)
    (right,) = clean.residuals(nodes[:, None], clean.zero_jets(160))
    deviation = 0.01 * float(right.square().mean().sqrt())
    points = torch.linspace(0.01, 0.99, 200, dtype=torch.float64)[:, None]
    covered = []
    for seed in range(1_000_003, 1_000_009, 2):
        generator = torch.Generator().manual_seed(seed)
        noise = deviation * torch.randn(160, dtype=torch.float64, generator=generator)

        def residual(at, u, noise=noise):
            (r,) = clean.residuals(at.coordinates, clean.zero_jets(len(at)))
            return u.d(x=2) + r - noise[(at.x * 159).round().long()]

        problem = Problem(clean.domain, residual, clean.conditions)
        solution = solve_line_posterior(problem, (160,), POSTERIOR)
        gap = (solution.value(points) - clean.exact(points)).abs()
        covered.append(float((gap < 2 * solution.value.std(points)).double().mean()))
    assert sum(covered) / len(covered) > 0.85


UNIT = Box(("x",), (0.0,), (1.0,))


def wave(points):
    return torch.sin(11 * points.x) + 0.5 * points.x


def observed_problem(noise, conditions=(), count=25, seed=7_717):
    """u'' = f, known at no end or at one, with values measured inside."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(count, 1, dtype=torch.float64, generator=generator)
    values = torch.sin(11 * places[:, 0]) + 0.5 * places[:, 0]
    values = values + noise * torch.randn(count, dtype=torch.float64, generator=generator)
    return Problem(
        UNIT,
        lambda p, u: u.d(x=2) + 121 * torch.sin(11 * p.x),
        [*conditions, Observations(places, values, noise)],
        exact=wave,
    )


def regression(problem, noise):
    """The two constants that the equation leaves open, by a regression line, and their sd."""
    (observed,) = problem.observations
    points = torch.linspace(0, 1, 33, dtype=torch.float64)[:, None]
    line = torch.cat([torch.ones_like(observed.points), observed.points], 1)
    misfit = observed.values - torch.sin(11 * observed.points[:, 0])
    design = torch.cat([torch.ones_like(points), points], 1)
    mean = torch.sin(11 * points) + design @ torch.linalg.lstsq(line, misfit[:, None]).solution
    spread = noise**2 * torch.linalg.inv(line.T @ line)
    return points, mean, ((design @ spread) * design).sum(1, keepdim=True).sqrt()


@pytest.mark.parametrize("noise", [0.05, 1e-3])
def test_noisy_observations_decide_what_conditions_leave_open(noise):
    problem = observed_problem(noise)
    points, mean, deviation = regression(problem, noise)
    plain = solve(problem, GPHMSolver(40), throw=False).value
    torch.testing.assert_close(plain(points), mean, rtol=0, atol=1e-4 * noise)
    solution = solve(problem, GPHMSolver(40, options=POSTERIOR))
    assert float((solution.value(points) - mean).abs().max()) < 0.5 * noise
    torch.testing.assert_close(solution.value.std(points), deviation, rtol=0.06, atol=0)
    assert 0.6 < solution.stats["observation_misfit"] < 1.4


def test_observations_are_weighted_by_their_noise():
    """Accurate values at two places beside bad ones."""
    places = torch.tensor([[0.2], [0.8]], dtype=torch.float64)
    good = Observations(places, torch.tensor([1.0, 2.0]).double(), 1e-4)
    bad = Observations(places + 0.1, torch.tensor([5.0, 7.0]).double(), 10.0)
    problem = Problem(UNIT, lambda p, u: u.d(x=2), [good, bad])
    for options in (None, POSTERIOR):
        solution = solve(problem, GPHMSolver(24, options=options), throw=False)
        torch.testing.assert_close(solution.value(places)[:, 0], good.values, rtol=0, atol=1e-3)


def test_exact_observations_of_the_solution_change_nothing():
    ends = [Dirichlet("x", side, wave) for side in ("low", "high")]
    points = torch.linspace(0, 1, 33, dtype=torch.float64)[:, None]
    for options, bound in ((None, 1e-9), (POSTERIOR, 1e-4)):
        problem = observed_problem(0.0, ends)
        solution = solve(problem, GPHMSolver(40, options=options))
        torch.testing.assert_close(
            solution.value(points), problem.exact(points), rtol=0, atol=bound
        )


def test_a_nonlinear_equation_takes_noisy_observations():
    clean = allen_cahn_1d("single_sin", frequencies=(8.0,))
    places = torch.linspace(0.4, 5.9, 12, dtype=torch.float64)[:, None]
    values = clean.exact(places)[:, 0]
    seen = Observations(places, values, 0.01)
    conditions = [clean.conditions[0], seen]

    def residual(points, u):
        # the equation of the gallery reads the jet that it is given
        return clean.residuals(points.coordinates, [u])[0]

    problem = Problem(clean.domain, residual, conditions, exact=clean.exact)
    solution = solve(problem, GPHMSolver(64), throw=False)
    points = torch.linspace(0, 2 * math.pi, 50, dtype=torch.float64)[:, None]
    torch.testing.assert_close(solution.value(points), clean.exact(points), rtol=0, atol=1e-4)


def test_deviation_shrinks_near_observations():
    clean, _ = noisy_problem(3, 20, 120, 0.05, 7_654_321)
    place = torch.tensor([[2.5]], dtype=torch.float64)
    seen = Observations(place, clean.exact(place)[:, 0], 1e-3)
    problem, _ = noisy_problem(3, 20, 120, 0.05, 7_654_321)
    both = Problem(
        problem.domain,
        lambda p, u: problem.residuals(p.coordinates, [u])[0],
        [*problem.conditions, seen],
    )
    alone = solve(problem, GPHMSolver(120, options=POSTERIOR)).value
    informed = solve(both, GPHMSolver(120, options=POSTERIOR)).value
    assert float(informed.std(place)) < 1.01e-3 < 0.5 * float(alone.std(place))
    near = torch.linspace(2.35, 2.5, 4, dtype=torch.float64)[:, None]
    assert bool((informed.std(near)[:, 0].diff() < 0).all())


def test_what_has_no_posterior_says_so():
    with pytest.raises(ValueError, match="expected a linear problem on one or two axes"):
        solve(poisson_3d("sin_sin_sin"), GPHMSolver(16, options=POSTERIOR))
    with pytest.raises(ValueError, match="expected a linear problem with posterior=True"):
        solve(allen_cahn_1d("sin_cos"), GPHMSolver(400, options=POSTERIOR))


def test_the_learned_spectrum_has_both_lines():
    problem, _ = noisy_problem(6, 20, 200, 0.01, 8_100_007)
    passes = []
    solution = solve_line_posterior(
        problem, (200,), POSTERIOR, lambda number, known: passes.append((number, *known))
    )
    spectrum = solution.stats["spectrum"]["x"]
    strong = spectrum["frequency"][spectrum["weight"] > 0.3] * 2 * math.pi
    # sin 6x cos 20x is a sum of the frequencies 26 and 14, to one line of the lattice
    assert bool((((strong - 14).abs() < 0.5) | ((strong - 26).abs() < 0.5)).all())
    assert float(strong.min()) < 15 < 25 < float(strong.max())
    assert passes == [(k, "residual_norm", "evidence") for k in range(1, 7)]
