"""The published solver on problems: its trace, two stages, rectangular grids, refusals."""

import math

import pytest
import torch

from sciml.domain import Box
from sciml.models.gp_hm.adam import AdamOptions, solve_adam
from sciml.models.gp_hm.adam_problem import GridProblem
from sciml.models.gp_hm.adam_state import initial_state
from sciml.models.gp_hm.kernels import STM
from sciml.models.gp_hm.objective import LogJoint
from sciml.pde.conditions import Dirichlet, Neumann, Observations, Periodic
from sciml.pde.gallery.advection import advection
from sciml.pde.gallery.allen_cahn import allen_cahn_2d
from sciml.pde.gallery.poisson import poisson_1d
from sciml.pde.problem import Problem
from sciml.solution import Status

UNIT = Box(("x",), (0.0,), (1.0,))


def line_problem(conditions=None, residual=None, box=UNIT, **options):
    ends = [Dirichlet("x", "low", 0.0), Dirichlet("x", "high", math.sin(3.0))]
    return Problem(
        box,
        residual or (lambda points, u: u.d(x=2) + 9 * torch.sin(3 * points.x)),
        ends if conditions is None else conditions,
        **({"exact": lambda points: torch.sin(3 * points.x)} | options),
    )


@pytest.mark.slow
def test_hundred_steps_are_the_authors_own():
    """sin(100 x) on 400 nodes: losses and the logged best error, 0.275621."""
    solution = solve_adam(
        poisson_1d("single_sin"), resolution=400, options=AdamOptions(num_steps=100)
    )
    assert float(solution.history[0]) == pytest.approx(9974999191.593431, rel=1e-10)
    assert float(solution.history[-1]) == pytest.approx(366269862.006, rel=1e-8)
    assert solution.stats["best_checkpoint_error"] == pytest.approx(0.27562065, abs=1e-5)
    assert len(solution.stats["checkpoint_errors"]) == 20
    # the state after all steps is what is reported, and what a user gets
    assert solution.stats["error"] < solution.stats["best_checkpoint_error"]


def test_the_residual_falls_and_the_field_has_derivatives():
    """sin 60 x on 60 nodes; a drift of the homogeneous solution leaves slowly."""
    problem = poisson_1d("single_sin", frequencies=(60.0,), domain=UNIT)
    options = AdamOptions(num_steps=500, num_components=8, tolerance=1.0)
    seen = []
    solution = solve_adam(
        problem,
        resolution=60,
        kernel="gm",
        options=options,
        callback=lambda step, info: seen.append((step, info["residual_norm"])),
    )
    assert solution.status is Status.CONVERGED
    assert solution.stats["residual_norm"] < 0.2
    assert solution.stats["error"] < 0.4
    assert [step for step, _ in seen] == list(range(1, 501))
    assert seen[-1][1] < 0.1 * seen[0][1]
    frequencies = solution.stats["spectrum"]["x"]["frequency"]
    assert frequencies.shape == (8,)
    assert frequencies[0] == 0
    points = torch.tensor([[0.21], [0.67]], dtype=torch.float64)
    step = 1e-6
    for order in (0, 1):
        ends = [solution.value.d(points + shift, x=order) for shift in (step, -step)]
        slope = (ends[0] - ends[1]) / (2 * step)
        found = solution.value.d(points, x=order + 1)
        torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-2)
    curvature = -3600 * torch.sin(60 * points)
    torch.testing.assert_close(solution.value.d(points, x=2), curvature, rtol=0.2, atol=200.0)
    with pytest.raises(ValueError, match="expected a field with a posterior"):
        solution.value.std(points)


def test_few_steps_are_not_convergence_and_final_and_best_errors_are_both_there():
    solution = solve_adam(
        line_problem(),
        resolution=15,
        options=AdamOptions(num_steps=40, num_components=3, frequency_scale=1.0),
    )
    assert solution.status is Status.MAX_STEPS
    assert not solution
    checkpoints = solution.stats["checkpoint_errors"]
    assert solution.stats["best_checkpoint_error"] == min(checkpoints)
    grid = torch.linspace(0, 1, 300, dtype=torch.float64)[:, None]
    exact = torch.sin(3 * grid)
    error = float((solution.value(grid) - exact).norm() / exact.norm())
    assert solution.stats["error"] == pytest.approx(error, rel=1e-10)


def test_without_exact_solution_no_error_is_claimed():
    solution = solve_adam(
        line_problem(exact=None),
        resolution=9,
        options=AdamOptions(num_steps=2, num_components=2),
    )
    assert "error" not in solution.stats
    assert "best_checkpoint_error" not in solution.stats


def test_second_stage_starts_from_the_frozen_first_one():
    """Just after the change the sum is the first stage alone; then only the second GP moves."""
    options = {"num_components": 3, "frequency_scale": 1.0}
    first = solve_adam(
        line_problem(), resolution=15, options=AdamOptions(num_steps=30, **options)
    )
    both = solve_adam(
        line_problem(),
        resolution=15,
        options=AdamOptions(num_steps=60, change_point=0.5, **options),
    )
    torch.testing.assert_close(both.history[:30], first.history)
    one, two = both.value.means
    torch.testing.assert_close(one.weights, first.value.means[0].weights)
    assert two.kernel.name == "matern"
    assert two.weights.abs().max() > 0
    points = torch.rand(7, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(77))
    sum_of_both = one.at(points, (0,)) + two.at(points, (0,))
    torch.testing.assert_close(both.value(points)[:, 0], sum_of_both)
    torch.testing.assert_close(
        both.stats["spectrum"]["x"]["frequency"], first.stats["spectrum"]["x"]["frequency"]
    )
    assert both.history[59] < both.history[30]


@pytest.mark.parametrize(
    "problem",
    [allen_cahn_2d("mix_sincos"), advection("sin", sides="all", beta=5.0)],
    ids=["allen_cahn", "advection"],
)
def test_problems_in_the_plane_on_a_rectangular_grid(problem):
    options = AdamOptions(num_steps=5, num_components=4)
    solution = solve_adam(problem, resolution=(12, 9), options=options)
    field = solution.value
    assert solution.stats["resolution"] == (12, 9)
    lines = [problem.domain.points_along(0, 5), problem.domain.points_along(1, 4)]
    grid = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2)
    torch.testing.assert_close(field.on_grid(lines).flatten(), field(grid)[:, 0])
    discretised = GridProblem(problem, (12, 9))
    exact = problem.exact(discretised.points)[:, 0].reshape(12, 9)
    assert len(discretised.faces) == 4
    for face in discretised.faces:
        torch.testing.assert_close(exact.select(face.axis, face.index), face.values)
    # the loss of U = 0 is the weighted squares of data and right-hand side, and log|K|
    zero = discretised.residual_of_zero()
    squares = sum(float(face.values.square().sum()) for face in discretised.faces)
    started = LogJoint(
        STM, discretised.nodes, discretised.faces, discretised.residual, discretised.needs
    )
    logdet = float(started.terms(initial_state((12, 9), 4, 20.0)).log_determinant)
    expected = (200 * squares + zero**2 + logdet) / 2
    assert float(solution.history[0]) == pytest.approx(expected, rel=1e-10)


def test_covariance_that_breaks_down_ends_the_run_in_words():
    options = AdamOptions(num_steps=50, learning_rate=20.0, num_components=2)
    solution = solve_adam(line_problem(), resolution=12, options=options)
    assert solution.status in (Status.BREAKDOWN, Status.NONFINITE)
    assert solution.num_steps < 50
    assert solution.stats["detail"]
    assert bool(solution.value(torch.zeros(1, 1, dtype=torch.float64)).isfinite().all())


def test_problems_of_other_kinds_are_refused():
    end = Dirichlet("x", "low", 0.0)
    with pytest.raises(
        ValueError, match=r"got Neumann\('x', 'high'\); take inference='direct'"
    ):
        solve_adam(line_problem([end, Neumann("x", "high", 0.0)]), resolution=9)
    with pytest.raises(ValueError, match="got a periodic axis or observations"):
        solve_adam(line_problem([Periodic("x")]), resolution=9)
    one = torch.full((1, 1), 0.5, dtype=torch.float64)
    observed = Observations(one, one[:, 0], 0.1)
    with pytest.raises(ValueError, match="inference='evidence' for observations"):
        solve_adam(line_problem([end, observed]), resolution=9)
    with pytest.raises(ValueError, match="expected at least 3 nodes on each of 1 axes, got 2"):
        solve_adam(line_problem(), resolution=2)
    with pytest.raises(ValueError, match="got order 6; Matérn-5/2 bumps have no more"):
        solve_adam(line_problem(residual=lambda points, u: u.d(x=6)), resolution=9)

    def coupled(points, u, v):
        return u.d(x=2) - v.value, v.d(x=2)

    ends = [Dirichlet("x", "low", 0.0, field="u"), Dirichlet("x", "low", 0.0, field="v")]
    system = Problem(UNIT, coupled, ends, fields=("u", "v"))
    with pytest.raises(ValueError, match="expected one field and one equation, got 2 and 2"):
        solve_adam(system, resolution=9)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="expected at least one step, got 0"):
        AdamOptions(num_steps=0)
    with pytest.raises(ValueError, match="expected a change_point between 0 and 1, got 1"):
        AdamOptions(change_point=1.0)
    with pytest.raises(ValueError, match="expected a positive jitter, got 0"):
        AdamOptions(jitter=0.0)
