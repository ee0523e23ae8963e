import math

import pytest
import torch

from sciml.simulate.etdrk import ETDRK4


def integrate(symbol, nonlinear, v, time, num_steps):
    stepper = ETDRK4(symbol, time / num_steps, dtype=v.dtype)
    for _ in range(num_steps):
        v = stepper.step(v, nonlinear)
    return v


def slope(errors):
    """Order of errors at steps halved each time, by a least-squares line."""
    y = torch.tensor(errors, dtype=torch.float64).log2()
    x = -torch.arange(len(errors), dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x * x).sum())


@pytest.mark.parametrize(
    "symbol",
    [
        torch.tensor([-0.0, -3.0, -30.0], dtype=torch.float64),
        torch.tensor([0.0j, 2.0j, -9.0j], dtype=torch.complex128),
        torch.tensor([-1.0 + 3.0j, -5.0 - 2.0j, 0.2j], dtype=torch.complex128),
    ],
    ids=["stiff", "dispersive", "mixed"],
)
def test_order_four(symbol):
    dtype = symbol.dtype
    mix = torch.tensor([[0.2, -1.0, 0.4], [0.7, 0.1, 0.3], [0.5, 0.6, -0.2]], dtype=dtype)

    def nonlinear(v):
        return mix @ (v * v) + 0.5 * torch.roll(v, 1)

    v = torch.tensor([0.6, -0.4, 0.8], dtype=dtype)
    reference = integrate(symbol, nonlinear, v, 1.0, 4096)
    errors = [
        float((integrate(symbol, nonlinear, v, 1.0, n) - reference).abs().max())
        for n in (16, 32, 64, 128, 256)
    ]
    assert errors[-1] < 1e-7
    assert abs(slope(errors) - ETDRK4.order) < 0.15


@pytest.mark.parametrize("symbol", [-3.0, 0.0, -4000.0, 7.0j, -0.3 + 40.0j])
def test_linear_part_is_exact(symbol):
    dtype = torch.complex128 if isinstance(symbol, complex) else torch.float64
    v = torch.tensor([1.5], dtype=dtype)
    out = ETDRK4(torch.tensor([symbol], dtype=dtype), 0.7).step(v, torch.zeros_like)
    torch.testing.assert_close(out, v * torch.exp(torch.tensor([symbol * 0.7], dtype=dtype)))


@pytest.mark.parametrize("symbol", [0.0, -1e-9, -0.3, -50.0])
def test_constant_forcing_is_exact(symbol):
    """v' = L v + f has the solution E v + f (E - 1) / L, all coefficients together."""
    forcing = torch.tensor([2.0], dtype=torch.float64)
    v = torch.tensor([0.5], dtype=torch.float64)
    out = ETDRK4(torch.tensor([symbol], dtype=torch.float64), 0.4).step(v, lambda _: forcing)
    gain = math.expm1(0.4 * symbol) / symbol if symbol else 0.4
    torch.testing.assert_close(out, v * math.exp(0.4 * symbol) + 2.0 * gain, rtol=1e-13, atol=0)
    assert forcing.item() == 2.0


def test_state_and_right_hand_side_are_not_modified():
    v = torch.tensor([0.5, 1.0], dtype=torch.float64)
    ETDRK4(torch.zeros(2, dtype=torch.float64), 0.1).step(v, lambda w: w)
    assert v.tolist() == [0.5, 1.0]


def test_zero_symbol_is_the_classical_method():
    """With L = 0 the method is Runge–Kutta of order four: e up to the fifth Taylor term."""
    v = torch.ones(1, dtype=torch.float64)
    out = ETDRK4(torch.zeros(1, dtype=torch.float64), 0.5).step(v, lambda w: w)
    assert out.item() == pytest.approx(
        sum(0.5**k / math.factorial(k) for k in range(5)), rel=1e-14
    )


def test_single_precision_coefficients():
    symbol = torch.tensor([-2.0], dtype=torch.float64)
    out = ETDRK4(symbol, 0.1, dtype=torch.float32).step(torch.ones(1), torch.square)
    exact = ETDRK4(symbol, 0.1).step(torch.ones(1, dtype=torch.float64), torch.square)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), exact, rtol=1e-6, atol=0)


def test_bad_arguments_are_named():
    symbol = torch.zeros(2, dtype=torch.complex128)
    with pytest.raises(ValueError, match="ETDRK4: expected a positive finite dt, got 0"):
        ETDRK4(symbol, 0.0)
    with pytest.raises(TypeError, match=r"expected a complex dtype .*got torch.float64"):
        ETDRK4(symbol, 0.1, dtype=torch.float64)
