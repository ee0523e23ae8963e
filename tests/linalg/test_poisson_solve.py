"""Pressure systems through `linear_solve`: what is chosen, projected, refused, reported."""

import copy
import pickle

import numpy as np
import pytest
import torch

from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.fft import NearbySolve
from sciml.linalg.preconditioners.incomplete import IncompleteCholesky
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.direct import LU, Cholesky
from sciml.linalg.solvers.minres import MINRES
from sciml.simulate.geometry import make_flags, right_hand_side, smooth_coefficients
from sciml.solution import SolverError, Status
from tests.linalg.operators import random

DOUBLE = torch.float64
SEED = 71993
KINDS = ["sphere", "random", "dense", "freesurf", "thin"]


def system(kind, shape, spacing=1.0, **options):
    flags = make_flags(kind, shape, seed=SEED)
    operator = PoissonOperator(flags, spacing, **options)
    b = torch.from_numpy(right_hand_side(flags, seed=SEED)).to(operator.dtype)
    return operator, operator.project(b)


def true_residual(operator, solution, b):
    return float((operator.mv(solution.value) - b).norm() / b.norm())


def two_rooms():
    """Two parts of fluid, a pocket of one cell, and a wall between."""
    flags = np.full((12, 15), 2, np.uint8)
    flags[:, 7] = 1
    flags[3:6, 2:5] = 1
    flags[4, 3] = 2
    return flags


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(48, 33), (15, 18, 12)])
def test_the_default_meets_its_tolerance_and_says_what_it_is(kind, shape):
    operator, b = system(kind, shape)
    solution = linear_solve(operator, b, rtol=1e-10)
    assert true_residual(operator, solution, b) <= 1e-10
    assert solution.stats["solver"] == "CG"
    assert solution.stats["preconditioner"] == "CCMG"
    assert solution.stats["reason"].startswith("pressure around obstacles")
    torch.testing.assert_close(operator.project(solution.value), solution.value)


def test_weights_and_anisotropy_by_default():
    kappa = smooth_coefficients("logn", (32, 24), contrast=1e3, seed=SEED)
    operator, b = system("freesurf", (32, 24), (0.1, 1.0), coefficients=kappa)
    solution = linear_solve(operator, b, rtol=1e-10)
    assert true_residual(operator, solution, b) <= 1e-10
    assert solution.stats["preconditioner"] == "CCMG"


def test_a_given_multigrid_cycle_is_used():
    operator, b = system("random", (20, 21))
    solution = linear_solve(operator, b, preconditioner=CCMG(operator))
    assert solution.stats["reason"] == "pressure, with a multigrid cycle"
    assert solution.stats["preconditioner"] == "CCMG"
    other = PoissonOperator(make_flags("random", (20, 21), seed=SEED + 2))
    for solver in (None, CG()):
        with pytest.raises(ValueError, match=r"CCMG: expected the operator.*call update"):
            linear_solve(other, other.project(b), solver, preconditioner=CCMG(operator))


def test_other_preconditioners_are_named():
    operator, b = system("freesurf", (20, 21))
    factored = IncompleteCholesky(operator.to_csr(), operator.in_shape, modified=1.0)
    for inverse in (Jacobi(operator), factored):
        solution = linear_solve(operator, b, rtol=1e-9, preconditioner=inverse)
        assert true_residual(operator, solution, b) <= 1e-9
        assert solution.stats["solver"] == "CG"
        assert solution.stats["preconditioner"] == type(inverse).__name__


def test_several_geometries_in_one_solve():
    flags = np.stack([make_flags(kind, (14, 17), seed=SEED) for kind in KINDS[1:]])
    operator = PoissonOperator(flags, num_axes=2)
    b = operator.project(random(3, 4, 14, 17, dtype=DOUBLE))
    solution = linear_solve(operator, b, rtol=1e-9)
    residual = (operator.mv(solution.value) - b).flatten(-2).norm(dim=-1)
    assert bool((residual <= 1e-9 * b.flatten(-2).norm(dim=-1)).all())
    assert solution.stats["preconditioner"] == "NearbySolve"
    assert solution.num_steps < 80
    assert solution.converged.shape == (3, 4)
    one = PoissonOperator(flags[1])
    expected = linear_solve(one, b[2, 1], rtol=1e-11).value
    torch.testing.assert_close(solution.value[2, 1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "solver", [None, CG(rtol=1e-12), MINRES(rtol=1e-12), LU(rtol=1e-12), Cholesky(rtol=1e-12)]
)
def test_every_part_has_its_own_constant(solver):
    operator = PoissonOperator(two_rooms())
    assert len(operator.singular_components) == 3
    b = operator.project(random(12, 15, dtype=DOUBLE))
    options = {"rtol": 1e-12} if solver is None else {}
    x = linear_solve(operator, b, solver, **options).value
    expected = torch.linalg.pinv(operator.to_dense(), hermitian=True) @ b.flatten()
    torch.testing.assert_close(x.flatten(), expected, rtol=1e-8, atol=1e-9)
    for part in range(3):
        assert abs(float(x[operator.components == part].mean())) < 1e-12


@pytest.mark.parametrize("solver", [None, CG()])
def test_a_small_incompatible_part_is_removed_and_reported(solver):
    operator, b = system("random", (40, 30))
    net = 1e-3 * b.norm() / operator.fluid.sum().sqrt()
    solution = linear_solve(operator, b + net * operator.fluid, solver)
    assert float(solution.stats["removed_fraction"]) == pytest.approx(1e-3, rel=1e-2)
    assert true_residual(operator, solution, b) <= 1.01e-6
    stray = b.clone()
    stray[~operator.fluid] = 2e-3 * b.norm() / (~operator.fluid).sum().sqrt()
    solution = linear_solve(operator, stray, solver)
    assert float(solution.stats["removed_fraction"]) == pytest.approx(2e-3, rel=1e-2)
    torch.testing.assert_close(
        solution.value, linear_solve(operator, b, solver).value, rtol=1e-3, atol=1e-3
    )


def test_a_large_incompatible_part_is_refused_and_explained():
    operator, b = system("random", (40, 30))
    solid, fluid = 1.0 * ~operator.fluid, 1.0 * operator.fluid
    shares = {"solid": solid, "means": fluid, "both": solid + 0.5 * fluid}
    for kind, part in shares.items():
        with pytest.raises(ValueError, match="range of the singular PoissonOperator") as caught:
            linear_solve(operator, b + part)
        message = str(caught.value)
        assert ("solid or air cells, which are no unknowns" in message) == (kind != "means")
        assert ("over 1 connected part(s) of the fluid" in message) == (kind != "solid")
        assert message.endswith("pass A.project(b) if that part is to be dropped")
    assert linear_solve(operator, operator.project(b + solid))
    with pytest.raises(ValueError, match="solid or air cells, which are no unknowns"):
        linear_solve(2.0 * operator, b + solid)
    below_air, b = system("freesurf", (20, 20))
    with pytest.raises(ValueError, match=r"solid or air cells, which are no unknowns\)"):
        linear_solve(below_air, b + 1.0 * ~below_air.fluid)


def test_a_zero_right_hand_side_and_a_start_off_the_fluid():
    operator, b = system("thin", (30, 22))
    assert not linear_solve(operator, torch.zeros_like(b)).value.any()
    x = linear_solve(operator, b, rtol=1e-9).value
    start = x + 5.0 * ~operator.fluid + 3.0
    again = linear_solve(operator, b, rtol=1e-6, x0=start)
    assert again.num_steps == 0
    torch.testing.assert_close(again.value, x, rtol=1e-9, atol=1e-9)


def test_single_precision_never_claims_what_is_not_there():
    """The recursive residual of float32 falls below any tolerance, the true one does not."""
    operator, b = system("random", (128, 128))
    single = PoissonOperator(operator.flags, dtype=torch.float32)
    reached = linear_solve(operator, b, rtol=1e-10)
    assert true_residual(operator, reached, b) <= 1e-10
    assert float(reached.value.norm() / b.norm()) > 300
    for rtol in (1e-2, 1e-3, 1e-5):
        found = linear_solve(single, b.float(), rtol=rtol, throw=False)
        residual = float((operator.mv(found.value.double()) - b).norm() / b.norm())
        assert not found or residual <= 1.1 * rtol
        assert bool(found) == (rtol >= 1e-3)
    assert found.status is Status.STAGNATION
    assert residual < 1e-3  # the best iterate is kept


def test_steps_of_the_baselines():
    """Counts to 1e-6 that change only if the operator, its diagonal or the domain does."""
    operator, b = system("sphere", (24, 24, 24))
    plain = linear_solve(operator, b, CG())
    jacobi = linear_solve(operator, b, CG(), preconditioner=Jacobi(operator))
    box = LaplacianOperator((24, 24, 24), boundary="neumann")
    transforms = linear_solve(operator, b, CG(), preconditioner=NearbySolve(box))
    assert plain.num_steps == pytest.approx(125, abs=2)
    assert jacobi.num_steps == pytest.approx(122, abs=2)
    assert transforms.num_steps == pytest.approx(8, abs=1)


def test_gradients_through_a_solve():
    """In b and in the coefficients, against finite differences."""
    flags = torch.tensor([[2, 2, 3], [2, 1, 2], [2, 2, 2]])
    kappa = (1 + random(3, 3, dtype=DOUBLE).abs()).requires_grad_()
    b = random(3, 3, dtype=DOUBLE).requires_grad_()

    def solve(b, kappa):
        operator = PoissonOperator(flags, coefficients=kappa)
        return linear_solve(operator, operator.project(b), rtol=1e-13).value

    assert torch.autograd.gradcheck(solve, (b, kappa), atol=1e-6)


def test_gradient_of_a_closed_domain_is_that_of_the_pseudo_inverse():
    operator = PoissonOperator(two_rooms())
    b = operator.project(random(12, 15, dtype=DOUBLE)).requires_grad_()
    x = linear_solve(operator, b, rtol=1e-12).value
    weight = random(12, 15, dtype=DOUBLE, seed=5550123)
    (gradient,) = torch.autograd.grad((x * weight).sum(), b)
    expected = torch.linalg.pinv(operator.to_dense(), hermitian=True) @ weight.flatten()
    torch.testing.assert_close(gradient.flatten(), expected, rtol=1e-8, atol=1e-9)


def test_not_a_number_in_an_iteration_keeps_the_last_good_iterate():
    operator, b = system("random", (20, 21))
    bad = smooth_coefficients("logn", (20, 21), seed=SEED)
    inverse = Jacobi(operator)
    inverse.inverse_diagonal = inverse.inverse_diagonal.clone()
    inverse.inverse_diagonal[operator.fluid] *= torch.from_numpy(bad)[operator.fluid]
    inverse.inverse_diagonal[tuple(operator.fluid.nonzero()[5])] = torch.nan
    solution = linear_solve(operator, b, CG(), preconditioner=inverse, throw=False)
    assert solution.status in (Status.NONFINITE, Status.BREAKDOWN)
    assert bool(torch.isfinite(solution.value).all())


def test_complaints_about_placement():
    operator, b = system("random", (20, 21))
    with pytest.raises(TypeError, match=r"expected b on cpu, got meta"):
        linear_solve(operator, b.to("meta"))
    with pytest.raises(TypeError, match=r"of an operator of|for an operator of torch.float64"):
        linear_solve(operator, b.float())


def test_the_constant_of_a_start_costs_no_digits():
    operator, b = system("random", (48, 33))
    start = torch.full((48, 33), 1e9, dtype=DOUBLE)
    solution = linear_solve(operator, b, rtol=1e-9, x0=start)
    assert true_residual(operator, solution, b) <= 1e-9
    assert solution.num_steps <= linear_solve(operator, b, rtol=1e-9).num_steps


def test_the_limit_of_the_precision_is_named():
    operator, b = system("random", (48, 33))
    with pytest.raises(SolverError, match=r"rounding x to torch\.float64 leaves of A x"):
        linear_solve(operator, b, rtol=1e-15)


@pytest.mark.parametrize("what", ["flags", "coefficients", "face_fraction"])
def test_geometry_that_is_changed_in_place_is_refused(what):
    kappa = torch.ones(16, 12, dtype=DOUBLE)
    fractions = [torch.ones(17, 12, dtype=DOUBLE), torch.ones(16, 13, dtype=DOUBLE)]
    operator, b = system("random", (16, 12), coefficients=kappa, face_fraction=fractions)
    preconditioner = CCMG(operator)
    assert linear_solve(operator, b, preconditioner=preconditioner)
    changed = {"flags": operator.flags, "coefficients": kappa, "face_fraction": fractions[0]}
    changed[what][0, 0] = 1
    for options in ({}, {"preconditioner": preconditioner}, {"solver": CG()}):
        with pytest.raises(ValueError, match="changed in place since; make a new operator"):
            linear_solve(operator, b, **options)
    with pytest.raises(ValueError, match="changed in place"):
        operator @ b


def test_arrays_of_the_caller_may_change():
    flags = make_flags("random", (16, 12), seed=SEED)
    operator = PoissonOperator(flags)
    before = operator.to_csr()
    flags[:8] = 1
    assert abs(operator.to_csr() - before).max() == 0
    assert linear_solve(operator, operator.project(torch.randn(16, 12, dtype=DOUBLE)))


@pytest.mark.parametrize("with_weights", [False, True])
def test_operators_are_copied_and_pickled_after_a_solve(with_weights):
    options = {"coefficients": np.full((16, 12), 2.0)} if with_weights else {}
    operator, b = system("random", (16, 12), **options)
    expected = linear_solve(operator, b).value
    for other in (pickle.loads(pickle.dumps(operator)), copy.deepcopy(operator)):
        torch.testing.assert_close(linear_solve(other, b).value, expected)
        other.flags[0, 0] = 1
        with pytest.raises(ValueError, match="changed in place"):
            other @ b
    assert linear_solve(operator, b)
