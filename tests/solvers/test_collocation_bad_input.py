"""Chebyshev collocation: what fails, what is refused, and how it says so."""

import math

import pytest
import torch

import sciml
import sciml.solvers.collocation as collocation
from sciml import Box, ChebyshevCollocation, Problem
from sciml.pde.conditions import Dirichlet, Neumann, Observations, Robin
from sciml.pde.gallery import poisson_1d
from sciml.pde.manufactured import manufactured
from tests.solvers.collocation_problems import (
    LINE,
    acoustics,
    burgers,
    in_space,
    laplace,
    plane_with_sides,
)


def test_what_cannot_be_resolved_is_a_status(monkeypatch):
    monkeypatch.setitem(collocation.LARGEST_RESOLUTION, 1, 80)
    box = Box(("x",), (0.0,), (1.0,))
    problem = poisson_1d("single_sin", domain=box, frequencies=(9000.0,))
    solution = sciml.solve(problem, ChebyshevCollocation(), throw=False)
    assert solution.status is sciml.Status.MAX_STEPS
    assert "(80,) nodes do not resolve the solution" in solution.stats["detail"]


def test_newton_keeps_its_last_iterate_when_it_fails():
    """Bratu's problem has no solution above λ = 3.51."""
    box = Box(("x",), (0.0,), (1.0,))
    sides = in_space(0.0)

    def bratu(strength):
        return Problem(box, lambda p, u: u.d(x=2) + strength * torch.exp(u.value), sides)

    solution = sciml.solve(bratu(20.0), ChebyshevCollocation(24), throw=False)
    assert not solution
    assert solution.status is sciml.Status.STAGNATION
    assert bool(solution.value(torch.tensor([[0.5]], dtype=torch.float64)).isfinite().all())
    with pytest.raises(sciml.SolverError, match=r"Newton's method left a residual of"):
        sciml.solve(bratu(20.0), ChebyshevCollocation(24))
    chosen = sciml.solve(bratu(20.0), ChebyshevCollocation(), throw=False)
    assert chosen.status is sciml.Status.STAGNATION
    assert chosen.stats["resolution"] == (32,)
    middle = sciml.solve(bratu(1.0), ChebyshevCollocation(24)).value
    # u(½) of the lower branch at λ = 1: 2 log(cosh θ), θ = √(1/8) cosh θ
    theta = 0.5
    for _ in range(200):
        theta = math.sqrt(1 / 8) * math.cosh(theta)
    got = float(middle(torch.tensor([[0.5]], dtype=torch.float64)))
    assert got == pytest.approx(2 * math.log(math.cosh(theta)), abs=1e-12)


def test_a_singular_jacobian_is_a_status():
    box = Box(("x",), (0.0,), (1.0,))
    # u u'' at the zero field, where Newton starts, has no derivative at all
    problem = Problem(box, lambda p, u: u.value * u.d(x=2) - 1, in_space(0.0))
    solution = sciml.solve(problem, ChebyshevCollocation(12), throw=False)
    assert solution.status is sciml.Status.BREAKDOWN
    assert "exactly singular one" in solution.stats["detail"]
    assert "at step 1 of Newton" in solution.stats["detail"]


def test_resonance_is_refused():
    """Δu + 2π² u = f has sin πx sin πy beside every solution."""
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0))
    problem = manufactured(
        box, lambda p, u: laplace(p, u) + 2 * math.pi**2 * u.value, lambda p: p.x * p.y
    )
    with pytest.raises(ValueError, match="expected no zero eigenvalue"):
        sciml.solve(problem, ChebyshevCollocation(20))


def test_a_system_with_too_few_conditions_is_refused():
    box = Box(("x",), (0.0,), (1.0,))
    problem = Problem(
        box,
        lambda p, u, v: (u.d(x=1) - v.value, v.d(x=1) + u.value),
        [Dirichlet("x", "low", 0.0, field="u")],
        fields=("u", "v"),
    )
    with pytest.raises(ValueError, match="got a matrix of rank 46 for 47 unknowns; add cond"):
        sciml.solve(problem, ChebyshevCollocation(24))


def test_large_systems_are_refused():
    with pytest.raises(ValueError, match="at most 4096 unknowns for a system of equations"):
        sciml.solve(acoustics(), ChebyshevCollocation(60))


def test_newton_steps_run_out():
    solution = sciml.solve(burgers(), ChebyshevCollocation(16, max_steps=2), throw=False)
    assert solution.status is sciml.Status.MAX_STEPS
    assert solution.num_steps == 2
    assert len(solution.history) == 3


def test_a_solution_that_is_not_finite_is_a_status():
    box = Box(("x",), (0.0,), (1.0,))
    # the square root has no derivative at zero, where Newton starts
    problem = Problem(box, lambda p, u: u.d(x=2) - torch.sqrt(u.value.abs()), in_space(0.0))
    solution = sciml.solve(problem, ChebyshevCollocation(12), throw=False)
    assert solution.status is sciml.Status.NONFINITE


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ([Neumann("x", "low", 0.0), Neumann("x", "high", 1.0)], "fixes derivatives only"),
        ([Neumann("x", "low", 0.0), Robin("x", "high", 1.0, 0.0)], "fixes derivatives only"),
        (
            [*in_space(0.0), Neumann("x", "low", 0.0)],
            "expected 2 conditions on axis 'x', along which",
        ),
    ],
)
def test_conditions_that_do_not_determine_the_solution_are_refused(conditions, message):
    box = Box(("x",), (0.0,), (1.0,))
    with pytest.raises(ValueError, match=message):
        sciml.solve(
            Problem(box, lambda p, u: u.d(x=2) - 1, conditions), ChebyshevCollocation(8)
        )


def test_bad_resolutions_are_named():
    with pytest.raises(ValueError, match=r"expected at least 4 nodes an axis, got 3; raise"):
        ChebyshevCollocation(3)
    with pytest.raises(
        ValueError, match=r"expected one resolution per axis \(2\), got \(8, 8, 8"
    ):
        sciml.solve(plane_with_sides(), ChebyshevCollocation((8, 8, 8)))
    with pytest.raises(ValueError, match="expected 0 < tolerance < 1 and max_steps >= 1"):
        ChebyshevCollocation(8, tolerance=0.0)


def test_what_it_cannot_do_is_said_in_words():
    box = Box(("x", "y", "z", "t"), (0.0,) * 4, (1.0,) * 4)
    problem = Problem(box, lambda p, u: u.value - p.x, [])
    with pytest.raises(ValueError, match="expected 1, 2 or 3 axes, got 4"):
        sciml.solve(problem, ChebyshevCollocation(8))
    observed = Observations(
        torch.tensor([[0.5]], dtype=torch.float64), torch.ones(1, dtype=torch.float64), 0.1
    )
    noisy = Problem(LINE, lambda p, u: u.d(x=2), [*in_space(0.0), observed])
    with pytest.raises(ValueError, match="expected conditions on faces, got Observations"):
        sciml.solve(noisy, ChebyshevCollocation(8))
    open_system = Problem(
        LINE,
        lambda p, u, v: u.d(x=1) - v.value,
        [Dirichlet("x", "low", 0.0, field="u")],
        fields=("u", "v"),
    )
    with pytest.raises(ValueError, match="expected at least one equation per field, got 1 for"):
        sciml.solve(open_system, ChebyshevCollocation(8))
