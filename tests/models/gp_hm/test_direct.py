"""The direct solver on the problems of the paper: accuracy, selection, statuses."""

import math

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.direct import solve_direct
from sciml.models.gp_hm.direct_line import LineSystem
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.model import harmonic_lattice
from sciml.pde.conditions import Dirichlet, Initial, Neumann, Observations, Periodic, Robin
from sciml.pde.gallery.advection import advection
from sciml.pde.gallery.allen_cahn import allen_cahn_1d, allen_cahn_2d
from sciml.pde.gallery.poisson import poisson_1d, poisson_2d, poisson_3d
from sciml.pde.problem import Problem
from sciml.solution import Status

SEED = 4_200_019


def errors(problem, solution, per_axis=300):
    """Relative errors on 2000 random points and on a uniform grid."""
    domain = problem.domain
    generator = torch.Generator().manual_seed(SEED)
    low = torch.tensor(domain.low, dtype=torch.float64)
    unit = torch.rand(2000, domain.ndim, dtype=torch.float64, generator=generator)
    scattered = low + unit * torch.tensor(domain.extent, dtype=torch.float64)
    count = per_axis if domain.ndim < 3 else 61
    grid = domain.grid([count] * domain.ndim).flatten(1).T.contiguous()
    found = []
    for points in (scattered, grid):
        exact = problem.exact(points)
        found.append(float((solution.value(points) - exact).norm() / exact.norm()))
    return found


REDUCED = [
    pytest.param(lambda: poisson_1d("single_sin"), 240, 1e-10, {}, id="P1"),
    pytest.param(lambda: poisson_1d("sin_cos"), 240, 1e-10, {}, id="P3"),
    pytest.param(lambda: poisson_1d("x2_add_sinx"), 180, 1e-10, {}, id="P5"),
    pytest.param(
        lambda: allen_cahn_1d("sin_cos", frequencies=(6.0, 30.0)), 140, 1e-9, {}, id="A2"
    ),
    pytest.param(lambda: poisson_2d("sin_add_cos"), 64, 1e-9, {"form": "strong"}, id="P7"),
    pytest.param(lambda: poisson_2d("sin_add_cos"), (64, 71), 1e-9, {}, id="P7-rectangle"),
    pytest.param(lambda: advection("sin", sides="inflow"), 100, 1e-9, {}, id="V1"),
    pytest.param(
        lambda: poisson_3d("sin_add_exp", frequencies=(11.0, 11.0, 11.0)),
        (30, 31, 32),
        1e-8,
        {"form": "strong", "nyquist_fractions": (0.85,)},
        id="3-D",
    ),
    pytest.param(
        lambda: poisson_1d("x_time_sinx"), 430, 1e-9, {}, id="P4", marks=pytest.mark.slow
    ),
    pytest.param(
        lambda: poisson_2d("sin_sin"),
        240,
        1e-10,
        {"form": "strong"},
        id="P6",
        marks=pytest.mark.slow,
    ),
]
REFERENCE = [
    pytest.param(lambda: poisson_1d("single_sin"), 400, 1e-9, id="P1"),
    pytest.param(lambda: poisson_1d("mix_sin"), 900, 1e-9, id="P2"),
    pytest.param(lambda: poisson_1d("sin_cos"), 400, 1e-9, id="P3"),
    pytest.param(lambda: poisson_1d("x_time_sinx"), 900, 1e-9, id="P4"),
    pytest.param(lambda: poisson_1d("x2_add_sinx"), 400, 1e-9, id="P5"),
    pytest.param(lambda: allen_cahn_1d("single_sin"), 400, 1e-9, id="A1"),
    pytest.param(lambda: allen_cahn_1d("sin_cos"), 400, 1e-9, id="A2"),
    pytest.param(lambda: poisson_2d("sin_sin"), 400, 1e-8, id="P6"),
    pytest.param(lambda: poisson_2d("sin_add_cos"), 200, 1e-8, id="P7"),
    pytest.param(lambda: allen_cahn_2d("mix_sincos"), 200, 1e-8, id="A3"),
    pytest.param(lambda: advection("sin", sides="inflow"), 200, 1e-7, id="V1"),
    pytest.param(lambda: poisson_3d("sin_add_exp"), 100, 1e-10, id="3-D"),
]


@pytest.mark.parametrize(("problem", "resolution", "bound", "options"), REDUCED)
def test_below_the_points_that_the_paper_needs(problem, resolution, bound, options):
    made = problem()
    counts = resolution if isinstance(resolution, tuple) else (resolution,) * made.domain.ndim
    solution = solve_direct(made, counts, DirectOptions(**options))
    assert bool(solution)
    assert max(errors(made, solution)) <= bound


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "resolution", "bound"), REFERENCE)
def test_reference_grids(problem, resolution, bound):
    made = problem()
    solution = solve_direct(made, (resolution,) * made.domain.ndim, DirectOptions())
    assert max(errors(made, solution)) <= bound
    assert solution.stats["seconds"] < 60


def test_selection_is_near_the_best_of_the_sweep():
    problem = poisson_1d("x2_add_sinx")
    points = problem.domain.points_along(0, 1001)[:, None]
    exact = problem.exact(points)[:, 0]
    nodes = problem.domain.points_along(0, 220)
    found = {}

    def remember(number, known):
        found[number] = known

    options = DirectOptions(repair=False)
    solution = solve_direct(problem, (220,), options, remember)
    selected = float((solution.value(points)[:, 0] - exact).norm() / exact.norm())
    assert len(found) == solution.num_steps == solution.history.numel()
    swept = []
    for fraction in (0.95, 0.75, 0.6, 0.45):
        features = harmonic_lattice(
            0.0, 1.0, highest_frequency=fraction * 219 / 2, kappa=options.kappa
        )
        for _ in range(options.num_passes):
            one = LineSystem(problem, nodes, features).solve(max_steps=1, start=None)
            swept.append(float((one.evaluate(points, (0,)) - exact).norm() / exact.norm()))
            features = features.reweighted(one.coefficients)
    assert selected <= 10 * min(swept)
    assert found[1]["residual_norm"] > 10 * found[5]["residual_norm"]


def test_learned_spectrum_has_the_frequency():
    problem = poisson_1d("single_sin")
    solution = solve_direct(problem, (240,), DirectOptions())
    spectrum = solution.stats["spectrum"]["x"]
    strongest = spectrum["frequency"][spectrum["weight"].argmax()]
    assert float(strongest) == pytest.approx(100 / (2 * math.pi), abs=1e-3)
    assert float(spectrum["weight"].max()) == 1.0


def test_equations_on_a_line_of_every_kind():
    """Variable coefficients, first order, Neumann, Robin, periodic, initial velocity."""

    def u(points):
        return torch.sin(7.3 * points.x) + points.x

    box = Box(("x",), (0.0,), (2.0,))

    def variable(p, v):
        right = -(7.3**2) * torch.sin(7.3 * p.x) * (1 + p.x) + 7.3 * torch.cos(7.3 * p.x) + 1
        return (1 + p.x) * v.d(x=2) + v.d(x=1) - right

    slope = 7.3 * math.cos(14.6) + 1
    value = math.sin(14.6) + 2
    ends = [
        [Dirichlet("x", "low", 0.0), Neumann("x", "high", slope)],
        [Dirichlet("x", "low", 0.0), Robin("x", "high", slope + 3 * value, 3.0)],
        [Initial("x", 0.0), Initial("x", 8.3, order=1)],
        [
            Dirichlet("x", "low", 0.0),
            Observations(
                torch.tensor([[2.0]], dtype=torch.float64),
                torch.tensor([value], dtype=torch.float64),
                0.0,
            ),
        ],
    ]
    for conditions in ends:
        problem = Problem(box, variable, conditions, exact=u)
        assert max(errors(problem, solve_direct(problem, (48,), DirectOptions()))) < 1e-8

    def wave(points):
        return torch.exp(torch.cos(points.x))

    def periodic(p, v):
        return v.d(x=2) - v.value - wave(p) * (torch.sin(p.x) ** 2 - torch.cos(p.x) - 1)

    circle = Box(("x",), (0.0,), (2 * math.pi,))
    problem = Problem(circle, periodic, [Periodic("x")], exact=wave)
    assert max(errors(problem, solve_direct(problem, (40,), DirectOptions()))) < 1e-11


def test_without_a_solution_the_last_iterate_and_the_reason_are_kept():
    box = Box(("x",), (0.0,), (1.0,))
    # Bratu's problem has no solution beyond 3.51
    problem = Problem(
        box,
        lambda p, u: u.d(x=2) + 20.0 * torch.exp(u.value),
        [Dirichlet("x", "low", 0.0), Dirichlet("x", "high", 0.0)],
    )
    options = DirectOptions(num_passes=1, num_rounds=1, max_newton_steps=6)
    solution = solve_direct(problem, (40,), options)
    assert solution.status in (Status.MAX_STEPS, Status.NONFINITE)
    assert not solution
    assert "Newton" in solution.stats["detail"] or "finite" in solution.stats["detail"]
    inside = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
    assert bool(torch.isfinite(solution.value(inside)).all())


def test_a_coarse_grid_does_not_claim_convergence():
    problem = poisson_1d("x2_add_sinx")
    options = DirectOptions(num_passes=1, repair=False)
    solution = solve_direct(problem, (165,), options)
    assert solution.status is Status.STAGNATION
    assert "raise the resolution" in solution.stats["detail"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kappa": 0.0}, "expected kappa > 0"),
        ({"num_passes": 0}, "at least 1"),
        ({"nyquist_fractions": (1.2,)}, r"nyquist_fractions in \(0, 1\]"),
        ({"nyquist_fractions": ()}, r"nyquist_fractions in \(0, 1\]"),
        ({"form": "mixed"}, "'weak' or 'weak_uniform'"),
        ({"tolerance": 0.0}, "0 < tolerance < 1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        DirectOptions(**options)
