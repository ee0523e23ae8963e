"""Coefficients that vary in space: conjugate gradients, as many steps at every contrast."""

import math

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.direct import solve_direct
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.pde.conditions import Dirichlet, Initial, Neumann, Periodic, Robin
from sciml.pde.jet import FunctionJet
from sciml.pde.problem import Problem
from sciml.solution import Status

HIGH = (2.0, 1.6, 1.1)


def u(points):
    wave = torch.sin(7.3 * points.x + 0.2) * torch.cos(5.1 * points.y)
    return wave * torch.exp(0.3 * points.z) if "z" in points.axes else wave


def diffusion_problem(a, *, sides=None, reaction=0.0, axes=("x", "y"), sign=1.0, drift=0.0):
    """Values on all sides but those of `sides`, which names another kind of condition."""
    sides = sides or {}

    def apply(points, jet):
        coefficient = FunctionJet(a, points)
        total = reaction * jet.value + drift * jet.d(x=1)
        for axis in axes:
            total = total + sign * coefficient.value * jet.d(**{axis: 2})
            total = total + sign * coefficient.d(**{axis: 1}) * jet.d(**{axis: 1})
        return total

    def slope(axis, side, points):
        along = FunctionJet(u, points).d(**{axis: 1})
        return along if side == "high" else -along

    conditions = []
    for axis in axes:
        for side in ("low", "high"):
            kind = sides.get((axis, side))
            if kind == "neumann":
                conditions.append(Neumann(axis, side, lambda p, at=(axis, side): slope(*at, p)))
            elif kind == "robin":

                def data(p, at=(axis, side)):
                    return slope(*at, p) + 1.7 * u(p)

                conditions.append(Robin(axis, side, data, 1.7))
            else:
                conditions.append(Dirichlet(axis, side, u))
    return Problem(
        Box(axes, (0.0,) * len(axes), HIGH[: len(axes)]),
        lambda points, jet: apply(points, jet) - apply(points, FunctionJet(u, points)),
        conditions,
        exact=u,
    )


def error_of(problem, solution):
    generator = torch.Generator().manual_seed(4_200_019)
    unit = torch.rand(300, problem.domain.ndim, dtype=torch.float64, generator=generator)
    points = unit * torch.tensor(problem.domain.high, dtype=torch.float64)
    exact = problem.exact(points)
    return float((solution.value(points) - exact).norm() / exact.norm())


def waves(points):
    return torch.exp(torch.sin(points.x) * torch.cos(2.0 * points.y))


def steep(contrast):
    half = 0.5 * math.log(contrast)
    return lambda p: torch.exp(half * torch.sin(3.0 * p.x) * torch.cos(2.0 * p.y))


MIXED = {("x", "high"): "neumann", ("y", "low"): "robin"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reaction": -3.0},
        {"sign": -1.0, "reaction": 2.0},
        {"reaction": 2.0},
        {"sides": MIXED},
    ],
    ids=["plain", "reaction", "negative", "waves", "neumann and robin"],
)
def test_rectangle(options):
    problem = diffusion_problem(waves, **options)
    solution = solve_direct(problem, (36, 29), DirectOptions())
    assert bool(solution)
    assert solution.stats["form"] == "weak"
    assert 2 < solution.stats["linear_steps"] <= 40
    assert error_of(problem, solution) < 1e-9


@pytest.mark.parametrize("contrast", [10.0, 1e6])
@pytest.mark.parametrize("sides", [None, MIXED], ids=["dirichlet", "mixed"])
def test_steps_do_not_grow_with_the_contrast(contrast, sides):
    problem = diffusion_problem(steep(contrast), sides=sides)
    solution = solve_direct(problem, (48, 40), DirectOptions(nyquist_fractions=(0.95,)))
    assert bool(solution)
    assert solution.stats["linear_steps"] <= 40
    # the root of the contrast multiplies what the nodes leave unresolved
    assert error_of(problem, solution) < 1e-13 * max(contrast, 1e4)


def test_coefficients_of_their_own_along_each_axis():
    """(2 + x) u_xx + u_x + (1 + x y) u_yy + x u_y: the divergence form of a₁ ≠ a₂."""

    def apply(p, jet):
        first = (2.0 + p.x) * jet.d(x=2) + jet.d(x=1)
        return first + (1.0 + p.x * p.y) * jet.d(y=2) + p.x * jet.d(y=1)

    problem = Problem(
        Box(("x", "y"), (0.0, 0.0), HIGH[:2]),
        lambda p, jet: apply(p, jet) - apply(p, FunctionJet(u, p)),
        [Dirichlet(axis, side, u) for axis in "xy" for side in ("low", "high")],
        exact=u,
    )
    solution = solve_direct(problem, (36, 29), DirectOptions())
    assert solution.stats["linear_steps"] <= 40
    assert error_of(problem, solution) < 1e-9


def test_periodic_axis():
    def wave(p):
        return torch.sin(math.pi * p.x + 0.4) * torch.exp(torch.cos(3.0 * p.y))

    def a(p):
        return torch.exp(2.0 * torch.cos(math.pi * p.x) * torch.cos(2.0 * p.y))

    def apply(p, jet):
        a_jet = FunctionJet(a, p)
        return sum(
            a_jet.value * jet.d(**{axis: 2}) + a_jet.d(**{axis: 1}) * jet.d(**{axis: 1})
            for axis in "xy"
        )

    problem = Problem(
        Box(("x", "y"), (0.0, 0.0), HIGH[:2]),
        lambda p, jet: apply(p, jet) - apply(p, FunctionJet(wave, p)),
        [
            Periodic("x"),
            Dirichlet("y", "low", wave),
            Neumann("y", "high", lambda p: FunctionJet(wave, p).d(y=1)),
        ],
        exact=wave,
    )
    solution = solve_direct(problem, (32, 40), DirectOptions())
    assert bool(solution)
    assert solution.stats["linear_steps"] <= 40
    assert error_of(problem, solution) < 1e-9


@pytest.mark.parametrize("contrast", [3.0, 1e6])
def test_three_dimensions(monkeypatch, contrast):
    """Fewer nodes than the solver takes: the steps of incomplete factors are what is tested."""
    monkeypatch.setattr("sciml.models.gp_hm.direct_variable.gauss_count", lambda features: 24)
    half = 0.5 * math.log(contrast)
    problem = diffusion_problem(
        lambda p: torch.exp(half * torch.sin(1.5 * p.x) * torch.cos(2 * p.y) * torch.cos(p.z)),
        axes=("x", "y", "z"),
    )
    solution = solve_direct(problem, (16, 14, 8), DirectOptions(nyquist_fractions=(0.6,)))
    assert solution.stats["linear_steps"] <= 80
    assert error_of(problem, solution) < 1e-4


@pytest.mark.slow
def test_three_dimensions_to_more_digits():
    problem = diffusion_problem(
        lambda p: torch.exp(0.5 * torch.sin(p.x) * torch.cos(p.y) + 0.3 * p.z),
        axes=("x", "y", "z"),
    )
    solution = solve_direct(problem, (22, 20, 12), DirectOptions(nyquist_fractions=(0.6,)))
    assert solution.stats["linear_steps"] <= 120
    assert error_of(problem, solution) < 1e-6


def test_what_the_form_cannot_hold_is_refused_in_words():
    drifting = diffusion_problem(waves, drift=1.0)
    with pytest.raises(ValueError, match="in divergence form"):
        solve_direct(drifting, (24, 22), DirectOptions())
    with pytest.raises(ValueError, match=r"contrast below 1e\+08, got values between"):
        solve_direct(diffusion_problem(steep(1e9)), (24, 22), DirectOptions())
    with pytest.raises(ValueError, match="one sign with a contrast below"):
        solve_direct(diffusion_problem(lambda p: p.x - 0.7), (24, 22), DirectOptions())
    with pytest.raises(ValueError, match="form='weak'"):
        solve_direct(diffusion_problem(waves), (24, 22), DirectOptions(form="strong"))


def test_initial_values_have_no_weak_form():
    def residual(p, v):
        return (2 + p.x) * v.d(x=2) + v.d(x=1) + v.d(t=2)

    problem = Problem(
        Box(("x", "t"), (0.0, 0.0), (1.0, 1.0)),
        residual,
        [
            Dirichlet("x", "low", 0.0),
            Dirichlet("x", "high", 0.0),
            Initial("t", 0.0),
            Initial("t", 0.0, order=1),
        ],
    )
    with pytest.raises(ValueError, match="conditions on both ends of every axis"):
        solve_direct(problem, (24, 22), DirectOptions())


@pytest.mark.parametrize(
    ("options", "name", "value", "message"),
    [
        ({}, "_MAX_STEPS", 3, "took 3 steps without converging"),
        ({"reaction": 400.0}, "_MAX_STEPS", 1000, "is not definite"),
    ],
    ids=["steps", "indefinite"],
)
def test_why_a_solve_ends_is_said(monkeypatch, options, name, value, message):
    monkeypatch.setattr(f"sciml.models.gp_hm.direct_variable.{name}", value)
    problem = diffusion_problem(waves, **options)
    solution = solve_direct(problem, (30, 26), DirectOptions(nyquist_fractions=(0.6,)))
    assert solution.status is Status.MAX_STEPS
    assert message in solution.stats["detail"]
