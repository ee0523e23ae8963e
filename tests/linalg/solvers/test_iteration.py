import dataclasses
from typing import final

import pytest
import torch
from typing_extensions import override

from sciml.linalg.dense import DenseOperator, DiagonalOperator
from sciml.linalg.operator import LinearOperator
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solvers.base import LinearSystem
from sciml.linalg.solvers.bicgstab import BiCGStab
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.direct import LU, Cholesky
from sciml.linalg.solvers.gmres import GMRES
from sciml.linalg.solvers.iteration import Iteration
from sciml.linalg.solvers.minres import MINRES
from sciml.solution import Status
from tests.linalg.systems import definite_matrix, indefinite_matrix, nonsymmetric_matrix, random

KRYLOV = [CG, MINRES, GMRES, BiCGStab]


@final
class Altered(LinearOperator):
    """An operator whose n-th and later applications are altered."""

    def __init__(self, operator, alter, first=1):
        super().__init__(
            operator.in_shape,
            operator.out_shape,
            dtype=operator.dtype,
            device=operator.device,
            symmetric=operator.symmetric,
            positive_definite=operator.positive_definite,
        )
        self.operator, self.alter, self.first, self.count = operator, alter, first, 0

    @property
    @override
    def tensors(self):
        return ()

    @override
    def with_tensors(self, tensors):
        return self

    @property
    @override
    def T(self):
        return self

    @override
    def _mv(self, x):
        self.count += 1
        image = self.operator._mv(x)
        return self.alter(image) if self.count >= self.first else image


def definite(n=40, dtype=torch.float64):
    return DenseOperator(definite_matrix(n, dtype), positive_definite=True)


@pytest.mark.parametrize("method", KRYLOV)
def test_columns_freeze_one_by_one(method):
    """Each right-hand side ends as it would alone, after its own number of steps."""
    operator = definite()
    b = random(4, 40)
    b[1] = operator.mv(random(40)) * 1e-8
    b[2] = torch.linalg.eigh(operator.matrix).eigenvectors[:, 7]  # converges in one step
    b[3] = 0
    solver = method(rtol=1e-9)
    batched = solver.solve(operator, b)
    assert batched
    steps = batched.stats["column_steps"]
    assert steps[3] == 0
    assert steps[2] <= 2
    assert steps[0] > 10
    for k in range(4):
        alone = solver.solve(operator, b[k])
        assert abs(alone.num_steps - int(steps[k])) <= 1
        assert torch.allclose(alone.value, batched.value[k], rtol=1e-6, atol=1e-18)
        frozen = batched.history[int(steps[k]) :, k]
        assert (frozen == frozen[0]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", KRYLOV)
def test_one_right_side_ends_as_it_does_in_a_batch(method, dtype):
    """Python numbers and tensors of them take the same path."""
    matrix = definite_matrix(40, dtype).reshape(40, 40)
    operator = DenseOperator(matrix, (5, 8), positive_definite=True)
    b, start = random(5, 8, dtype=dtype), random(5, 8, dtype=dtype, seed=55117)
    solver = method(rtol=1e-4 if dtype is torch.float32 else 1e-10)
    for preconditioner in (None, Jacobi(operator), Jacobi(operator, dtype=torch.float32)):
        alone = solver.solve(operator, b, x0=start, preconditioner=preconditioner)
        twice = solver.solve(
            operator,
            torch.stack([b, b]),
            x0=torch.stack([start, start]),
            preconditioner=preconditioner,
        )
        one = solver.solve(
            operator, b[None, None], x0=start[None, None], preconditioner=preconditioner
        )
        assert alone
        assert alone.converged.shape == alone.stats["residual_norm"].shape == ()
        assert alone.history.dtype == alone.stats["tolerance"].dtype == dtype
        assert abs(alone.num_steps - twice.num_steps) <= 1
        assert torch.allclose(alone.value, twice.value[0], rtol=1e-3, atol=solver.rtol)
        early = min(len(alone.history), 6)
        assert torch.allclose(alone.history[:early], twice.history[:early, 0], rtol=1e-2)
        assert one.converged.shape == one.stats["column_steps"].shape == (1, 1)
        assert one.history.shape == (one.num_steps + 1, 1, 1)
        assert torch.equal(one.value[0, 0], alone.value)


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("method", [*KRYLOV, Cholesky, LU])
def test_what_the_caller_gives_is_not_written_into(method, batch):
    operator = definite()
    b, start = random(*batch, 40), random(*batch, 40, seed=55117)
    kept_b, kept_start = b.clone(), start.clone()
    preconditioner = Jacobi(operator) if method in KRYLOV else None
    for x0 in (None, start):
        solution = method(rtol=1e-9).solve(operator, b, x0=x0, preconditioner=preconditioner)
        assert solution
        solution.value.zero_()
    assert torch.equal(b, kept_b)
    assert torch.equal(start, kept_start)


@pytest.mark.parametrize("method", KRYLOV)
def test_layout_of_the_right_side_does_not_matter(method):
    operator = DenseOperator(definite_matrix(40), (5, 8), positive_definite=True)
    b = random(3, 5, 8)
    turned = b.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    solver = method(rtol=1e-10)
    for right in (turned, turned[1], b[:1].expand(3, 5, 8), b[..., ::2].repeat(1, 1, 2)):
        plain = solver.solve(operator, right.contiguous())
        start = right * 0.5
        for x0 in (None, start):
            value = solver.solve(operator, right, x0=x0).value
            assert torch.allclose(value, plain.value, atol=1e-8)


@pytest.mark.parametrize("method", KRYLOV)
def test_checking_seldom_changes_nothing_but_the_step_count(method):
    operator, b = definite(), random(3, 40)
    often = method(rtol=1e-9).solve(operator, b)
    seldom = method(rtol=1e-9, check_every=7).solve(operator, b)
    assert seldom
    assert seldom.num_steps % 7 == 0
    assert often.num_steps <= seldom.num_steps < often.num_steps + 7
    assert torch.equal(often.stats["column_steps"], seldom.stats["column_steps"])
    assert torch.allclose(often.value, seldom.value, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("method", KRYLOV)
def test_applications_are_counted(method):
    operator = Altered(definite(), lambda image: image)
    preconditioner = Altered(Jacobi(operator.operator), lambda image: image)
    solution = method(rtol=1e-9).solve(operator, random(40), preconditioner=preconditioner)
    assert solution
    assert solution.stats["num_applications"] == operator.count
    assert solution.stats["num_preconditionings"] == preconditioner.count
    per_step = 2 if method is BiCGStab else 1
    # besides one a step: the true residual at 16 and 32 steps, at the end, and per GMRES cycle
    assert operator.count <= per_step * solution.num_steps + 5


@pytest.mark.parametrize("method", KRYLOV)
def test_recursive_residual_is_not_believed(method):
    """Steps with a wrong operator converge by themselves; only the true residual counts."""
    exact = definite()
    solver = method(rtol=1e-6)
    lying = Altered(exact, lambda image: 1.3 * image)

    class Honest(LinearSystem):
        def residual(self, x):
            return self.b - exact.mv(x)

    with torch.no_grad():
        solution = Iteration(solver, Honest(lying, random(40)), None).run()
    true = torch.linalg.vector_norm(random(40) - exact.mv(solution.value))
    met = true <= 1e-6 * torch.linalg.vector_norm(random(40))
    assert bool(solution.converged) == bool(met)
    assert solution.stats["num_restarts"] > 0
    assert torch.isclose(solution.stats["residual_norm"], true, rtol=1e-9)


@pytest.mark.parametrize("method", KRYLOV)
def test_tolerance_out_of_reach_ends_in_stagnation(method):
    scale = torch.logspace(0, 7, 60)
    basis = torch.linalg.qr(random(60, 60)).Q.float()
    operator = DenseOperator((basis * scale) @ basis.T, symmetric=True, positive_definite=True)
    b = basis @ torch.ones(60)
    solution = method(rtol=2e-7, stagnation_steps=200).solve(operator, b)
    assert solution.status in (Status.STAGNATION, Status.BREAKDOWN)
    true = torch.linalg.vector_norm(b - operator.mv(solution.value))
    assert true > 2e-7 * torch.linalg.vector_norm(b)
    assert torch.isclose(true, solution.stats["residual_norm"], rtol=0.5)


@pytest.mark.parametrize("method", KRYLOV)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nonfinite_values_stop_the_loop(method, bad):
    operator = Altered(definite(), lambda image: image * bad, first=5)
    solution = method(rtol=1e-9).solve(operator, random(40))
    assert solution.status is Status.NONFINITE
    assert solution.num_steps < 10
    assert torch.isfinite(solution.value).all()


@pytest.mark.parametrize("method", KRYLOV)
def test_one_bad_column_does_not_spoil_the_others(method):
    def spoil(image):
        image = image.clone()
        image[1] = torch.nan
        return image

    operator = Altered(definite(), spoil, first=4)
    b = random(3, 40)
    solution = method(rtol=1e-8).solve(operator, b)
    assert solution.converged.tolist() == [True, False, True]
    expected = torch.linalg.solve(operator.operator.matrix, b.T).T
    assert torch.allclose(solution.value[::2], expected[::2], atol=1e-6)


@pytest.mark.parametrize("method", KRYLOV)
def test_float32_preconditioner_around_float64_iteration(method):
    """Ill scaled and far below the range of float32, solved to 1e-12 all the same."""
    scale = torch.logspace(0, 6, 40, dtype=torch.float64)
    matrix = scale.sqrt()[:, None] * definite_matrix(40) * scale.sqrt()
    operator = DenseOperator(matrix, positive_definite=True)
    b = random(40) * 1e-60
    in_double = method(rtol=1e-11).solve(operator, b, preconditioner=Jacobi(operator))
    single = Jacobi(operator, dtype=torch.float32)
    solution = method(rtol=1e-11).solve(operator, b, preconditioner=single)
    assert solution
    assert solution.value.dtype == torch.float64
    assert solution.num_steps <= 1.3 * in_double.num_steps + 3


def test_indefinite_preconditioner_is_named():
    operator = definite()
    wrong = DiagonalOperator(torch.linspace(-1, 1, 40, dtype=torch.float64))
    for method in (CG, MINRES):
        solution = method().solve(operator, random(40), preconditioner=wrong)
        assert solution.status is Status.BREAKDOWN
        assert "the preconditioner is not positive definite" in solution.stats["detail"]


def test_breakdown_of_one_column_names_it():
    operator = DenseOperator(torch.diag(torch.tensor([1.0, 2.0, -1.0])), symmetric=True)
    b = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    solution = CG().solve(operator, b)
    assert solution.status is Status.BREAKDOWN
    assert solution.converged.tolist() == [True, False]
    assert torch.allclose(solution.value[0], torch.tensor([1.0, 0.5, 0.0]))


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("check_every", [1, 7])
def test_breakdown_is_remembered_until_the_next_check(batch, check_every):
    """Steps that follow a breakdown before the host looks must not wipe out its reason."""
    operator = DenseOperator(torch.diag(torch.tensor([1.0, 2.0, -1.0])), symmetric=True)
    b = torch.tensor([1.0, 1.0, 2.0]).expand(*batch, 3)
    solution = CG(check_every=check_every).solve(operator, b)
    assert solution.status is Status.BREAKDOWN
    assert "p · A p <= 0" in solution.stats["detail"]


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("method", KRYLOV)
def test_step_lengths_beyond_the_precision_are_no_crash(method, batch):
    """ρ / p · A p is 1e40 here, which float32 does not have."""
    operator = DenseOperator(1e-30 * torch.eye(4), positive_definite=True)
    b = torch.full((*batch, 4), 1e10)
    solution = method(max_steps=5).solve(operator, b)
    assert not solution
    assert torch.isfinite(solution.value).all()


def test_gmres_needs_no_more_steps_than_unknowns():
    operator = DenseOperator(nonsymmetric_matrix(12))
    solution = GMRES(rtol=1e-13).solve(operator, random(12))
    assert solution
    assert solution.num_steps <= 12


def test_gmres_restarts():
    operator = DenseOperator(nonsymmetric_matrix(40))
    short = GMRES(rtol=1e-10, restart=4).solve(operator, random(3, 40))
    long = GMRES(rtol=1e-10, restart=40).solve(operator, random(3, 40))
    assert short
    assert short.num_steps > long.num_steps
    assert torch.allclose(short.value, long.value, atol=1e-8)


@pytest.mark.parametrize("matrix", [indefinite_matrix(30), nonsymmetric_matrix(30)])
def test_gmres_minimises_the_residual(matrix):
    operator, b = DenseOperator(matrix), random(30)
    history = GMRES(rtol=1e-10, restart=30).solve(operator, b).history
    assert (history[1:] <= history[:-1] * (1 + 1e-12)).all()
    krylov = [b]
    for k in range(1, 6):
        basis = torch.linalg.qr(torch.stack(krylov, 1)).Q
        image = matrix @ basis
        best = b - image @ torch.linalg.lstsq(image, b[:, None]).solution[:, 0]
        assert torch.isclose(history[k], torch.linalg.vector_norm(best), rtol=1e-9)
        krylov.append(matrix @ krylov[-1])


def test_minres_equals_gmres_on_a_symmetric_matrix():
    operator = DenseOperator(indefinite_matrix(30), symmetric=True)
    b = random(30)
    minres = MINRES(rtol=1e-8).solve(operator, b).history
    gmres = GMRES(rtol=1e-8, restart=30).solve(operator, b).history
    length = min(len(minres), len(gmres)) - 2
    assert length > 8
    assert torch.allclose(minres[:length], gmres[:length], rtol=1e-5)


def test_state_is_a_dataclass_of_columns():
    """What a per-column restart merges has to lead with the batch."""
    operator = definite()
    b = random(2, 3, 40)
    for method in (CG(), CG(flexible=True), MINRES(), BiCGStab()):
        system = LinearSystem(operator, b)
        state = method.init(system, torch.zeros_like(b), b.clone())
        for item in dataclasses.fields(state):
            value = getattr(state, item.name)
            assert value is None or value.shape[:2] == (2, 3)


def test_solver_holds_hyper_parameters_only():
    solver = CG(rtol=1e-9)
    first = solver.solve(definite(), random(40))
    solver.solve(definite(11), random(11))
    assert torch.equal(solver.solve(definite(), random(40)).value, first.value)
    with pytest.raises(dataclasses.FrozenInstanceError):
        solver.rtol = 1e-3
