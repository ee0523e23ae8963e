"""Posterior on a rectangle: against dense Gaussians, limits, observations, open sides."""

import math

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.direct_basis import gauss_rule
from sciml.models.gp_hm.direct_forms import discretisations
from sciml.models.gp_hm.direct_observations import observed_values
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_plane import solve_plane_posterior
from sciml.models.gp_hm.direct_plane_equation import PlaneEquation
from sciml.models.gp_hm.direct_plane_posterior import PlanePosterior
from sciml.models.gp_hm.direct_source import condition_source
from sciml.models.gp_hm.solver import GPHMSolver
from sciml.pde.conditions import Dirichlet, Initial, Neumann, Observations, Periodic, Robin
from sciml.pde.gallery.poisson import poisson_2d, poisson_3d
from sciml.pde.points import Points
from sciml.pde.problem import Problem
from sciml.solvers.base import solve

POSTERIOR = DirectOptions(posterior=True)
BOX = Box(("x", "y"), (0.0, -0.5), (1.0, 0.7))


def exact(points):
    return torch.sin(7 * points.x) * torch.cos(5 * points.y) + 0.4 * points.x + points.y**2


def right(points):
    return -74 * torch.sin(7 * points.x) * torch.cos(5 * points.y) + 2.0


def noise_table(shape, deviation, seed):
    generator = torch.Generator().manual_seed(seed)
    return deviation * torch.randn(shape, dtype=torch.float64, generator=generator)


def rectangle_problem(conditions=None, *, observations=(), noise=None):
    """Poisson with the solution `exact`; noise is one number per node of a uniform grid."""

    def residual(points, u):
        source = right(points)
        if noise is not None:
            places = [
                ((c - low) / extent * (count - 1)).round().long()
                for c, low, extent, count in zip(
                    points.coordinates.unbind(1), BOX.low, BOX.extent, noise.shape, strict=True
                )
            ]
            source = source + noise[places[0], places[1]]
        return u.d(x=2) + u.d(y=2) - source

    sides = all_sides() if conditions is None else conditions
    return Problem(BOX, residual, [*sides, *observations], exact=exact)


def all_sides():
    return [Dirichlet(axis, side, exact) for axis in "xy" for side in ("low", "high")]


def inside(count, seed=9_100_213):
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(count, 2, dtype=torch.float64, generator=generator)
    low = torch.tensor(BOX.low, dtype=torch.float64)
    return low + unit * torch.tensor(BOX.extent, dtype=torch.float64)


def observations(count, noise, seed=3_300_017):
    points = inside(count, seed)
    values = exact(Points(("x", "y"), points))
    return Observations(points, values + noise_table(count, noise, seed + 2), noise)


def weighted(plane, seed=5_007):
    """The lattices of a plane with random weights."""
    generator = torch.Generator().manual_seed(seed)
    return [
        own.reweighted(
            torch.rand(2 * own.num_lines, dtype=torch.float64, generator=generator)
            / (1 + (0.1 * torch.cat([own.omega, own.omega])) ** 6)
        )
        for own in plane.features
    ]


def small_source(resolution=(12, 15), observed=()):
    problem = rectangle_problem(noise=noise_table(resolution, 3.0, 771), observations=observed)
    plane = PlaneEquation(problem, resolution, POSTERIOR)
    return plane, condition_source(weighted(plane), plane.nodes, plane.samples)


def dense_rows(plane, lines):
    """All products of weighted features on the grid of the lines."""
    return torch.kron(
        *[own.evaluate(x) * own.scales for own, x in zip(weighted(plane), lines, strict=True)]
    )


def dense_posterior(plane, source, wanted):
    """Mean and covariance of functionals of f, and the covariance of the samples."""
    rows = dense_rows(plane, plane.nodes)
    noise = source.noise_variance * torch.eye(rows.shape[0], dtype=torch.float64)
    covariance = source.prior_variance * rows @ rows.T + noise
    cross = source.prior_variance * wanted @ rows.T
    mean = cross @ torch.linalg.solve(covariance, plane.samples.flatten())
    known = cross @ torch.linalg.solve(covariance, cross.T)
    return mean, source.prior_variance * wanted @ wanted.T - known, covariance


def test_samples_of_the_source_are_conditioned_as_a_dense_gaussian():
    plane, source = small_source()
    lines = [
        torch.linspace(low, low + extent, count, dtype=torch.float64)
        for low, extent, count in zip(BOX.low, BOX.extent, (4, 3), strict=True)
    ]
    mean, _, covariance = dense_posterior(plane, source, dense_rows(plane, lines))
    data = plane.samples.flatten()
    atol = 1e-7 * float(data.abs().max())
    torch.testing.assert_close(source.on_grid(lines).flatten(), mean, rtol=1e-7, atol=atol)
    density = torch.distributions.MultivariateNormal(torch.zeros_like(data), covariance)
    assert source.evidence == pytest.approx(float(density.log_prob(data)), rel=1e-8)
    assert source.noise_variance > 0.1


def solutions(plane, points, count=150):
    """Poisson's equation with zero sides and products of features right, as sine series."""
    number = torch.arange(1, count + 1, dtype=torch.float64)
    nodes, weights = gauss_rule(320)
    at, onto, eigenvalues = [], [], []
    for k, own in enumerate(weighted(plane)):
        low, extent = BOX.low[k], BOX.extent[k]
        line = 0.5 * extent * (1 + nodes)
        sines = 2 / extent * torch.sin(line[:, None] * (math.pi * number / extent))
        onto.append((0.5 * extent * weights * sines.T) @ own.evaluate(low + line) * own.scales)
        at.append(torch.sin((points[:, k : k + 1] - low) * (math.pi * number / extent)))
        eigenvalues.append(-((math.pi * number / extent) ** 2))
    inverse = 1 / (eigenvalues[0][:, None] + eigenvalues[1])
    series = torch.einsum("na,ab,nb->nab", at[0], inverse, at[1])
    return torch.einsum("nab,ai,bj->nij", series, *onto).flatten(1)


@pytest.mark.parametrize("count", [0, 5])
def test_deviation_is_that_of_the_dense_gaussian(count):
    observed = [observations(count, 0.01)] if count else []
    plane, source = small_source(observed=observed)
    problem = rectangle_problem(observations=observed)
    posterior = PlanePosterior(plane, source, observed_values(problem))
    points = inside(7)
    seen = observed[0].points if count else points[:0]
    _, joint, _ = dense_posterior(plane, source, solutions(plane, torch.cat([points, seen])))
    covariance, cross = joint[:7, :7], joint[:7, 7:]
    if count:
        noise = 0.01**2 * torch.eye(count, dtype=torch.float64)
        gain = torch.linalg.solve(joint[7:, 7:] + noise, cross.T).T
        before = PlanePosterior(plane, source, observed_values(rectangle_problem())).solution
        misfit = observed[0].values - before.evaluate(seen, (0, 0))
        expected = before.evaluate(points, (0, 0)) + gain @ misfit
        found = posterior.solution.evaluate(points, (0, 0))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        covariance = covariance - gain @ cross.T
    expected = covariance.diagonal().sqrt()
    torch.testing.assert_close(posterior.deviation(points), expected, rtol=1e-3, atol=0)


def test_deviation_has_the_symmetry_of_the_problem():
    clean = poisson_2d("sin_sin", frequencies=(5.0, 5.0))
    solution = solve(
        clean, GPHMSolver(40, options=DirectOptions(posterior=True, tolerance=1e-3))
    )
    generator = torch.Generator().manual_seed(80_177)
    points = 2 * math.pi * torch.rand(40, 2, dtype=torch.float64, generator=generator)
    here = solution.value.std(points)
    torch.testing.assert_close(here, solution.value.std(points.flip(1)), rtol=1e-3, atol=0)
    turned = 2 * math.pi - points
    torch.testing.assert_close(here, solution.value.std(turned), rtol=1e-3, atol=0)


def test_without_noise_mean_and_deviation_are_those_of_the_plain_solver():
    problem = rectangle_problem()
    solution = solve(problem, GPHMSolver((30, 34), options=POSTERIOR))
    plain = solve(problem, GPHMSolver((30, 34)))
    points = inside(200)
    torch.testing.assert_close(solution.value(points), plain.value(points), rtol=0, atol=1e-6)
    assert float(solution.value.std(points).max()) < 1e-5
    assert solution.stats["noise"] < 1e-3
    slope = plain.value.d(points, x=1, y=1)
    torch.testing.assert_close(solution.value.d(points, x=1, y=1), slope, rtol=0, atol=1e-3)


def test_deviation_is_proportional_to_the_noise_and_zero_on_the_sides():
    typical = []
    for level in (1.0, 0.1):
        problem = rectangle_problem(noise=noise_table((30, 34), level, 1_000_003))
        solution = solve(problem, GPHMSolver((30, 34), options=POSTERIOR))
        points = inside(100)
        typical.append(float(solution.value.std(points).mean()))
        assert solution.stats["noise"] == pytest.approx(level, rel=0.06)
        side = points.clone()
        side[:, 0] = 1.0
        assert float(solution.value.std(side).max()) < 1e-9 + 1e-6 * typical[-1]
    assert 6 < typical[0] / typical[1] < 16


def test_intervals_cover():
    points = inside(300)
    truth = exact(Points(("x", "y"), points))
    shares = []
    for seed in range(1_000_003, 1_000_015, 2):
        problem = rectangle_problem(noise=noise_table((30, 34), 0.5, seed))
        u = solve(problem, GPHMSolver((30, 34), options=POSTERIOR)).value
        scaled = (u(points)[:, 0] - truth).abs() / u.std(points)[:, 0]
        shares.append([float((scaled < bound).double().mean()) for bound in (1.0, 2.0)])
    one, two = torch.tensor(shares).mean(0).tolist()
    assert 0.45 < one < 0.95
    assert two > 0.82


@pytest.mark.parametrize(
    "conditions",
    [
        [
            Dirichlet("x", "low", exact),
            Neumann("x", "high", lambda p: 7 * math.cos(7.0) * torch.cos(5 * p.y) + 0.4),
            Dirichlet("y", "low", exact),
            Dirichlet("y", "high", exact),
        ],
        [
            Dirichlet("x", "low", exact),
            Dirichlet("x", "high", exact),
            Robin(
                "y",
                "low",
                lambda p: 5 * torch.sin(7 * p.x) * math.sin(-2.5) + 1.0 + 2 * exact(p),
                2.0,
            ),
            Dirichlet("y", "high", exact),
        ],
    ],
    ids=["Neumann", "Robin"],
)
def test_other_sides(conditions):
    problem = rectangle_problem(conditions)
    solution = solve(problem, GPHMSolver((30, 34), options=POSTERIOR))
    points = inside(200)
    torch.testing.assert_close(solution.value(points), problem.exact(points), rtol=0, atol=1e-6)


def test_exact_observations_of_the_solution_change_nothing():
    points = inside(200)
    plain = solve(rectangle_problem(), GPHMSolver((30, 34)))
    seen = rectangle_problem(observations=[observations(20, 0.0)])
    solution = solve(seen, GPHMSolver((30, 34)))
    torch.testing.assert_close(solution.value(points), plain.value(points), rtol=0, atol=1e-6)


def test_deviation_shrinks_near_observations():
    noise = noise_table((30, 34), 5.0, 2_000_003)
    alone = solve(rectangle_problem(noise=noise), GPHMSolver((30, 34), options=POSTERIOR))
    observed = observations(6, 1e-3)
    problem = rectangle_problem(noise=noise, observations=[observed])
    solution = solve(problem, GPHMSolver((30, 34)))
    points = inside(200)
    assert bool((solution.value.std(points) <= alone.value.std(points) + 1e-12).all())
    assert float(solution.value.std(observed.points).max()) <= 1e-3
    assert float(alone.value.std(observed.points).mean()) > 5e-3
    gap = [float((s.value(points) - seen_exact(points)).norm()) for s in (alone, solution)]
    assert gap[1] < gap[0]
    assert solution.stats["observation_misfit"] < 3


def seen_exact(points):
    return exact(Points(("x", "y"), points))[:, None]


@pytest.mark.parametrize("open_axis", ["x", "y"])
@pytest.mark.parametrize("open_sides", [("high",), ("low", "high")])
def test_observations_replace_a_condition(open_axis, open_sides):
    sides = [c for c in all_sides() if c.axis != open_axis or c.side not in open_sides]
    problem = rectangle_problem(sides, observations=[observations(150, 0.0)])
    solution = solve(problem, GPHMSolver((30, 34)))
    points = inside(200)
    error = (solution.value(points) - problem.exact(points)).abs()
    assert float(error.max()) < 2e-4
    # without noise a std of 1e-9 is one of rounding, which differs with the number of threads
    assert float((error / solution.value.std(points)).square().mean()) < 25
    noisy = rectangle_problem(sides, observations=[observations(150, 0.02)])
    rough = solve(noisy, GPHMSolver((30, 34)))
    error = (rough.value(points) - problem.exact(points)).abs()
    assert float(error.square().mean().sqrt()) < 0.06
    assert float((error / rough.value.std(points)).square().mean()) < 4
    assert 0.7 < rough.stats["observation_misfit"] < 1.3


def test_what_has_no_posterior_says_so():
    def refused(match, problem, resolution=20):
        with pytest.raises(ValueError, match=match):
            solve_plane_posterior(problem, (resolution,) * problem.domain.ndim, POSTERIOR)

    refused("expected a linear problem on one or two axes", poisson_3d("sin_sin_sin"))
    sides = all_sides()
    refused(
        "expected a linear problem on one or two axes",
        Problem(BOX, lambda p, u: u.d(x=2) + u.d(y=2) - u.value**3, sides),
    )
    periodic = [Periodic("x"), *sides[2:]]
    refused("expected no periodic axis", rectangle_problem(periodic))
    first = Problem(BOX, lambda p, u: u.d(x=2) - u.d(y=1), [*sides[:2], Initial("y", exact)])
    refused(r"got orders \[\[2\], \[1\]\]; use inference='evidence'", first)
    steep = Problem(BOX, lambda p, u: (1 + p.x) * u.d(x=2) + u.d(y=2), sides)
    refused("with varying coefficients", steep)
    reaction = Problem(BOX, lambda p, u: u.d(x=2) + u.d(y=2) - p.x * u.value, sides)
    refused(r"expected a constant coefficient of u .* got between -1 and -0\.000", reaction)
    refused(
        "expected conditions on both sides of one axis", rectangle_problem([sides[0], sides[2]])
    )
    doubled = [*sides, Neumann("x", "low", 0.0)]
    refused("expected one condition on a side with a posterior", rectangle_problem(doubled))
    many = rectangle_problem(observations=[observations(1001, 0.1)])
    refused("expected at most 1000 observations with a posterior, got 1001", many)
    with pytest.raises(ValueError, match=r"without a posterior, got 1; pass DirectOptions"):
        next(
            discretisations(
                rectangle_problem(observations=[observations(3, 0.1)]), (9, 9), DirectOptions()
            )
        )


def test_the_learned_spectrum_and_every_pass_are_reported():
    """A wave between the lines of both lattices stays near them."""
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.2))

    def wave(points):
        return torch.sin(31.0 * points.x) * torch.sin(19.0 * points.y)

    sides = [Dirichlet(axis, side, wave) for axis in "xy" for side in ("low", "high")]
    problem = Problem(
        box, lambda p, u: u.d(x=2) + u.d(y=2) + (31.0**2 + 19.0**2) * wave(p), sides, exact=wave
    )
    passes = []
    solution = solve_plane_posterior(
        problem, (40, 36), POSTERIOR, lambda number, known: passes.append((number, *known))
    )
    for axis, omega, length in (("x", 31.0, 1.0), ("y", 19.0, 1.2)):
        spectrum = solution.stats["spectrum"][axis]
        strongest = float(spectrum["frequency"][spectrum["weight"].argmax()])
        # the next line of the lattice
        assert abs(strongest - omega / (2 * math.pi)) < 0.5 / (POSTERIOR.kappa * length) + 1e-9
        assert float(spectrum["weight"].max()) == 1.0
    names = ("residual_norm", "boundary_misfit", "evidence")
    assert passes == [(k, *names) for k in range(1, 7)]
