import logging

import pytest
import torch

from sciml.evaluation import solution_field
from sciml.evaluation.solution_field import PosteriorField, interpolant, with_posterior
from sciml.pde.points import interior_points
from tests.evaluation.solved import shifted, solved


def points_in(problem):
    return interior_points(problem.domain, 200, torch.Generator().manual_seed(8_120_633))


def test_an_interpolant_is_kept_as_it_is():
    problem, solution = solved(2)
    assert interpolant(problem, solution.value) is solution.value


def test_a_field_with_error_bars_keeps_its_values_and_gets_cheap_ones():
    problem, solution = shifted(2, 0.1)
    points = points_in(problem)
    field = with_posterior(problem, solution.value)
    assert isinstance(field, PosteriorField)
    assert torch.equal(field(points), solution.value(points))
    assert torch.equal(field.d(points, x=1, y=1), solution.value.d(points, x=1, y=1))
    torch.testing.assert_close(
        field.std(points), solution.value.std(points), rtol=1e-6, atol=1e-6
    )
    # on the side where it vanishes rounding may have any sign
    side = torch.stack([points[:, 0], torch.full_like(points[:, 1], problem.domain.low[1])], 1)
    assert float(field.std(side).max()) < 1e-6
    assert with_posterior(problem, field) is field
    values = interpolant(problem, field)(points)
    torch.testing.assert_close(values, solution.value(points), rtol=0, atol=1e-12)


def test_a_field_without_posterior_stays_as_it_is():
    problem, solution = solved(1)
    assert with_posterior(problem, solution.value) is solution.value


def test_a_variance_between_the_nodes_is_said(monkeypatch, caplog):
    monkeypatch.setattr(solution_field, "LARGEST_VARIANCE_RESOLUTION", {1: 8})
    problem, solution = shifted(1, 0.0)
    monkeypatch.setattr(
        solution.value, "deviation", lambda points: 2.0 + torch.sin(40.0 * points[:, 0])
    )
    with caplog.at_level(logging.WARNING):
        field = with_posterior(problem, solution.value)
    assert "oscillates between (8,) nodes" in caplog.text
    nodes = field.variance.spectral_axes[0].nodes[:, None]
    torch.testing.assert_close(
        field.std(nodes), solution.value.std(nodes), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_nodes_are_doubled_until_the_coefficients_vanish(ndim):
    problem, solution = shifted(ndim, 0.25)
    found = interpolant(problem, solution.value)
    assert max(found.coefficient_tail()) < 1e-12
    points = points_in(problem)
    torch.testing.assert_close(found(points), solution.value(points), rtol=0, atol=1e-12)
