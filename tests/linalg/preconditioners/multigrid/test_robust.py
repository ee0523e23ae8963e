"""The solver that takes over where weights span more than float32 resolves."""

import copy
import pickle

import numpy as np
import pytest
import torch

from sciml.linalg.choose import Choice
from sciml.linalg.dense import DenseOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.preconditioners.multigrid.robust import RobustMultigridCG
from sciml.linalg.preconditioners.multigrid.solver import MultigridCG
from sciml.linalg.solve import linear_solve
from sciml.simulate.geometry import make_flags, right_hand_side, smooth_coefficients
from sciml.solution import SolverError

SEED = 71993
SHAPE = (130, 121)


def system(contrast=1.0, spacing=1.0, dtype=torch.float64):
    flags = make_flags("random", SHAPE, seed=SEED)
    kappa = smooth_coefficients("cb_a", SHAPE, contrast=contrast, seed=SEED)
    operator = PoissonOperator(flags, spacing, coefficients=kappa, dtype=dtype)
    b = torch.from_numpy(right_hand_side(flags, seed=SEED)).to(dtype)
    return operator, operator.project(b)


def true_residual(operator, value, b):
    return float((operator.mv(value) - b).norm() / b.norm())


@pytest.mark.parametrize(
    ("contrast", "spacing", "rtol"),
    [(1e6, 1.0, 1e-7), (1.0, (1.0, 1000.0), 1e-6)],
    ids=["contrast", "aspect"],
)
def test_weights_beyond_single_precision_by_default(contrast, spacing, rtol):
    operator, b = system(contrast, spacing)
    for options in ({}, {"preconditioner": CCMG(operator)}):
        solution = linear_solve(operator, b, rtol=rtol, **options)
        assert true_residual(operator, solution.value, b) <= rtol


def test_it_goes_on_from_the_best_iterate_of_the_one_before():
    operator, b = system(10.0)
    first = MultigridCG(rtol=1e-8, max_steps=3)
    choice = Choice(first, "", (RobustMultigridCG(rtol=1e-8),))
    solution = choice.solve(operator, b, None, None)
    assert true_residual(operator, solution.value, b) <= 1e-8
    assert solution.stats["fallback_from"] == "MultigridCG"
    assert solution.stats["preconditioner"] == "CCMG in float64"
    assert len(solution.history) == solution.num_steps + 1
    residual = true_residual(operator, first.solve(operator, b).value, b)
    assert float(solution.history[4] / b.norm()) < residual < 0.1


def test_the_best_iterate_is_kept_where_no_method_reaches_the_tolerance():
    operator, b = system(1e8)
    with pytest.raises(
        SolverError, match=r"rounding x to torch\.float64 leaves of A x"
    ) as info:
        linear_solve(operator, b, rtol=1e-13)
    assert true_residual(operator, info.value.solution.value, b) < 1e-5


@pytest.mark.parametrize("size", [1e-200, 1e50, 1e200])
def test_weights_beyond_the_range_of_single_precision(size):
    flags = make_flags("random", (30, 31), seed=SEED)
    kappa = size * smooth_coefficients("logn", (30, 31), contrast=10.0, seed=SEED)
    operator = PoissonOperator(flags, coefficients=kappa)
    b = operator.project(torch.from_numpy(right_hand_side(flags, seed=SEED)))
    solution = MultigridCG(rtol=1e-10).solve(operator, b)
    assert true_residual(operator, solution.value, b) <= 1e-10
    assert solution.num_steps <= 15


def test_preconditioners_are_copied_and_refuse_what_they_do_not_know():
    operator, b = system()
    preconditioner = CCMG(operator)
    residual = b.float()
    for other in (copy.deepcopy(preconditioner), pickle.loads(pickle.dumps(preconditioner))):
        torch.testing.assert_close(other @ residual, preconditioner @ residual)
    with pytest.raises(ValueError, match=r'CCMG: expected cycle "V" or "W".*float16'):
        CCMG(operator, dtype=torch.float16)


def test_both_solvers_agree():
    operator, b = system(10.0)
    fast = MultigridCG(rtol=1e-10).solve(operator, b)
    robust = RobustMultigridCG(rtol=1e-10).solve(operator, b)
    assert robust
    assert abs(robust.num_steps - fast.num_steps) <= 1
    difference = operator.project(fast.value - robust.value).norm()
    assert float(difference) <= 1e-7 * float(operator.project(robust.value).norm())


def test_single_precision_fields_run_with_the_float64_cycle():
    operator, b = system(10.0, dtype=torch.float32)
    solution = RobustMultigridCG(rtol=1e-3).solve(operator, b)
    assert solution
    assert solution.value.dtype is torch.float32
    assert true_residual(operator, solution.value, b) <= 1e-3


def test_what_it_refuses():
    operator, b = system()
    with pytest.raises(ValueError, match="RobustMultigridCG: expected a PoissonOperator"):
        RobustMultigridCG().solve(DenseOperator(torch.eye(3)), torch.ones(3))
    batch = PoissonOperator(np.stack([operator.flags.numpy()] * 2), num_axes=2)
    with pytest.raises(ValueError, match="RobustMultigridCG: expected one geometry"):
        RobustMultigridCG().check(batch)
    other = PoissonOperator(operator.flags)
    with pytest.raises(ValueError, match=r"call update\(operator\) first"):
        RobustMultigridCG().solve(operator, b, preconditioner=CCMG(other))
