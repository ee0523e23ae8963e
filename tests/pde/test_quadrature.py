"""Quadrature on panels: exactness, order, and integrals from the low end."""

import math

import pytest
import torch
from scipy import special

from sciml.pde.quadrature import antiderivative, panel_rule


@pytest.mark.parametrize("num_points", [1, 16, 17, 100])
def test_the_rule_covers_the_axis_in_order(num_points):
    nodes, weights = panel_rule(-1.3, 2.9, num_points)
    assert nodes.numel() == weights.numel() == 16 * math.ceil(num_points / 16)
    assert bool((nodes.diff() > 0).all())
    assert float(nodes[0]) > -1.3
    assert float(nodes[-1]) < 1.6
    assert float(weights.sum()) == pytest.approx(2.9, rel=1e-14)


def test_polynomials_up_to_degree_31_are_exact_on_one_panel():
    nodes, weights = panel_rule(0.0, 2.0, 16)
    for degree in (30, 31):
        expected = 2.0 ** (degree + 1) / (degree + 1)
        assert float(weights @ nodes**degree) == pytest.approx(expected, rel=1e-13)
    # the square of the polynomial that the nodes are the zeros of
    square = special.eval_legendre(16, nodes.numpy() - 1.0) ** 2
    assert abs(float(weights @ torch.from_numpy(square))) < 1e-13


def test_eight_points_per_period_are_enough():
    periods, length = 37.3, 1.7
    omega = 2.0 * math.pi * periods / length
    nodes, weights = panel_rule(0.4, length, math.ceil(8 * periods))
    expected = (math.cos(0.4 * omega) - math.cos((0.4 + length) * omega)) / omega
    assert abs(float(weights @ (omega * nodes).sin()) - expected) < 1e-14


@pytest.mark.parametrize("num_points", [16, 48])
def test_the_antiderivative_is_that_of_the_interpolant(num_points):
    nodes, _ = panel_rule(0.5, 1.5, num_points)
    found, whole = antiderivative(nodes.exp(), 1.5)
    torch.testing.assert_close(found, nodes.exp() - math.exp(0.5), rtol=0.0, atol=1e-13)
    assert whole == pytest.approx(math.exp(2.0) - math.exp(0.5), rel=1e-14)
