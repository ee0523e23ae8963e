"""Derivatives on all sides, or none: the solution with mean zero, or a refusal."""

import math

import pytest
import torch

import sciml
from sciml.domain import Box
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.solver import GPHMSolver
from sciml.pde.conditions import Neumann, Observations, Periodic
from sciml.pde.jet import FunctionJet
from sciml.pde.problem import Problem

HIGH = (2.0, 1.6, 1.1)
BASE = {"x": 7.3, "y": 5.1, "z": 3.3}


def mean_free(axes, periodic):
    """Waves minus their mean over the box, which is known in closed form."""
    lengths = dict(zip(axes, HIGH, strict=False))
    # whole periods on periodic axes
    omega = {
        axis: 2 * math.pi * round(BASE[axis] * length / 6) / length
        if axis in periodic
        else BASE[axis]
        for axis, length in lengths.items()
    }
    mean = math.prod(
        (math.cos(0.2) - math.cos(omega[axis] * length + 0.2)) / (omega[axis] * length)
        for axis, length in lengths.items()
    )

    def u(points):
        total = torch.ones_like(points.x)
        for axis in axes:
            total = total * torch.sin(omega[axis] * points[axis] + 0.2)
        return total - mean

    return u


def laplacian(points, u):
    return sum((1 + k) * u.d(**{axis: 2}) for k, axis in enumerate(points.axes))


def diffusion(points, u):
    a = torch.exp(3.0 * torch.sin(3.0 * points.x) * torch.cos(2.0 * points.y))
    ax = 9.0 * torch.cos(3.0 * points.x) * torch.cos(2.0 * points.y) * a
    ay = -6.0 * torch.sin(3.0 * points.x) * torch.sin(2.0 * points.y) * a
    return a * (u.d(x=2) + u.d(y=2)) + ax * u.d(x=1) + ay * u.d(y=1)


def drift(points, u):
    return (1.5 + torch.sin(3.0 * points.x)) * u.d(x=2) + points.x.exp() * u.d(x=1)


def free_problem(axes="xy", *, periodic="", apply=laplacian, surplus=0.0, more=()):
    u = mean_free(axes, periodic)

    def slope(axis, sign):
        return lambda points: sign * FunctionJet(u, points).d(**{axis: 1})

    conditions = [Periodic(axis) for axis in periodic]
    for axis in axes:
        if axis not in periodic:
            conditions += [
                Neumann(axis, "low", slope(axis, -1.0)),
                Neumann(axis, "high", slope(axis, 1.0)),
            ]
    return Problem(
        Box(tuple(axes), (0.0,) * len(axes), HIGH[: len(axes)]),
        lambda p, v: apply(p, v) - apply(p, FunctionJet(u, p)) - surplus,
        [*conditions, *more],
        exact=u,
    )


def error_of(problem, solution, shift=0.0):
    generator = torch.Generator().manual_seed(4_200_019)
    unit = torch.rand(300, problem.domain.ndim, dtype=torch.float64, generator=generator)
    points = unit * torch.tensor(problem.domain.high, dtype=torch.float64)
    exact = problem.exact(points) + shift
    return float((solution.value(points) - exact).norm() / exact.norm())


@pytest.mark.parametrize(
    ("options", "resolution", "tolerance"),
    [
        ({"axes": "x"}, 40, 1e-9),
        ({"axes": "x", "apply": drift}, 48, 1e-8),
        ({"axes": "x", "periodic": "x"}, 33, 1e-11),
        ({}, (30, 27), 1e-9),
        ({"periodic": "x"}, (30, 27), 1e-9),
        ({"periodic": "xy"}, (30, 27), 1e-11),
        ({"apply": diffusion}, (30, 27), 1e-9),
        ({"axes": "xyz"}, (20, 18, 16), 1e-7),
    ],
    ids=["line", "drift", "period", "plane", "strip", "torus", "diffusion", "space"],
)
def test_the_solution_has_mean_zero(options, resolution, tolerance):
    problem = free_problem(**options)
    solution = sciml.solve(problem, GPHMSolver(resolution))
    assert error_of(problem, solution) < tolerance


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "x"}, "whose integral is the flux through the sides"),
        ({"axes": "x", "periodic": "x"}, r"over a periodic box is 0, got 2\b"),
        ({}, "whose integral is the flux through the sides"),
        ({"periodic": "xy"}, r"over a periodic box is 0, got 3\.2\b"),
        ({"apply": diffusion}, "whose integral is the flux through the sides"),
    ],
    ids=["line", "period", "plane", "torus", "diffusion"],
)
def test_a_contradiction_is_refused_before_any_solve(options, message):
    with pytest.raises(ValueError, match=message):
        sciml.solve(free_problem(surplus=1.0, **options), GPHMSolver())


@pytest.mark.parametrize("form", ["weak", "weak_uniform"])
def test_both_weak_forms_are_possible_and_the_strong_one_is_not(form):
    problem = free_problem()
    solution = sciml.solve(problem, GPHMSolver((30, 27), options=DirectOptions(form=form)))
    assert solution.stats["form"] == form
    assert error_of(problem, solution) < 1e-7
    with pytest.raises(ValueError, match="a weak form where the conditions leave"):
        sciml.solve(problem, GPHMSolver((30, 27), options=DirectOptions(form="strong")))


def test_an_observation_takes_the_place_of_the_mean():
    point = torch.tensor([[0.7]], dtype=torch.float64)
    value = free_problem("x").exact(point)[:, 0] + 4.0
    problem = free_problem("x", more=[Observations(point, value, 0.0)])
    solution = sciml.solve(problem, GPHMSolver(40))
    assert error_of(problem, solution, shift=4.0) < 1e-9


def test_a_posterior_in_the_plane_needs_a_value():
    with pytest.raises(ValueError, match="leave a constant free; leave the conditions of a"):
        sciml.solve(free_problem(), GPHMSolver(options=DirectOptions(posterior=True)))


def test_a_nonlinear_problem_without_a_solution_ends():
    """v' + v² = 1 from 0 arrives at tanh 1: no resolution helps, so few are tried."""
    problem = Problem(
        Box(("x",), (0.0,), (1.0,)),
        lambda p, u: u.d(x=2) + u.d(x=1) ** 2 - 1.0,
        [Neumann("x", "low", 0.0), Neumann("x", "high", 1.0)],
    )
    tried = []
    solver = GPHMSolver(options=DirectOptions(num_passes=1, repair=False, max_newton_steps=4))
    solution = sciml.solve(
        problem, solver, callback=lambda number, known: tried.append(number), throw=False
    )
    assert not solution
    # four resolutions, four lattices and one pass each
    assert len(tried) == 16
