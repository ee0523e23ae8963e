import pytest
import torch

from sciml.evaluation.problem_plan import ProblemPlan
from sciml.pde import gallery
from sciml.solvers.collocation import ChebyshevCollocation


def test_case_and_parameters_reach_the_gallery():
    parameters = {"frequencies": [7.0], "form": None}
    plan = ProblemPlan(gallery.poisson_1d, "single_sin", parameters=parameters)
    points = torch.tensor([[0.3], [1.1]], dtype=torch.float64)
    assert torch.equal(plan.problem.exact(points), torch.sin(7.0 * points))


def test_one_end_of_the_box_may_be_moved():
    plan = ProblemPlan(gallery.advection, "sin", parameters={"beta": -3.0}, high=[2, 0.5])
    assert plan.problem.domain.low == (0.0, 0.0)
    assert plan.problem.domain.high == (2.0, 0.5)
    points = torch.tensor([[0.3, 0.2]], dtype=torch.float64)
    assert plan.problem.exact(points).item() == pytest.approx(
        torch.sin(torch.tensor(0.3 + 3 * 0.2)).item()
    )


@pytest.mark.parametrize(
    ("problem", "ndim", "count"),
    [(gallery.poisson_1d, 1, 300), (gallery.advection, 2, 300), (gallery.poisson_3d, 3, 64)],
)
def test_grid_spans_the_box(problem, ndim, count):
    case = {1: "single_sin", 2: "sin", 3: "sin_sin_sin"}[ndim]
    plan = ProblemPlan(problem, case)
    lines = plan.grid()
    assert [len(line) for line in lines] == [count] * ndim
    assert tuple(line[0].item() for line in lines) == plan.problem.domain.low
    assert tuple(line[-1].item() for line in lines) == plan.problem.domain.high
    assert len(ProblemPlan(problem, case, points_per_axis=17).grid()[0]) == 17


def test_baselines_are_kept_by_name():
    solver = ChebyshevCollocation(resolution=8)
    plan = ProblemPlan(gallery.poisson_1d, "single_sin", baselines={"chebyshev": solver})
    assert plan.baselines == {"chebyshev": solver}


def test_one_point_is_no_grid():
    with pytest.raises(ValueError, match="expected at least 2 points per axis, got 1"):
        ProblemPlan(gallery.poisson_1d, "single_sin", points_per_axis=1)


def test_a_box_turned_around_is_refused():
    with pytest.raises(ValueError, match="expected low < high on axis 'x'"):
        ProblemPlan(gallery.poisson_1d, "single_sin", low=[9.0])


def test_a_part_of_the_box_starts_at_its_lower_end():
    plan = ProblemPlan(gallery.advection, "sin", low=[1.0, 0.0], high=[3.0, 0.5], part=0.25)
    assert plan.problem.domain.low == (1.0, 0.0)
    assert plan.problem.domain.high == (1.5, 0.125)
    whole = ProblemPlan(gallery.poisson_1d, "single_sin", part=1.0).problem.domain
    assert whole == gallery.poisson_1d("single_sin").domain


@pytest.mark.parametrize("part", [0.0, -1.0, 1.5])
def test_a_part_is_a_fraction(part):
    with pytest.raises(ValueError, match=r"expected a part in \(0, 1\] of the box"):
        ProblemPlan(gallery.poisson_1d, "single_sin", part=part)


def test_a_box_with_too_few_ends_is_refused():
    with pytest.raises(ValueError, match="one low, high and periodic per axis"):
        ProblemPlan(gallery.poisson_2d, "sin_sin", low=[0.0])
