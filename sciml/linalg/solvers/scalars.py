"""Numbers that belong to one right-hand side each.

Those of a batch, and of anything on an accelerator, are tensors (*batch). Those of a single
right-hand side on the CPU are plain Python numbers: any operation on a tensor of one entry
costs a microsecond or two, as much as a pass over a vector of a thousand. Methods are written
once, with arithmetic and comparison operators, `&`, `|` and the functions of this module, and
run on either kind.
"""

import math
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

Scalar: TypeAlias = Tensor | float
Flag: TypeAlias = Tensor | bool
Count: TypeAlias = Tensor | int

V = TypeVar("V", Tensor | float, Tensor | bool, Tensor | int)


def choose(flag: Flag, yes: V, no: V) -> V:
    """`yes` where the flag holds, else `no`."""
    if isinstance(flag, Tensor):
        return torch.where(flag, yes, no)
    return yes if flag else no


def masked_quotient(numerator: Scalar, denominator: Scalar, mask: Flag) -> Scalar:
    """The quotient where `mask` holds and the denominator is not zero, else zero."""
    if isinstance(denominator, Tensor):
        return torch.where(mask & (denominator != 0), numerator / denominator, 0.0)
    return numerator / denominator if mask and denominator != 0 else 0.0


def negate(flag: Flag) -> Flag:
    """Not."""
    return ~flag if isinstance(flag, Tensor) else not flag


def some(flag: Flag) -> bool:
    """Whether the flag holds for any right-hand side; waits for an accelerator."""
    return bool(flag.any()) if isinstance(flag, Tensor) else flag


def every(flag: Flag) -> bool:
    """Whether the flag holds for all right-hand sides; waits for an accelerator."""
    return bool(flag.all()) if isinstance(flag, Tensor) else flag


def magnitude(value: Scalar) -> Scalar:
    """Absolute value."""
    return value.abs() if isinstance(value, Tensor) else abs(value)


def finite(value: Scalar) -> Flag:
    """Neither NaN nor infinite."""
    return magnitude(value) < math.inf


def at_least(value: Scalar, bound: float) -> Scalar:
    """The larger of both; NaN stays NaN."""
    if isinstance(value, Tensor):
        return value.clamp_min(bound)
    return bound if value < bound else value


def square_root(value: Scalar) -> Scalar:
    """Square root of a number that is not negative."""
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)


def hypotenuse(a: Scalar, b: Scalar) -> Scalar:
    """√(a² + b²) without overflow."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.hypot(a, b)
    return math.hypot(a, b)
