"""DCDM as a solver: networks, batches, precision, guards and the fallback."""

import pytest
import torch

from sciml.data.drawn import DrawnData
from sciml.linalg.dense import DenseOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.direction import NetworkDirection
from sciml.models.dcdm.model import DCDMNet
from sciml.models.dcdm.solver import DCDM, methods
from sciml.simulate.poisson_samples import CosineSampler
from sciml.solution import SolverError, Status
from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate
from tests.models.dcdm.systems import pressure_system, random_nonlinear


def network(ndim=2, seed=60013, **options):
    torch.manual_seed(seed)
    return DCDMNet(ndim, **options)


@pytest.mark.parametrize("kind", ["box", "random", "thin", "freesurf"])
def test_an_untrained_net_still_ends_at_the_tolerance(kind):
    """What the net cannot do, the fallback does; the true residual decides."""
    operator, b = pressure_system(kind)
    solution = linear_solve(operator, b, DCDM(network(), rtol=1e-9))
    assert float((b - operator.mv(solution.value)).norm()) <= 1e-9 * float(b.norm())
    assert solution.stats["solver"] == "DCDM"
    assert "CG with CCMG after" in solution.stats["fallback"]
    assert len(solution.history) == solution.num_steps + 1


def test_fallback_keeps_what_was_reached():
    operator, b = pressure_system()
    solver = DCDM(random_nonlinear(operator.in_shape), stagnation_steps=3, rtol=1e-8)
    alone = DCDM(random_nonlinear(operator.in_shape), stagnation_steps=3, fallback=False)
    reached = alone.solve(operator, b)
    assert reached.status is Status.STAGNATION or reached.status is Status.MAX_STEPS
    if reached.status is Status.STAGNATION:
        assert solver.solve(operator, b).converged.all()


@pytest.mark.parametrize(
    "direction",
    [torch.zeros_like, lambda r: torch.full_like(r, torch.nan), torch.ones_like],
)
def test_guards_lead_to_the_fallback(direction):
    operator, b = pressure_system("box")
    solution = DCDM(direction, rtol=1e-8).solve(operator, b)
    assert solution.status is Status.CONVERGED
    assert "CG with CCMG after" in solution.stats["fallback"]
    given = DCDM(direction, rtol=1e-8).solve(operator, b, preconditioner=Jacobi(operator))
    assert "CG with Jacobi after" in given.stats["fallback"]
    failed = DCDM(direction, fallback=False).solve(operator, b)
    assert failed.status in (Status.BREAKDOWN, Status.STAGNATION)
    assert "fallback" not in failed.stats
    with pytest.raises(SolverError, match="expected convergence"):
        linear_solve(operator, b, DCDM(direction, fallback=False))


def test_nan_in_mid_iteration_keeps_the_last_good_iterate():
    operator, b = pressure_system()
    jacobi, calls = Jacobi(operator), []

    def direction(r):
        calls.append(None)
        return jacobi.mv(r) * (torch.nan if len(calls) > 10 else 1.0)

    failed = DCDM(direction, fallback=False).solve(operator, b)
    assert failed.status is Status.BREAKDOWN
    assert "not finite" in failed.stats["detail"]
    exact = CG(rtol=1e-12).solve(operator, b).value
    error, start = failed.value - exact, exact
    assert float((error * operator.mv(error)).sum()) < float((start * operator.mv(start)).sum())


@pytest.mark.parametrize("factor", [-7.0, 1e-12, 1e12])
def test_scale_and_sign_of_the_net_do_not_matter(factor):
    operator, b = pressure_system("freesurf")
    net = network().double()
    scaled = network().double()
    with torch.no_grad():
        scaled.head.weight.mul_(factor)
        scaled.head.bias.mul_(factor)
    runs = [
        DCDM(n, max_steps=12, fallback=False).solve(operator, b).history for n in (net, scaled)
    ]
    torch.testing.assert_close(runs[0], runs[1], rtol=1e-8, atol=0.0)


def test_batch_equals_one_by_one():
    operator, b = pressure_system()
    other = operator.project(torch.randn(16, 14, dtype=torch.float64))
    solver = DCDM(network(), max_steps=8, fallback=False)
    stacked = torch.stack([b, 0 * b, 3 * other]).reshape(3, 1, 16, 14)
    both = solver.solve(operator, stacked)
    for number, right in ((0, b), (2, 3 * other)):
        alone = solver.solve(operator, right)
        # single-precision convolutions round differently in a batch
        torch.testing.assert_close(
            both.value[number, 0], alone.value, rtol=1e-3, atol=1e-4 * float(alone.value.norm())
        )
    assert both.converged.flatten().tolist() == [False, True, False]
    assert not bool(both.value[1].any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_of_the_system_is_kept(dtype):
    operator, b = pressure_system()
    operator = PoissonOperator(operator.flags, dtype=dtype)
    rtol = 1e-4 if dtype is torch.float32 else 1e-10
    solution = DCDM(network(), rtol=rtol).solve(operator, b.to(dtype))
    assert solution.value.dtype == dtype
    assert solution.converged.all()


def test_three_dimensions_and_masks():
    operator, b = pressure_system("random", (6, 8, 4))
    exact = CG(rtol=1e-12).solve(operator, b).value
    for net in (network(3), network(3, in_channels=4)):
        error = exact - DCDM(net, max_steps=3, fallback=False).solve(operator, b).value
        assert float((error * operator.mv(error)).sum()) < float((exact * b).sum())


def test_directions_vanish_outside_the_fluid_and_are_projected():
    operator, b = pressure_system("thin", (16, 16))
    direction = NetworkDirection(network(in_channels=4), operator)
    q = direction.mv(b)
    assert not bool(q[~operator.fluid].any())
    torch.testing.assert_close(operator.project(q), q, rtol=1e-12, atol=1e-12)
    assert float(q.norm()) == pytest.approx(1.0)


def test_masks_change_what_a_masked_net_says():
    operator, b = pressure_system("random")
    opened = PoissonOperator(torch.where(operator.flags == 2, 2, 3))
    net = network(in_channels=4)
    r = b * operator.fluid
    closed, air = (NetworkDirection(net, A).mv(r) for A in (operator, opened))
    assert not torch.allclose(closed, air * operator.fluid, rtol=1e-3)
    blind = network()
    one, other = (NetworkDirection(blind, A)._mv(r) for A in (operator, opened))
    raw = blind((r / r.norm())[None, None].float())[0, 0].double() * operator.fluid
    torch.testing.assert_close(other, raw / raw.norm())
    torch.testing.assert_close(one, operator.project(raw) / operator.project(raw).norm())


def test_every_form_of_a_net_is_the_same_solver():
    operator, b = pressure_system()
    data = DrawnData(CosineSampler((16, 14)), batch_size=1, epoch_size=1)
    net = network()
    model = NormalizedModel.from_data(net, data, kind="none")
    runs = [
        DCDM(form, max_steps=5, fallback=False).solve(operator, b).history
        for form in (net, model, Surrogate(model))
    ]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
    solver, preconditioner = methods(Surrogate(model), max_steps=5)["dcdm"](operator, 1e-6)
    assert preconditioner is None
    assert torch.equal(runs[0], solver.solve(operator, b).history)


def test_operators_that_are_no_grid_of_flags():
    """Any symmetric operator on an even grid will do for a blind net."""
    matrix = torch.diag(torch.linspace(1, 2, 4)).double()
    operator = DenseOperator(matrix, positive_definite=True)
    b = torch.ones(4).double()
    solution = DCDM(lambda r: r, rtol=1e-8).solve(operator, b)
    assert solution.converged.all()
    assert "fallback" not in solution.stats
    with pytest.raises(ValueError, match=r"expected one geometry with 2 axes.*for 1 axes"):
        DCDM(network()).solve(operator, b)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_cpu():
    operator, b = pressure_system()
    there = PoissonOperator(operator.flags, device=torch.device("cuda"))
    net = network().double()
    here = DCDM(net, max_steps=6, fallback=False).solve(operator, b)
    moved = DCDM(net.cuda(), max_steps=6, fallback=False).solve(there, b.cuda())
    torch.testing.assert_close(moved.history.cpu(), here.history, rtol=1e-8, atol=0.0)
    useless = DCDM(torch.zeros_like, rtol=1e-8).solve(there, b.cuda())
    assert "CG with Jacobi" in useless.stats["fallback"]
    assert useless.converged.all()


def test_what_does_not_fit_is_refused():
    operator, b = pressure_system("box", (8, 9))
    with pytest.raises(ValueError, match=r"even number of cells.*\(8, 9\)"):
        linear_solve(operator, b, DCDM(network()))
    with pytest.raises(ValueError, match="expected one geometry with 3 axes"):
        linear_solve(*pressure_system(), DCDM(network(3)))
    # the shape-checking hook of the tests is a little faster than the check in words
    with pytest.raises(TypeError, match=r"expected a surrogate|direction"):
        DCDM(3)
    with pytest.raises(ValueError, match="k_orth >= 0"):
        DCDM(network(), k_orth=-1)
    with pytest.raises(ValueError, match="max_steps >= 1"):
        DCDM(network(), max_steps=0)
    batched = PoissonOperator(torch.full((2, 8, 8), 2), num_axes=2)
    with pytest.raises(ValueError, match=r"one geometry.*one by one"):
        NetworkDirection(network(), batched)
