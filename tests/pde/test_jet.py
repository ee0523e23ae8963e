"""Jets: look-up by name, recording, and derivatives of functions."""

import pytest
import torch

from sciml.pde.jet import ArrayJet, FunctionJet, RecordingJet, multi_index
from sciml.pde.points import Points

AXES = ("x", "t")
SEED = 8_100_407


def test_multi_indices_follow_the_order_of_the_axes():
    assert multi_index(AXES, {"t": 2}) == (0, 2)
    assert multi_index(AXES, {"t": 1, "x": 3}) == (3, 1)
    assert multi_index(AXES, {}) == (0, 0)
    with pytest.raises(ValueError, match=r"expected derivatives along the axes .* got \['y'\]"):
        multi_index(AXES, {"y": 1})
    with pytest.raises(ValueError, match=r"expected orders of at least 0, got {'x': -1}"):
        multi_index(AXES, {"x": -1})


def test_an_array_jet_gives_what_it_holds():
    value, rate = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    jet = ArrayJet(AXES, {(0, 0): value, (1, 1): rate})
    assert jet.value is value
    assert jet.d(t=1, x=1) is rate
    with pytest.raises(ValueError, match=r"expected one of the derivatives .* got \(2, 0\)"):
        jet.d(x=2)


def test_zeros_hold_the_given_derivatives():
    jet = ArrayJet.zeros(AXES, [(0, 2)], 5)
    assert jet.d(t=2).tolist() == [0.0] * 5
    with pytest.raises(ValueError, match=r"got \(0, 0\)"):
        _ = jet.value


def test_a_recording_jet_repeats_its_answers():
    jet = RecordingJet(AXES, 4, torch.Generator().manual_seed(SEED))
    assert not jet.values
    first = jet.d(x=2)
    assert jet.d(x=2) is first
    assert jet.d(x=2, t=0) is first
    assert not torch.equal(jet.value, first)
    assert set(jet.values) == {(2, 0), (0, 0)}


def test_derivatives_of_a_function():
    generator = torch.Generator().manual_seed(SEED)
    points = Points(AXES, torch.rand(7, 2, dtype=torch.float64, generator=generator))
    x, t = points.x, points.t
    jet = FunctionJet(lambda at: torch.sin(3 * at.x) * at.t**3, points)
    expected = {
        (): torch.sin(3 * x) * t**3,
        (("x", 2),): -9 * torch.sin(3 * x) * t**3,
        (("x", 1), ("t", 2)): 18 * torch.cos(3 * x) * t,
        (("x", 4),): 81 * torch.sin(3 * x) * t**3,
    }
    for orders, values in expected.items():
        torch.testing.assert_close(jet.d(**dict(orders)), values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(jet.value, expected[()])


def test_a_function_that_ignores_an_axis_has_zero_derivative_there():
    points = Points(AXES, torch.rand(5, 2, dtype=torch.float64))
    jet = FunctionJet(lambda at: at.x**2, points)
    assert jet.d(t=1).tolist() == [0.0] * 5
    assert jet.d(x=1, t=1).tolist() == [0.0] * 5
