"""Poisson's equation Δu = f with solutions of one or several high frequencies."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from sciml.domain import Box
from sciml.pde.gallery.cases import Case, choose_case, choose_domain, choose_solution
from sciml.pde.jet import Jet
from sciml.pde.manufactured import Solution, manufactured
from sciml.pde.points import Points
from sciml.pde.problem import Problem

TURN = 2 * math.pi


def laplacian(points: Points, u: Jet) -> Tensor:
    """Σ_k ∂²u/∂x_k² over all axes."""
    first, *others = points.axes
    total = u.d(**{first: 2})
    for axis in others:
        total = total + u.d(**{axis: 2})
    return total


def single_sin(frequency: float) -> Solution:
    """The wave u = sin ωx."""
    return lambda points: torch.sin(frequency * points.x)


def mix_sin(low: float, middle: float, high: float) -> Solution:
    """The wave u = sin ω₁x + 0.1 sin ω₂x + 0.05 sin ω₃x, as in the authors' solver."""
    return lambda points: (
        torch.sin(low * points.x)
        + 0.1 * torch.sin(middle * points.x)
        + 0.05 * torch.sin(high * points.x)
    )


def mix_sin_cosine(low: float, middle: float, high: float) -> Solution:
    """The wave u = sin ω₁x + 0.1 sin ω₂x + 0.05 cos ω₃x, as in the paper."""
    return lambda points: (
        torch.sin(low * points.x)
        + 0.1 * torch.sin(middle * points.x)
        + 0.05 * torch.cos(high * points.x)
    )


def sin_cos(slow: float, fast: float) -> Solution:
    """The wave u = sin ω₁x cos ω₂x."""
    return lambda points: torch.sin(slow * points.x) * torch.cos(fast * points.x)


def _x_time_sinx(frequency: float) -> Solution:
    return lambda points: points.x * torch.sin(frequency * points.x)


def _x2_add_sinx(frequency: float) -> Solution:
    return lambda points: torch.sin(frequency * points.x) - 2.0 * (points.x - 0.5) ** 2


def _sin_sin(along_x: float, along_y: float) -> Solution:
    return lambda points: torch.sin(along_x * points.x) * torch.sin(along_y * points.y)


def _sin_add_cos(slow: float, fast: float) -> Solution:
    return lambda points: (
        torch.sin(slow * points.x) * torch.cos(fast * points.x)
        + torch.sin(slow * points.y) * torch.cos(fast * points.y)
    )


def _sin_sin_sin(along_x: float, along_y: float, along_z: float) -> Solution:
    return lambda points: (
        torch.sin(along_x * points.x)
        * torch.sin(along_y * points.y)
        * torch.sin(along_z * points.z)
    )


def _sin_add_exp(along_x: float, along_y: float, along_z: float) -> Solution:
    waves = _sin_sin_sin(along_x, along_y, along_z)
    return lambda points: (
        waves(points) + torch.exp(0.3 * points.x - 0.2 * points.y + 0.1 * points.z)
    )


CASES_1D = {
    "single_sin": Case(single_sin, (100.0,), TURN),
    "mix_sin": Case(mix_sin, (1.0, 20.0, 100.0), 1.0),
    "sin_cos": Case(sin_cos, (6.0, 100.0), TURN),
    "x_time_sinx": Case(_x_time_sinx, (200.0,), TURN),
    "x2_add_sinx": Case(_x2_add_sinx, (500.0,), 1.0),
}
CASES_2D = {
    "sin_sin": Case(_sin_sin, (100.0, 100.0), TURN),
    "sin_add_cos": Case(_sin_add_cos, (6.0, 20.0), TURN),
}
CASES_3D = {
    "sin_sin_sin": Case(_sin_sin_sin, (25.0, 25.0, 25.0), TURN),
    "sin_add_exp": Case(_sin_add_exp, (25.0, 25.0, 25.0), TURN),
}


def poisson_1d(
    case: str = "single_sin",
    *,
    domain: Box | None = None,
    frequencies: Sequence[float] | None = None,
    form: Literal["sine", "cosine"] | None = None,
) -> Problem:
    """Poisson's equation u'' = f on an interval, Dirichlet data.

    Args:
        case: ``single_sin`` sin 100x; ``mix_sin`` sin x + 0.1 sin 20x + 0.05 sin 100x;
            ``sin_cos`` sin 6x cos 100x; ``x_time_sinx`` x sin 200x; ``x2_add_sinx``
            sin 500x − 2(x − ½)².
        domain: Box of axis x; by default [0, 2π], and [0, 1] for ``mix_sin`` and
            ``x2_add_sinx``.
        frequencies: Angular frequencies in place of the published ones.
        form: Last term of ``mix_sin``: "sine" as in the authors' solver (default), "cosine" as
            in the paper.

    Raises:
        ValueError: If the case is unknown, the box has other axes, the number of frequencies
            differs, or `form` is given for another case.
    """
    chosen = choose_case("poisson_1d", CASES_1D, case)
    if form is not None and case != "mix_sin":
        raise ValueError(
            f"poisson_1d: expected form= with the case 'mix_sin' only, got {form!r} with "
            f"{case!r}; leave it out"
        )
    if form == "cosine":
        chosen = replace(chosen, solution=mix_sin_cosine)
    return manufactured(
        choose_domain("poisson_1d", chosen, ("x",), domain),
        laplacian,
        choose_solution("poisson_1d", chosen, frequencies),
        name=f"poisson_1d-{case}",
    )


def poisson_2d(
    case: str = "sin_sin",
    *,
    domain: Box | None = None,
    frequencies: Sequence[float] | None = None,
) -> Problem:
    """Poisson's equation u_xx + u_yy = f on a rectangle, Dirichlet data.

    Args:
        case: ``sin_sin`` sin 100x sin 100y; ``sin_add_cos`` sin 6x cos 20x + sin 6y cos 20y.
        domain: Box of axes x and y; [0, 2π]² by default.
        frequencies: Angular frequencies in place of the published ones.

    Raises:
        ValueError: If the case is unknown, the box has other axes, or the number of
            frequencies differs.
    """
    chosen = choose_case("poisson_2d", CASES_2D, case)
    return manufactured(
        choose_domain("poisson_2d", chosen, ("x", "y"), domain),
        laplacian,
        choose_solution("poisson_2d", chosen, frequencies),
        name=f"poisson_2d-{case}",
    )


def poisson_3d(
    case: str = "sin_add_exp",
    *,
    domain: Box | None = None,
    frequencies: Sequence[float] | None = None,
) -> Problem:
    """Poisson's equation u_xx + u_yy + u_zz = f on a box, Dirichlet data.

    Args:
        case: ``sin_sin_sin`` sin 25x sin 25y sin 25z; ``sin_add_exp`` the same plus
            exp(0.3x − 0.2y + 0.1z), which is no finite sum of waves.
        domain: Box of axes x, y and z; [0, 2π]³ by default.
        frequencies: Angular frequencies in place of those.

    Raises:
        ValueError: If the case is unknown, the box has other axes, or the number of
            frequencies differs.
    """
    chosen = choose_case("poisson_3d", CASES_3D, case)
    return manufactured(
        choose_domain("poisson_3d", chosen, ("x", "y", "z"), domain),
        laplacian,
        choose_solution("poisson_3d", chosen, frequencies),
        name=f"poisson_3d-{case}",
    )
