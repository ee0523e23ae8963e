"""The direct solver on grids: conditions of every kind, in two and three dimensions."""

import math

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.direct import solve_direct
from sciml.models.gp_hm.direct_equation import separable_equation
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.pde.conditions import Dirichlet, Initial, Neumann, Observations, Periodic, Robin
from sciml.pde.jet import FunctionJet
from sciml.pde.problem import Problem


def smooth(points):
    u = torch.sin(3.3 * points.x + 0.2) * torch.cos(2.1 * points.y)
    return u * torch.exp(0.2 * points.z) if "z" in points.axes else u


def operator(points, u):
    """An anisotropic Laplacian: a transposed axis does not go unnoticed."""
    total = u.d(x=2) + 1.7 * u.d(y=2) + 0.4 * u.value
    return total + 0.6 * u.d(z=2) if "z" in points.axes else total


def manufactured(u, sides, *, axes=("x", "y"), apply=operator, periodic=(), high=None):
    high = high or (2.0, 1.4, 1.1)[: len(axes)]

    def slope(axis, sign):
        return lambda points: sign * FunctionJet(u, points).d(**{axis: 1})

    conditions = [Periodic(axis) for axis in periodic]
    for axis in axes:
        if axis in periodic:
            continue
        for side, sign in (("low", -1.0), ("high", 1.0)):
            kind = sides.get((axis, side), Dirichlet)
            if kind is Dirichlet:
                conditions.append(Dirichlet(axis, side, u))
            elif kind is Neumann:
                conditions.append(Neumann(axis, side, slope(axis, sign)))
            else:
                value = slope(axis, sign)
                conditions.append(
                    Robin(axis, side, lambda p, value=value: value(p) + 1.5 * u(p), 1.5)
                )
    return Problem(
        Box(axes, (0.0,) * len(axes), high),
        lambda points, jet: apply(points, jet) - apply(points, FunctionJet(u, points)),
        conditions,
        exact=u,
    )


def error_of(problem, solution, seed=4_200_019):
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(300, problem.domain.ndim, dtype=torch.float64, generator=generator)
    points = unit * torch.tensor(problem.domain.high, dtype=torch.float64)
    exact = problem.exact(points)
    return float((solution.value(points) - exact).norm() / exact.norm())


@pytest.mark.parametrize("form", ["strong", "weak", "weak_uniform"])
@pytest.mark.parametrize(
    "sides",
    [
        {},
        {("x", "high"): Neumann},
        {("x", "low"): Neumann, ("y", "high"): Neumann},
        {("x", "low"): Robin, ("y", "low"): Robin, ("y", "high"): Neumann},
    ],
    ids=["dirichlet", "right", "left_top", "robin"],
)
def test_sides_of_every_kind_on_a_rectangle(form, sides):
    problem = manufactured(smooth, sides)
    options = DirectOptions(form=form, nyquist_fractions=(0.6,), num_passes=2, num_rounds=2)
    solution = solve_direct(problem, (26, 21), options)
    assert bool(solution)
    assert solution.stats["form"] == form
    assert error_of(problem, solution) < 2e-10
    # both are judged between the nodes, and honestly so
    assert error_of(problem, solution) < 100 * solution.stats["residual_norm"] + 1e-13


def test_periodic_axis():
    def u(points):
        return torch.exp(torch.sin(points.x)) * torch.sin(1.3 * points.y + 0.1)

    problem = manufactured(
        u, {("y", "high"): Neumann}, periodic=("x",), high=(2 * math.pi, 1.4)
    )
    solution = solve_direct(problem, (40, 21), DirectOptions())
    assert solution.stats["form"] == "weak"
    assert error_of(problem, solution) < 1e-10
    ends = torch.tensor([[0.0, 0.7], [2 * math.pi, 0.7]], dtype=torch.float64)
    low, high = solution.value.d(ends, x=1)
    assert float((low - high).abs()) < 1e-9


@pytest.mark.parametrize("form", ["strong", "weak", "weak_uniform"])
def test_three_dimensions(form):
    problem = manufactured(smooth, {("z", "low"): Neumann}, axes=("x", "y", "z"))
    options = DirectOptions(form=form, nyquist_fractions=(0.6,), num_passes=2, num_rounds=2)
    solution = solve_direct(problem, (18, 17, 16), options)
    assert error_of(problem, solution) < 1e-8


def test_inflow_and_wave_equation():
    def travelling(points):
        return torch.sin(points.x - 3.0 * points.t)

    box = Box(("x", "t"), (0.0, 0.0), (1.0, 0.7))
    advection = Problem(
        box,
        lambda points, u: 3.0 * u.d(x=1) + u.d(t=1),
        [Dirichlet("x", "low", travelling), Initial("t", travelling)],
        exact=travelling,
    )
    solution = solve_direct(advection, (24, 31), DirectOptions())
    assert solution.stats["form"] == "strong"
    generator = torch.Generator().manual_seed(4_200_019)
    points = torch.rand(300, 2, dtype=torch.float64, generator=generator)
    points[:, 1] *= 0.7
    assert float((solution.value(points) - advection.exact(points)).abs().max()) < 1e-9


def test_semilinear_equation():
    def cubic(points, u):
        return operator(points, u) + u.value * (u.value**2 - 1.0)

    problem = manufactured(smooth, {}, apply=cubic)
    options = DirectOptions(nyquist_fractions=(0.6,), num_passes=2, num_rounds=2)
    solution = solve_direct(problem, (26, 21), options)
    assert bool(solution)
    assert solution.stats["newton_steps"] > solution.num_steps
    assert error_of(problem, solution) < 1e-10


def test_rounds_of_repair_reach_rounding():
    def wave(points):
        return torch.sin(9.37 * points.x + 0.3) * torch.sin(11.1 * points.y)

    problem = manufactured(wave, {}, high=(3.0, 2.5))
    plain = solve_direct(problem, (24, 24), DirectOptions(form="strong", repair=False))
    repaired = solve_direct(problem, (24, 24), DirectOptions(form="strong"))
    assert repaired.stats["repaired"]
    assert error_of(problem, plain) > 1e-6
    assert error_of(problem, repaired) < 1e-12
    spectrum = repaired.value.solution.all_features[0]
    atoms = spectrum.omega[spectrum.num_lattice :]
    assert float((atoms - 9.37).abs().min()) < 1e-2


@pytest.mark.parametrize(
    ("residual", "message"),
    [
        (lambda p, u: u.d(x=2) + u.d(x=1, y=1) + u.d(y=2), "got the mixed one"),
        (lambda p, u: u.value * u.d(x=1) + u.d(y=2), "expected constant coefficients"),
    ],
    ids=["mixed", "quasilinear"],
)
def test_equations_that_are_not_separable_are_refused(residual, message):
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0))
    problem = Problem(box, residual, [Dirichlet("x", "low", 0.0)])
    with pytest.raises(ValueError, match=message):
        separable_equation(problem)


def test_observations_and_systems_are_refused_in_words():
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0))
    seen = Observations(torch.full((1, 2), 0.5, dtype=torch.float64), torch.ones(1).double(), 0)
    problem = Problem(box, lambda p, u: u.d(x=2) + u.d(y=2), [seen])
    with pytest.raises(ValueError, match="without a posterior, got 1; pass DirectOptions"):
        solve_direct(problem, (16, 16), DirectOptions())
    system = Problem(box, lambda p, u, v: (u.d(x=2) + v.value, v.d(y=2)), [], fields=("u", "v"))
    with pytest.raises(ValueError, match="expected one field and one equation"):
        separable_equation(system)
    first_order = Problem(box, lambda p, u: u.d(x=2) + u.d(y=1), [Initial("y", 0.0)])
    with pytest.raises(ValueError, match="second order only for form='weak'"):
        solve_direct(first_order, (16, 16), DirectOptions(form="weak"))
