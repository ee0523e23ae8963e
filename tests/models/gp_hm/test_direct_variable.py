"""Coefficients that vary in space: conjugate gradients in separable modes."""

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.direct import solve_direct
from sciml.models.gp_hm.direct_basis import LegendreBasis
from sciml.models.gp_hm.direct_equation import separable_equation
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_variable import DiffusionSystem, WeakDiffusion
from sciml.models.gp_hm.lattice import harmonic_lattice
from sciml.pde.conditions import Dirichlet, Neumann, Periodic, Robin
from sciml.pde.jet import FunctionJet
from sciml.pde.problem import Problem
from sciml.solution import Status

HIGH = (2.0, 1.6, 1.1)


def u(points):
    wave = torch.sin(7.3 * points.x + 0.2) * torch.cos(5.1 * points.y)
    return wave * torch.exp(0.3 * points.z) if "z" in points.axes else wave


def diffusion_problem(a, *, sides=(), reaction=0.0, axes=("x", "y"), sign=1.0, drift=0.0):
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
            if (axis, side) in sides:
                conditions.append(Neumann(axis, side, lambda p, at=(axis, side): slope(*at, p)))
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


def separable(points):
    return torch.exp(2.0 * torch.sin(3.0 * points.x) + torch.cos(2.0 * points.y))


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        ({}, ()),
        ({"reaction": -3.0}, ()),
        ({"sign": -1.0, "reaction": 2.0}, ()),
        ({}, (("x", "high"), ("y", "low"))),
    ],
    ids=["plain", "reaction", "negative", "neumann"],
)
def test_rectangle(options, sides):
    problem = diffusion_problem(waves, sides=sides, **options)
    solution = solve_direct(problem, (36, 29), DirectOptions())
    assert bool(solution)
    assert solution.stats["form"] == "weak"
    assert 2 < solution.stats["linear_steps"] <= 80
    assert error_of(problem, solution) < 1e-9


def test_separable_coefficient_takes_a_few_steps():
    problem = diffusion_problem(separable)
    solution = solve_direct(problem, (36, 29), DirectOptions())
    assert error_of(problem, solution) < 1e-9
    assert solution.stats["linear_steps"] <= 12


def test_three_dimensions():
    problem = diffusion_problem(
        lambda p: torch.exp(0.5 * torch.sin(p.x) * torch.cos(p.y) + 0.3 * p.z),
        axes=("x", "y", "z"),
    )
    options = DirectOptions(nyquist_fractions=(0.6,))
    solution = solve_direct(problem, (22, 20, 12), options)
    assert error_of(problem, solution) < 1e-6


def test_operator_is_the_quadrature_of_its_form():
    generator = torch.Generator().manual_seed(3_001_333)
    problem = diffusion_problem(waves, reaction=-2.0)
    bases = [
        LegendreBasis(
            harmonic_lattice(0.0, length, highest_frequency=1.2, kappa=2.137),
            cut=1e-12,
            num_nodes=18,
        )
        for length in problem.domain.extent
    ]
    samples = separable_equation(problem).sample([basis.nodes for basis in bases])
    values = [basis.at_nodes() for basis in bases]
    slopes = [basis.at_nodes(1) for basis in bases]
    weights = bases[0].quadrature[:, None] * bases[1].quadrature
    a = samples.derivative((2, 0)) * weights
    reaction = samples.reaction * weights
    scale = torch.rand(*(b.size for b in bases), dtype=torch.float64, generator=generator) + 0.5
    operator = WeakDiffusion(values, slopes, [a, a], reaction, scale)
    dense = torch.zeros(scale.numel(), scale.numel(), dtype=torch.float64)
    for first, second, weight in (
        (slopes[0], values[1], a),
        (values[0], slopes[1], a),
        (values[0], values[1], -reaction),
    ):
        design = torch.kron(first, second)
        dense += design.T @ (weight.flatten()[:, None] * design)
    dense = scale.flatten()[:, None] * dense * scale.flatten()
    torch.testing.assert_close(operator.to_dense(), dense, rtol=1e-10, atol=1e-8)
    assert operator.T is operator
    twin = operator.with_tensors(operator.tensors)
    x = torch.randn(*operator.in_shape, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(twin.mv(x), operator.mv(x), rtol=0, atol=0)
    assert float(operator.quadratic_form(x)) > 0


def test_what_the_form_cannot_hold_is_refused_in_words():
    drifting = diffusion_problem(waves, drift=1.0)
    with pytest.raises(ValueError, match="in divergence form"):
        solve_direct(drifting, (24, 22), DirectOptions())
    steep = diffusion_problem(lambda p: torch.exp(7.0 * torch.sin(2 * p.x)))
    with pytest.raises(ValueError, match="contrast below 1e\\+05"):
        solve_direct(steep, (60, 40), DirectOptions())
    with pytest.raises(ValueError, match="form='weak'"):
        solve_direct(diffusion_problem(waves), (24, 22), DirectOptions(form="strong"))
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0))

    def residual(p, v):
        return (2 + p.x) * v.d(x=2) + v.d(x=1) + v.d(y=2)

    rest = [Dirichlet("y", side, 0.0) for side in ("low", "high")]
    robin = Problem(
        box, residual, [*rest, Robin("x", "low", 0.0, 1.0), Dirichlet("x", "high", 0.0)]
    )
    with pytest.raises(ValueError, match="expected Dirichlet and Neumann"):
        solve_direct(robin, (24, 22), DirectOptions())
    around = Problem(box, residual, [*rest, Periodic("x")])
    with pytest.raises(ValueError, match="no periodic axis"):
        solve_direct(around, (24, 22), DirectOptions())


def test_steps_that_run_out_are_reported(monkeypatch):
    monkeypatch.setattr("sciml.models.gp_hm.direct_variable._MAX_STEPS", 3)
    problem = diffusion_problem(waves)
    solution = solve_direct(problem, (30, 26), DirectOptions(nyquist_fractions=(0.6,)))
    assert solution.status is Status.MAX_STEPS
    assert "without converging" in solution.stats["detail"]
    equation = separable_equation(problem)
    assert equation.varying
    bases = [
        LegendreBasis(harmonic_lattice(0.0, e, highest_frequency=2.0, kappa=2.137), cut=1e-12)
        for e in problem.domain.extent
    ]
    samples = equation.sample([basis.nodes for basis in bases])
    assert "3 steps" in DiffusionSystem(equation, bases, samples).solve().detail
