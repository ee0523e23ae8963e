import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.smoke_pressure import PressureSolver, SideBySide
from sciml.solution import Solution, Status


def operator_of(*flags):
    return PoissonOperator(torch.tensor(flags, dtype=torch.uint8))


OPEN = operator_of([2, 2], [2, 2])
HALF = operator_of([1, 2], [2, 2])


def fixed(values, starts):
    """A method that gives prescribed solutions and notes its starts."""
    given = iter(values)

    def method(operator, b, start):
        starts.append(start)
        return Solution(
            value=torch.full_like(b, next(given)),
            status=Status.CONVERGED,
            converged=torch.tensor(True),
            num_steps=len(starts),
            history=torch.zeros(1),
            stats={"solver": "fixed"},
        )

    return method


def test_starts_are_extrapolated_from_the_two_latest_solutions():
    starts = []
    solver = PressureSolver(fixed([1.0, 3.0, 4.0], starts))
    b = torch.ones(2, 2, dtype=torch.float64)
    for operator in (OPEN, OPEN, OPEN):
        solver(operator, b)
    solver.method = fixed([0.0], starts)
    solver(HALF, b)
    assert [float(start[1, 1]) for start in starts] == [0.0, 1.0, 5.0, 5.0]
    assert float(starts[3][0, 0]) == 0.0  # solid by now
    assert solver.num_steps == [1, 2, 3, 4]
    assert len(solver.seconds) == 4
    assert min(solver.seconds) > 0
    assert solver.stats == {"solver": "fixed"}


def test_each_solver_has_its_own_history_and_the_first_one_drives():
    starts, others = [], []
    both = SideBySide(
        {
            "one": PressureSolver(fixed([1.0, 2.0], starts)),
            "other": PressureSolver(fixed([7.0, 8.0], others)),
        }
    )
    b = torch.ones(2, 2, dtype=torch.float64)
    assert float(both(OPEN, b).value[0, 0]) == 1.0
    assert float(both(OPEN, b).value[0, 0]) == 2.0
    assert float(starts[1][0, 0]) == 1.0
    assert float(others[1][0, 0]) == 7.0


def test_no_solver_is_refused():
    with pytest.raises(ValueError, match="SideBySide: expected at least one solver, got none"):
        SideBySide({})
