"""Manufactured problems: sources by differentiation, kept for the points asked for last."""

import torch

from sciml import Box
from sciml.pde.conditions import Neumann
from sciml.pde.manufactured import dirichlet_everywhere, manufactured

BOX = Box(("x", "y"), (0.0, 0.0), (1.0, 2.0))
POINTS = torch.rand(
    9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5_210_011)
)


def exact(points):
    return points.x**3 * torch.exp(points.y)


def test_a_nonlinear_operator_is_applied_to_the_solution():
    problem = manufactured(BOX, lambda p, u: u.d(x=1) * u.value + p.y * u.d(x=1, y=2), exact)
    x, y = POINTS.T
    expected = 3 * x**5 * torch.exp(2 * y) + 3 * y * x**2 * torch.exp(y)
    (minus_f,) = problem.residuals(POINTS, problem.zero_jets(9))
    torch.testing.assert_close(-minus_f, expected)
    torch.testing.assert_close(problem.exact(POINTS)[:, 0], x**3 * torch.exp(y))


def test_conditions_are_dirichlet_unless_given():
    operator = lambda p, u: u.d(x=2)  # noqa: E731
    given = [Neumann("x", "low", 0.0)]
    assert len(manufactured(BOX, operator, exact).conditions) == 4
    assert len(manufactured(BOX, operator, exact, conditions=given).conditions) == 1
    periodic = Box(("x", "y"), (0.0, 0.0), (1.0, 2.0), (True, False))
    assert [str(c) for c in dirichlet_everywhere(periodic, exact)] == [
        "Dirichlet('y', 'low')",
        "Dirichlet('y', 'high')",
    ]


def test_sources_are_kept_for_the_same_points_only():
    calls = []

    def counted(points):
        calls.append(len(points))
        return exact(points)

    problem = manufactured(BOX, lambda p, u: u.value, counted)
    points, jets = POINTS.clone(), problem.zero_jets(9)
    (first,) = problem.residuals(points, jets)
    before = len(calls)
    (again,) = problem.residuals(points, jets)
    assert len(calls) == before
    assert torch.equal(first, again)
    points += 1.0  # the same tensor with other points
    (moved,) = problem.residuals(points, jets)
    torch.testing.assert_close(-moved, exact_at(points))
    (other,) = problem.residuals(POINTS, jets)
    torch.testing.assert_close(-other, exact_at(POINTS))


def exact_at(points):
    return points[:, 0] ** 3 * torch.exp(points[:, 1])
