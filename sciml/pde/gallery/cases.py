"""Solutions of the gallery: products and sums of waves, by case name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from sciml.domain import Box
from sciml.pde.manufactured import Solution

Waves: TypeAlias = Callable[..., Solution]
"""The solution of given angular frequencies, one positional argument each."""


@final
@dataclass(frozen=True)
class Case:
    """One solution of an equation.

    Args:
        solution: The solution as a function of its angular frequencies.
        frequencies: Published angular frequencies.
        length: Published length of every axis, from 0.
    """

    solution: Waves
    frequencies: tuple[float, ...]
    length: float


def choose_case(function: str, cases: Mapping[str, Case], name: str) -> Case:
    """The case of a name.

    Raises:
        ValueError: If there is none.
    """
    if name not in cases:
        raise ValueError(
            f"{function}: expected one of the cases {sorted(cases)}, got {name!r}; choose one"
        )
    return cases[name]


def choose_solution(function: str, case: Case, frequencies: Sequence[float] | None) -> Solution:
    """The solution of a case with its own or the given angular frequencies.

    Raises:
        ValueError: If their number differs from the published one.
    """
    own = case.frequencies if frequencies is None else tuple(frequencies)
    if len(own) != len(case.frequencies):
        raise ValueError(
            f"{function}: expected {len(case.frequencies)} angular frequencies in place of "
            f"{case.frequencies}, got {own}; give as many"
        )
    return case.solution(*own)


def choose_domain(function: str, case: Case, axes: tuple[str, ...], domain: Box | None) -> Box:
    """The published cube [0, length]ᵈ of a case, or the given box.

    Raises:
        ValueError: If the axes of the box have other names.
    """
    if domain is None:
        return Box(axes, (0.0,) * len(axes), (case.length,) * len(axes))
    if domain.axes != axes:
        raise ValueError(
            f"{function}: expected a box with axes {axes}, got {domain.axes}; name them so"
        )
    return domain
