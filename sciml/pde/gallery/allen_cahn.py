"""The steady Allen–Cahn equation Δu + u(u² − 1) = f with solutions of high frequencies."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml.domain import Box
from sciml.pde.gallery.cases import Case, choose_case, choose_domain, choose_solution
from sciml.pde.gallery.poisson import TURN, laplacian, sin_cos, single_sin
from sciml.pde.jet import Jet
from sciml.pde.manufactured import Solution, manufactured
from sciml.pde.points import Points
from sciml.pde.problem import Problem


def _allen_cahn(points: Points, u: Jet) -> Tensor:
    return laplacian(points, u) + u.value * (u.value.square() - 1.0)


def _mix_sincos(low: float, middle: float, high: float) -> Solution:
    def profile(s: Tensor) -> Tensor:
        return torch.sin(low * s) + 0.1 * torch.sin(middle * s) + torch.cos(high * s)

    return lambda points: profile(points.x) * profile(points.y)


CASES_1D = {
    "single_sin": Case(single_sin, (100.0,), TURN),
    "sin_cos": Case(sin_cos, (6.0, 100.0), TURN),
}
CASES_2D = {"mix_sincos": Case(_mix_sincos, (1.0, 20.0, 100.0), 1.0)}


def allen_cahn_1d(
    case: str = "single_sin",
    *,
    domain: Box | None = None,
    frequencies: Sequence[float] | None = None,
) -> Problem:
    """Allen–Cahn: u'' + u(u² − 1) = f on an interval, Dirichlet data.

    Args:
        case: ``single_sin`` sin 100x; ``sin_cos`` sin 6x cos 100x.
        domain: Box of axis x; [0, 2π] by default.
        frequencies: Angular frequencies in place of the published ones.

    Raises:
        ValueError: If the case is unknown, the box has other axes, or the number of
            frequencies differs.
    """
    chosen = choose_case("allen_cahn_1d", CASES_1D, case)
    return manufactured(
        choose_domain("allen_cahn_1d", chosen, ("x",), domain),
        _allen_cahn,
        choose_solution("allen_cahn_1d", chosen, frequencies),
        name=f"allen_cahn_1d-{case}",
    )


def allen_cahn_2d(
    case: str = "mix_sincos",
    *,
    domain: Box | None = None,
    frequencies: Sequence[float] | None = None,
) -> Problem:
    """Allen–Cahn: u_xx + u_yy + u(u² − 1) = f on a rectangle, Dirichlet data.

    Args:
        case: ``mix_sincos`` p(x)p(y) with p(s) = sin s + 0.1 sin 20s + cos 100s.
        domain: Box of axes x and y; [0, 1]² by default.
        frequencies: Angular frequencies in place of the published ones.

    Raises:
        ValueError: If the case is unknown, the box has other axes, or the number of
            frequencies differs.
    """
    chosen = choose_case("allen_cahn_2d", CASES_2D, case)
    return manufactured(
        choose_domain("allen_cahn_2d", chosen, ("x", "y"), domain),
        _allen_cahn,
        choose_solution("allen_cahn_2d", chosen, frequencies),
        name=f"allen_cahn_2d-{case}",
    )
