import pytest
import torch

from sciml.solution import Solution, SolverError, Status


def make(converged, status=Status.MAX_STEPS):
    return Solution(
        value=torch.zeros(2),
        status=status,
        converged=torch.tensor(converged),
        num_steps=7,
        history=torch.zeros(8, 2),
    )


def test_truth_is_all_converged():
    assert make([True, True], Status.CONVERGED)
    assert not make([True, False])


def test_error_carries_solution_and_remedy():
    solution = make([True, False])
    with pytest.raises(
        SolverError,
        match=r"f: expected convergence, got MAX_STEPS after 7 steps \(1 of 2 right-hand "
        r"sides\) \[why\]: .*raise max_steps.*throw=False",
    ) as caught:
        raise SolverError("f", solution, "why")
    assert caught.value.solution is solution


def test_every_failure_names_a_remedy():
    assert len({status.value for status in Status}) == 5
    for status in set(Status) - {Status.CONVERGED}:
        assert ";" in status.value
