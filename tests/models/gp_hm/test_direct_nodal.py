"""Nodal axes: quadrature, differentiation, interpolation are exact where they claim to be."""

import math

import pytest
import torch

from sciml.models.gp_hm.direct_nodal import HarmonicAxis, LobattoAxis


@pytest.mark.parametrize("count", [3, 4, 9, 40])
def test_lobatto_is_exact_for_its_polynomials(count):
    low, length = -0.7, 2.3
    axis = LobattoAxis(low, length, count)
    assert axis.num_nodes == count
    assert not axis.periodic
    assert float(axis.nodes[0]) == low
    assert float(axis.nodes[-1]) == pytest.approx(low + length, abs=0)
    assert bool((axis.spacings > 0).all())
    t = (axis.nodes - low) / length
    degree = 2 * count - 3
    integral = float((axis.weights * t**degree).sum())
    assert integral == pytest.approx(length / (degree + 1), rel=1e-12)
    if count < 9:  # one degree more is not exact, by less than rounding for many nodes
        more = float((axis.weights * t ** (degree + 1)).sum())
        assert more != pytest.approx(length / (degree + 2), rel=1e-9)
    slope = (count - 1) * t ** (count - 2) / length
    torch.testing.assert_close(
        axis.differentiation @ t ** (count - 1), slope, rtol=1e-9, atol=1e-10
    )
    points = torch.linspace(low, low + length, 17, dtype=torch.float64)
    exact = ((points - low) / length) ** (count - 1)
    torch.testing.assert_close(
        axis.evaluation(points) @ t ** (count - 1), exact, rtol=1e-11, atol=1e-12
    )
    torch.testing.assert_close(
        axis.evaluation(axis.nodes), torch.eye(count, dtype=torch.float64), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("count", [7, 8])
def test_harmonic_axis_has_an_odd_number_of_nodes(count):
    axis = HarmonicAxis(0.3, 2.0, count)
    assert axis.num_nodes == (7 if count == 7 else 9)
    assert axis.periodic
    assert float(axis.weights.sum()) == pytest.approx(2.0)
    assert float(axis.spacings.sum()) == pytest.approx(2.0)
    wave = torch.sin(3 * math.pi * axis.nodes + 0.1)
    slope = 3 * math.pi * torch.cos(3 * math.pi * axis.nodes + 0.1)
    torch.testing.assert_close(axis.differentiation @ wave, slope, rtol=1e-12, atol=1e-11)
    points = torch.linspace(0.3, 2.3, 11, dtype=torch.float64)
    torch.testing.assert_close(
        axis.evaluation(points) @ wave,
        torch.sin(3 * math.pi * points + 0.1),
        atol=1e-12,
        rtol=0,
    )
    # no wave but the constant has a derivative of zero
    singular = torch.linalg.svdvals(axis.differentiation)
    assert int((singular < 1e-10).sum()) == 1
