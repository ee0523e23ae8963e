"""Evidence: its gradient, its covariance against definitions, and what it solves."""

import math

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.adam_problem import grid_nodes
from sciml.models.gp_hm.assembly import CovarianceError
from sciml.models.gp_hm.evidence import EvidenceOptions, solve_evidence
from sciml.models.gp_hm.evidence_gram import Hyperparameters, RowCovariance
from sciml.models.gp_hm.evidence_posterior import EvidencePosterior
from sciml.models.gp_hm.evidence_rows import ProblemRows, axis_coordinates
from sciml.models.gp_hm.evidence_search import maximise_evidence, negative_log_evidence
from sciml.models.gp_hm.evidence_start import spectral_start
from sciml.models.gp_hm.kernels import GM, SE, STM, MixtureParameters
from sciml.pde.conditions import Dirichlet, Neumann, Observations, Periodic, Robin
from sciml.pde.gallery.allen_cahn import allen_cahn_1d
from sciml.pde.gallery.poisson import poisson_1d, poisson_2d
from sciml.pde.points import interior_points
from sciml.pde.problem import Problem
from sciml.solution import Status

UNIT = Box(("x",), (0.0,), (1.0,))
SQUARE = Box(("x", "y"), (0.0, 0.0), (1.0, 0.8))
KERNELS = pytest.mark.parametrize("kernel", [STM, GM], ids=lambda kernel: kernel.name)


def mixture(shift):
    return MixtureParameters(
        torch.tensor([-0.3, 0.2], dtype=torch.float64) + shift,
        torch.tensor([0.9, 0.4], dtype=torch.float64),
        torch.tensor([0.0, 1.3], dtype=torch.float64) - shift,
    )


def plane_problem():
    """Variable coefficients, three kinds of conditions, and two observations off the grid."""
    places = torch.tensor([[0.31, 0.22], [0.77, 0.41]], dtype=torch.float64)
    observed = torch.tensor([0.4, -0.1], dtype=torch.float64)
    return Problem(
        SQUARE,
        lambda p, u: (1 + p.x) * u.d(x=2) + u.d(y=1) + u.d(x=1, y=1) - 3 * u.value - p.y,
        [
            Dirichlet("x", "low", lambda p: p.y),
            Dirichlet("y", "low", 0.2),
            Neumann("x", "high", 1.0),
            Robin("y", "high", 0.0, 2.0),
            Observations(places, observed, 0.1),
        ],
    )


def plane_covariance(kernel):
    rows = ProblemRows(plane_problem(), grid_nodes(plane_problem(), (4, 3)))
    covariance = RowCovariance(kernel, rows.axes(), rows.groups(), 1e-8)
    noise = torch.tensor(-3.0, dtype=torch.float64)
    return covariance, Hyperparameters((mixture(0.0), mixture(0.4)), noise)


@KERNELS
def test_covariance_of_rows_is_the_operator_applied_twice_to_the_kernel(kernel):
    """Every entry, by automatic differentiation of the product kernel in both arguments."""
    covariance, parameters = plane_covariance(kernel)
    made = covariance.matrix(parameters)
    torch.testing.assert_close(made, made.T, rtol=0, atol=1e-12 * float(made.max()))

    def value(x, y):
        product = torch.ones((), dtype=torch.float64)
        for k, m in enumerate(parameters.mixtures):
            tau = x[k] - y[k]
            wave = torch.cos(2 * math.pi * m.frequencies * tau)
            if kernel is GM:
                envelope = torch.exp(-m.log_scales.exp() * tau**2)
            else:
                s = math.sqrt(5) * m.log_scales.exp() * tau.abs()
                envelope = (1 + s + s**2 / 3) * torch.exp(-s)
            product = product * (m.log_weights.exp() * envelope * wave).sum()
        return product

    def derivative(function, index, argument):
        for k, order in enumerate(index):
            for _ in range(order):

                def function(x, y, inner=function, k=k):
                    return torch.func.grad(inner, argnums=argument)(x, y)[k]

        return function

    entries = [(group, i) for group in covariance.groups for i in range(len(group))]
    generator = torch.Generator().manual_seed(83_003)
    chosen = torch.randint(len(entries), (40, 2), generator=generator).tolist()
    compared = 0
    for row, column in chosen:
        (first, i), (second, j) = entries[row], entries[column]
        if bool((first.points[i] == second.points[j]).any()):
            continue  # |τ| has no derivatives by automatic differentiation at 0
        expected = sum(
            a_value[i]
            * b_value[j]
            * derivative(derivative(value, a, 0), b, 1)(first.points[i], second.points[j])
            for a, a_value in first.terms.items()
            for b, b_value in second.terms.items()
        )
        torch.testing.assert_close(made[row, column], expected, rtol=1e-9, atol=1e-9)
        compared += 1
    assert compared > 8


@KERNELS
def test_noise_and_jitter_stand_on_the_diagonal(kernel):
    covariance, parameters = plane_covariance(kernel)
    louder = Hyperparameters(parameters.mixtures, parameters.log_noise + 1.0)
    change = covariance.matrix(louder) - covariance.matrix(parameters)
    sizes = [len(group) for group in covariance.groups]
    expected = torch.zeros(sum(sizes), dtype=torch.float64)
    expected[-sizes[-1] :] = math.exp(-2.0) - math.exp(-3.0)
    rounding = 1e-13 * float(covariance.matrix(parameters).max())
    torch.testing.assert_close(change, torch.diag(expected), rtol=0, atol=rounding)
    exact = RowCovariance(kernel, covariance.axes, covariance.groups, 1e-15)
    added = (covariance.matrix(parameters) - exact.matrix(parameters)).diagonal()
    assert float(added.min()) > 0
    observed = covariance.groups[-2]
    assert observed.variance == pytest.approx(0.01)
    assert [group.learned for group in covariance.groups] == [False] * 5 + [True]


@KERNELS
def test_evidence_is_the_gaussian_density_and_its_gradient_is_exact(kernel):
    covariance, parameters = plane_covariance(kernel)
    value, gradient = negative_log_evidence(covariance, parameters)
    density = torch.distributions.MultivariateNormal(
        torch.zeros_like(covariance.values), covariance.matrix(parameters)
    )
    assert value == pytest.approx(-float(density.log_prob(covariance.values)), rel=1e-8)
    step = 1e-5
    for k in range(len(gradient)):
        shift = torch.zeros_like(gradient)
        shift[k] = step
        ends = [
            negative_log_evidence(covariance, parameters.replaced(parameters.vector + s))[0]
            for s in (shift, -shift)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert slope == pytest.approx(float(gradient[k]), rel=2e-4, abs=2e-4), k


@KERNELS
def test_posterior_interpolates_its_data_and_its_variance_is_the_schur_complement(kernel):
    box_problem = Problem(
        UNIT,
        lambda p, u: u.d(x=2) + torch.sin(5 * p.x),
        [Dirichlet("x", "low", 0.3), Dirichlet("x", "high", -0.2)],
    )
    nodes = grid_nodes(box_problem, 8)
    rows = ProblemRows(box_problem, nodes)
    covariance = RowCovariance(kernel, rows.axes(), rows.groups(), 1e-10)
    parameters = Hyperparameters((mixture(0.0),), torch.tensor(-20.0, dtype=torch.float64))
    field = EvidencePosterior(box_problem, covariance, parameters)
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    wanted = torch.tensor([[0.3], [-0.2]], dtype=torch.float64)
    torch.testing.assert_close(field(ends), wanted, rtol=0, atol=1e-5)
    grid = nodes[0][:, None]
    torch.testing.assert_close(field.d(grid, x=2), -torch.sin(5 * grid), rtol=0, atol=1e-3)
    point = torch.tensor([[0.37]], dtype=torch.float64)
    slope = (field(point + 1e-5) - field(point - 1e-5)) / 2e-5
    torch.testing.assert_close(field.d(point, x=1), slope, rtol=1e-4, atol=1e-6)
    # one more observation at the point, without noise, reduces the evidence by its variance
    seen = Observations(point, torch.zeros(1, dtype=torch.float64), 0.0)
    more = Problem(
        UNIT, lambda p, u: u.d(x=2) + torch.sin(5 * p.x), [*box_problem.conditions, seen]
    )
    rows = ProblemRows(more, nodes)
    joint = RowCovariance(kernel, rows.axes(), rows.groups(), 1e-10).matrix(parameters)
    alone = covariance.matrix(parameters)
    variance = (torch.logdet(joint) - torch.logdet(alone)).exp()
    assert float(field.std(point)) ** 2 == pytest.approx(float(variance), rel=1e-2)
    assert float(field.std(ends).max()) < 1e-3


def test_search_increases_the_evidence_and_survives_parameters_without_a_factor():
    covariance, start = plane_covariance(GM)
    search = maximise_evidence(covariance, start, 25)
    assert search.history[-1] < search.history[0] - 1
    best, gradient = negative_log_evidence(covariance, search.parameters)
    assert best == pytest.approx(min(search.history), rel=1e-8)
    _, before = negative_log_evidence(covariance, start)
    assert float(gradient.norm()) < float(before.norm())
    broken = start.detach()
    broken.mixtures[0].log_weights.fill_(float("nan"))
    with pytest.raises(CovarianceError, match="negative_log_evidence: covariance of the data"):
        maximise_evidence(covariance, broken, 5)


def test_coordinates_are_found_again():
    nodes = torch.linspace(0, 1, 6, dtype=torch.float64)
    wanted = torch.tensor([0.2 + 1e-15, 0.9, 0.0, 0.33, 0.9], dtype=torch.float64)
    axis = axis_coordinates(nodes, wanted)
    torch.testing.assert_close(axis.others, torch.tensor([0.33, 0.9], dtype=torch.float64))
    assert axis.locate(wanted).tolist() == [1, 7, 0, 6, 7]


def test_corners_are_asked_for_once():
    problem = poisson_2d("sin_sin", frequencies=(3.0, 2.0))
    rows = ProblemRows(problem, grid_nodes(problem, (6, 4)))
    assert sum(len(group) for group in rows.conditions) == 2 * 6 + 2 * 4 - 4


@KERNELS
def test_search_starts_at_the_frequencies_of_the_solution(kernel):
    problem = poisson_1d("sin_cos")
    nodes = grid_nodes(problem, 400)
    equation = ProblemRows(problem, nodes).groups()[-1]
    start = spectral_start(kernel, nodes, equation, 6, 2.137)
    frequencies = start.mixtures[0].frequencies
    assert frequencies[0] == 0
    for omega in (94.0, 106.0):  # sin 6x cos 100x
        gap = (2 * math.pi * frequencies - omega).abs().min()
        assert float(gap) < 0.5
    assert len(frequencies) <= 6


@pytest.mark.parametrize(("kernel", "bound"), [("stm", 2e-6), ("gm", 2e-6)])
def test_a_high_frequency_is_solved_by_few_components(kernel, bound):
    problem = poisson_1d("sin_cos", frequencies=(3.0, 25.0))
    seen = []
    solution = solve_evidence(
        problem,
        resolution=100,
        kernel=kernel,
        options=EvidenceOptions(max_steps=25),
        callback=lambda step, known: seen.append((step, known["residual_norm"])),
    )
    points = interior_points(problem.domain, 500, torch.Generator().manual_seed(60_013))
    exact = problem.exact(points)
    error = float((solution.value(points) - exact).norm() / exact.norm())
    assert error < bound
    assert seen == [(1, solution.stats["residual_norm"])]
    assert solution.stats["residual_norm"] < 1e-5
    assert 1e-13 <= solution.stats["jitter"] <= 1e-8
    assert len(solution.history) == solution.num_steps + 1
    strongest = solution.stats["spectrum"]["x"]["frequency"]
    assert float((2 * math.pi * strongest - 28).abs().min()) < 0.5


def test_semilinear_equation_is_linearised_until_nothing_moves():
    problem = allen_cahn_1d("single_sin", frequencies=(5.5,))
    solution = solve_evidence(
        problem, resolution=40, options=EvidenceOptions(max_steps=20, tolerance=1e-3)
    )
    points = interior_points(problem.domain, 300, torch.Generator().manual_seed(60_013))
    exact = problem.exact(points)
    assert float((solution.value(points) - exact).norm() / exact.norm()) < 1e-5
    assert solution.status is Status.CONVERGED
    stopped = solve_evidence(
        problem, resolution=40, options=EvidenceOptions(max_steps=3, max_newton=2)
    )
    assert stopped.status is Status.MAX_STEPS
    assert "in the last linearisation" in stopped.stats["detail"]


def test_two_dimensions_on_a_rectangular_grid():
    problem = poisson_2d("sin_sin", frequencies=(5.0, 4.0), domain=SQUARE)
    solution = solve_evidence(
        problem, resolution=(13, 10), kernel="gm", options=EvidenceOptions(max_steps=15)
    )
    points = interior_points(SQUARE, 300, torch.Generator().manual_seed(60_013))
    exact = problem.exact(points)
    assert float((solution.value(points) - exact).norm() / exact.norm()) < 1e-5
    assert solution.value.std(points).shape == (300, 1)


def noisy_problem(seed, noise):
    """u'' = f with nothing known at the ends but 25 noisy values inside."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(25, 1, dtype=torch.float64, generator=generator)

    def solution(p):
        return torch.sin(11 * p.x) + 0.5 * p.x

    values = torch.sin(11 * places[:, 0]) + 0.5 * places[:, 0]
    values = values + noise * torch.randn(25, dtype=torch.float64, generator=generator)
    return Problem(
        UNIT,
        lambda p, u: u.d(x=2) + 121 * torch.sin(11 * p.x),
        [Observations(places, values, noise)],
        exact=solution,
    )


@pytest.mark.parametrize("noise", [0.05, 0.1])
def test_observations_determine_what_conditions_leave_open(noise):
    """Under a wide prior the two free constants are those of a regression line."""
    problem = noisy_problem(3_301, noise)
    rows = ProblemRows(problem, grid_nodes(problem, 40))
    wide = MixtureParameters(*torch.tensor([[6.0], [2.0], [0.0]], dtype=torch.float64))
    parameters = Hyperparameters((wide,), torch.tensor(-24.0, dtype=torch.float64))
    covariance = RowCovariance(SE, rows.axes(), rows.groups(), 1e-12)
    field = EvidencePosterior(problem, covariance, parameters)
    observed = problem.observations[0]
    line = torch.cat([torch.ones_like(observed.points), observed.points], 1)
    misfit = observed.values - torch.sin(11 * observed.points[:, 0])
    constants = torch.linalg.lstsq(line, misfit[:, None]).solution
    spread = noise**2 * torch.linalg.inv(line.T @ line)
    points = torch.tensor([[0.05], [0.5], [0.9]], dtype=torch.float64)
    design = torch.cat([torch.ones_like(points), points], 1)
    expected = torch.sin(11 * points) + design @ constants
    deviation = ((design @ spread) * design).sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(field(points), expected, rtol=0, atol=1e-3 * noise)
    torch.testing.assert_close(field.std(points), deviation, rtol=1e-3, atol=0)


def test_noisy_observations_are_solved_with():
    problem = noisy_problem(7_717, 0.05)
    solution = solve_evidence(
        problem, resolution=40, kernel="gm", options=EvidenceOptions(max_steps=15)
    )
    points = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
    error = (solution.value(points) - problem.exact(points)).abs()
    assert solution.status is Status.CONVERGED
    assert float(error.max()) < 0.1
    assert float(solution.value.std(points).max()) < 0.1


def test_problems_of_other_kinds_are_refused():
    end = Dirichlet("x", "low", 0.0)

    def problem(residual=lambda p, u: u.d(x=2), conditions=(end,), **options):
        return Problem(UNIT, residual, list(conditions), **options)

    with pytest.raises(ValueError, match=r"expected an operator of order at most 2 .* got 4"):
        solve_evidence(problem(lambda p, u: u.d(x=4)), resolution=9)
    with pytest.raises(ValueError, match="expected no periodic axis"):
        solve_evidence(problem(conditions=[Periodic("x")]), resolution=9)
    with pytest.raises(ValueError, match="expected at most 4000 rows of data, got 5001"):
        solve_evidence(problem(), resolution=5000)
    with pytest.raises(ValueError, match="expected at least 3 nodes"):
        solve_evidence(problem(), resolution=(9, 9))
    ends = [Dirichlet("x", "low", 0.0, field="u"), Dirichlet("x", "low", 0.0, field="v")]
    system = problem(lambda p, u, v: (u.d(x=2) - v.value, v.d(x=2)), ends, fields=("u", "v"))
    with pytest.raises(ValueError, match="expected one field and one equation, got 2 and 2"):
        solve_evidence(system, resolution=9)
    with pytest.raises(ValueError, match="expected max_steps of at least 1, got 0"):
        EvidenceOptions(max_steps=0)
    with pytest.raises(ValueError, match="expected a positive kappa, got -1"):
        EvidenceOptions(kappa=-1.0)
