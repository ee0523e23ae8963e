"""Maps of residuals as directions: what they may return, and what is refused in words."""

import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.direction import as_direction
from sciml.models.dcdm.solver import DCDM
from sciml.simulate.geometry import make_flags, right_hand_side

SEED = 71993
SHAPE = (18, 15)


def system():
    flags = make_flags("random", SHAPE, seed=SEED)
    operator = PoissonOperator(flags)
    return operator, operator.project(torch.from_numpy(right_hand_side(flags, seed=SEED)))


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda r: r[..., 1:], ValueError, r"shape of the residual \(18, 15\), got \(18, 14\)"),
        (lambda r: r.long(), TypeError, r"real floating-point tensor, got torch\.int64"),
        (lambda r: r.numpy(), TypeError, "got ndarray"),
        (lambda r: None, TypeError, "got NoneType"),
    ],
    ids=["shape", "integer", "numpy", "nothing"],
)
def test_what_a_map_must_not_return(function, error, message):
    operator, b = system()
    with pytest.raises(error, match=f"DCDM: expected a direction .*{message}"):
        linear_solve(operator, b, DCDM(function))


def test_a_map_may_work_in_lower_precision():
    operator, b = system()
    preconditioner = CCMG(operator)
    solution = linear_solve(
        operator, b, DCDM(lambda r: preconditioner @ r.float(), rtol=1e-10, fallback=False)
    )
    assert float((operator @ solution.value - b).norm()) <= 1e-10 * float(b.norm())
    exact = CG(rtol=1e-10).solve(operator, b, preconditioner=preconditioner)
    assert abs(solution.num_steps - exact.num_steps) <= 1


def test_directions_have_no_part_in_the_null_space():
    operator, b = system()
    direction = as_direction(lambda r: r + 1, operator).mv(b)
    torch.testing.assert_close(direction, b)


def test_a_full_grid_matrix_with_zero_rows_is_solved_by_the_fallback():
    operator, b = system()
    matrix = operator.to_csr()
    solution = linear_solve(matrix, b.flatten(), DCDM(torch.zeros_like, rtol=1e-8))
    assert solution.stats["fallback"].startswith("CG after")
    residual = torch.from_numpy(matrix @ solution.value.numpy()) - b.flatten()
    assert float(residual.norm()) <= 1e-8 * float(b.norm())


def test_steps_without_progress_are_counted_by_name():
    with pytest.raises(ValueError, match="expected stagnation_steps >= 1, got 0"):
        DCDM(torch.zeros_like, stagnation_steps=0)
