"""Every function gives the same on Python numbers and on tensors of them."""

import math

import pytest
import torch

from sciml.linalg.solvers.scalars import (
    at_least,
    choose,
    every,
    finite,
    hypotenuse,
    magnitude,
    masked_quotient,
    negate,
    some,
    square_root,
)

NUMBERS = [-3.5, -0.0, 0.0, 1e-300, 2.0, math.inf, -math.inf, math.nan]
FLAGS = [True, False]


def same(function, *values):
    """Compare the function of numbers with that of tensors; zeros may differ in sign."""
    expected = function(*values)
    actual = function(*map(torch.tensor, values))
    assert isinstance(actual, torch.Tensor)
    number = actual.item()
    assert number == expected or (math.isnan(number) and math.isnan(expected))
    return expected


@pytest.fixture(autouse=True)
def _double(monkeypatch):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("value", NUMBERS)
def test_functions_of_one_number(value):
    assert same(finite, value) == math.isfinite(value)
    same(magnitude, value)
    bounded = same(lambda v: at_least(v, 0.5), value)
    assert math.isnan(bounded) == math.isnan(value)
    if not value < 0:
        same(square_root, value)


@pytest.mark.parametrize("denominator", NUMBERS)
@pytest.mark.parametrize("mask", FLAGS)
def test_masked_quotient_is_zero_where_it_may_not_divide(denominator, mask):
    quotient = same(masked_quotient, 1.5, denominator, mask)
    if not mask or denominator == 0:
        assert quotient == 0


def test_hypotenuse_does_not_overflow():
    assert same(hypotenuse, 3e200, 4e200) == pytest.approx(5e200)


@pytest.mark.parametrize("flag", FLAGS)
def test_flags(flag):
    assert same(negate, flag) is (not flag)
    assert same(lambda f: choose(f, 1, 2), flag) == (1 if flag else 2)
    assert some(flag) is every(flag) is flag
    assert some(torch.tensor([flag, False])) is flag
    assert every(torch.tensor([flag, True])) is flag
