"""Chebyshev and Fourier axes: derivatives, interpolation, coefficients."""

import math

import pytest
import torch

from sciml import Box
from sciml.solvers.spectral_axis import (
    ChebyshevAxis,
    FourierAxis,
    spectral_axes,
)

SEED = 2_900_051


def inside(low, high, count):
    unit = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(SEED))
    return low + (high - low) * unit


@pytest.mark.parametrize("count", [4, 7, 12])
def test_chebyshev_nodes_hold_the_ends(count):
    nodes = ChebyshevAxis(0.0, 2 * math.pi, count).nodes
    assert nodes[0] == 0.0
    assert nodes[-1] == 2 * math.pi
    expected = math.pi * (1 - torch.cos(math.pi * torch.arange(count) / (count - 1)))
    torch.testing.assert_close(nodes, expected.double(), rtol=1e-6, atol=1e-6)
    assert bool((nodes.diff() > 0).all())


@pytest.mark.parametrize("count", [5, 8, 9])
@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
def test_polynomials_are_differentiated_exactly(count, order):
    axis = ChebyshevAxis(-1.0, 3.0, count)
    degree = count - 1
    at = torch.cat([inside(-1.0, 3.0, 20), axis.nodes])
    factor = math.prod(range(degree - order + 1, degree + 1))
    expected = factor * (0.25 * at) ** (degree - order) * 0.25**order
    values = (0.25 * axis.nodes) ** degree
    torch.testing.assert_close(
        axis.evaluation(at, order) @ values, expected, rtol=1e-10, atol=1e-10
    )
    nodal = axis.differentiation(order) @ values
    torch.testing.assert_close(nodal, expected[20:], rtol=1e-10, atol=1e-10)


def test_second_derivatives_keep_more_digits_than_the_textbook_matrix():
    axis = ChebyshevAxis(-1.0, 1.0, 513)
    x = axis.nodes
    values = torch.sin(8 * x)
    signs = 1.0 - 2.0 * (torch.arange(513) % 2).double()
    signs[0] *= 2
    signs[-1] *= 2
    textbook = signs[:, None] / signs / (x[:, None] - x).fill_diagonal_(1.0)
    textbook -= torch.diag(textbook.sum(-1))
    expected = (textbook @ (textbook @ values) + 64 * values)[1:-1].abs().max()
    error = (axis.differentiation(2) @ values + 64 * values)[1:-1].abs().max()
    assert float(error) < 0.5 * float(expected)


@pytest.mark.parametrize("count", [8, 9])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_waves_are_differentiated_exactly(count, order):
    axis = FourierAxis(1.0, 4.0, count)
    omega = 2 * math.pi * 3 / 3.0
    at = inside(1.0, 4.0, 20)
    values = torch.sin(omega * axis.nodes + 0.3)
    expected = omega**order * torch.sin(omega * at + 0.3 + 0.5 * math.pi * order)
    got = axis.evaluation(at, order) @ values
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-10 * omega**order)


def test_the_highest_wave_of_an_even_count_is_a_cosine():
    axis = FourierAxis(0.0, 2 * math.pi, 6)
    values = torch.cos(3 * axis.nodes)
    at = inside(0.0, 2 * math.pi, 9)
    torch.testing.assert_close(axis.evaluation(at, 0) @ values, torch.cos(3 * at))
    assert float((axis.differentiation(1) @ values).abs().max()) < 1e-13
    torch.testing.assert_close(axis.differentiation(2) @ values, -9 * values)


@pytest.mark.parametrize("count", [8, 9, 16])
def test_coefficients_show_the_highest_wave(count):
    chebyshev = ChebyshevAxis(-1.0, 1.0, count)
    sizes = chebyshev.coefficients(torch.cos(5 * torch.acos(chebyshev.nodes)), 0)
    assert int(sizes.argmax()) == 5
    assert float(sizes.sum() - sizes[5]) < 1e-12
    fourier = FourierAxis(0.0, 1.0, count)
    sizes = fourier.coefficients(torch.sin(6 * math.pi * fourier.nodes), 0)
    assert int(sizes.argmax()) == 3
    assert float(sizes.sum() - sizes[3]) < 1e-12


def test_equal_axes_share_their_matrices():
    box = Box(("x", "y", "z"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (False, False, True))
    x, y, z = spectral_axes(box, (9, 9, 9))
    assert x is y
    assert isinstance(z, FourierAxis)
    assert x.differentiation(2) is y.differentiation(2)
