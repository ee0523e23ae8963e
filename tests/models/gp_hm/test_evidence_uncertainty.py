"""Evidence under noise: where the search begins, and what its uncertainty adds to intervals."""

import math

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.adam_problem import grid_nodes
from sciml.models.gp_hm.evidence import EvidenceOptions, solve_evidence
from sciml.models.gp_hm.evidence_gram import Hyperparameters, RowCovariance
from sciml.models.gp_hm.evidence_posterior import EvidencePosterior
from sciml.models.gp_hm.evidence_rows import ProblemRows
from sciml.models.gp_hm.evidence_start import spectral_start
from sciml.models.gp_hm.kernels import GM, STM, MixtureParameters
from sciml.pde.conditions import Dirichlet, Observations, Robin
from sciml.pde.gallery.poisson import poisson_1d
from sciml.pde.points import interior_points
from sciml.pde.problem import Problem

LINE = Box(("x",), (0.2,), (1.0,))
KERNELS = pytest.mark.parametrize("kernel", [STM, GM], ids=lambda kernel: kernel.name)


def line_covariance(kernel):
    """Variable coefficients, two kinds of conditions, two observations off the grid."""
    places = torch.tensor([[0.31], [0.77]], dtype=torch.float64)
    observed = torch.tensor([0.4, -0.1], dtype=torch.float64)
    problem = Problem(
        LINE,
        lambda p, u: (1 + p.x) * u.d(x=2) + u.d(x=1) - 3 * u.value - torch.sin(5 * p.x),
        [
            Dirichlet("x", "low", 0.7),
            Robin("x", "high", 0.0, 2.0),
            Observations(places, observed, 0.1),
        ],
    )
    rows = ProblemRows(problem, grid_nodes(problem, 7))
    covariance = RowCovariance(kernel, rows.axes(), rows.groups(), 1e-8)
    mixture = MixtureParameters(
        *torch.tensor([[-0.3, 0.2], [0.9, 0.4], [0.0, 1.3]], dtype=torch.float64)
    )
    noise = torch.tensor(-3.0, dtype=torch.float64)
    return problem, covariance, Hyperparameters((mixture,), noise)


@KERNELS
def test_noise_does_not_lead_the_search_astray(kernel):
    """Divided by the operator, slow lines of noise are far stronger than the solution."""
    clean = poisson_1d("sin_cos", frequencies=(3.0, 25.0))
    nodes = torch.linspace(0, 2 * math.pi, 100, dtype=torch.float64)
    (right,) = clean.residuals(nodes[:, None], clean.zero_jets(100))
    deviation = 0.02 * float(right.square().mean().sqrt())
    generator = torch.Generator().manual_seed(1_000_003)
    noise = deviation * torch.randn(100, dtype=torch.float64, generator=generator)

    def residual(p, u):
        nearest = (p.x / (2 * math.pi) * 99).round().long()
        return clean.residuals(p.coordinates, [u])[0] - noise[nearest]

    problem = Problem(clean.domain, residual, clean.conditions)
    equation = ProblemRows(problem, [nodes]).groups()[-1]
    start = spectral_start(kernel, [nodes], equation, 6, 2.137)
    frequencies = 2 * math.pi * start.mixtures[0].frequencies
    assert float((frequencies - 28).abs().min()) < 0.5
    assert float((frequencies - 22).abs().min()) < 0.5
    relative = deviation / float(right.abs().max())
    assert 0.5 < float((start.log_noise / 2).exp()) / relative < 2
    options = EvidenceOptions(max_steps=25)
    solution = solve_evidence(problem, resolution=100, kernel=kernel.name, options=options)
    points = interior_points(clean.domain, 300, torch.Generator().manual_seed(60_013))
    exact = clean.exact(points)
    gap = (solution.value(points) - exact).abs()
    assert float(gap.norm() / exact.norm()) < 0.02
    assert solution.stats["equation_noise"] == pytest.approx(relative, rel=0.25)
    assert float((gap < 3 * solution.value.std(points)).double().mean()) > 0.9


@KERNELS
def test_uncertainty_of_hyperparameters_is_the_delta_method(kernel):
    """Jacobian by differences of whole posteriors, information by differences of ½ log|G|."""
    problem, covariance, parameters = line_covariance(kernel)
    learned = EvidencePosterior(problem, covariance, parameters, learned=True)
    fixed = EvidencePosterior(problem, covariance, parameters)
    points = interior_points(LINE, 5, torch.Generator().manual_seed(31_013))
    centre = parameters.vector
    width = [1.0] * 4 + [1 / 0.8] * 2 + [1.0]
    step = 1e-4

    def moved(k, sign):
        shift = torch.zeros_like(centre)
        shift[k] = sign * step * width[k]
        return parameters.replaced(centre + shift).detach()

    columns, changes = [], []
    inverse = torch.linalg.inv(covariance.matrix(parameters))
    for k in range(len(centre)):
        ends = [moved(k, sign) for sign in (1.0, -1.0)]
        means = [EvidencePosterior(problem, covariance, end)(points)[:, 0] for end in ends]
        columns.append((means[0] - means[1]) / (2 * step))
        matrices = [covariance.matrix(end) for end in ends]
        changes.append(inverse @ (matrices[0] - matrices[1]) / (2 * step))
    jacobian = torch.stack(columns, 1)
    information = torch.stack(
        [torch.stack([0.5 * (a * b.T).sum() for a in changes]) for b in changes]
    )
    information = information + torch.eye(len(centre), dtype=torch.float64) / 9
    added = ((jacobian @ torch.linalg.inv(information)) * jacobian).sum(1)
    expected = (fixed.std(points)[:, 0].square() + added).sqrt()
    torch.testing.assert_close(learned.std(points)[:, 0], expected, rtol=1e-3, atol=0)
    assert bool((learned.std(points) > fixed.std(points)).all())
