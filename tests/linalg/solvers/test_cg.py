import itertools

import pytest
import torch
from typing_extensions import override

from sciml.linalg.dense import DenseOperator
from sciml.linalg.preconditioners.base import FixedPreconditioner
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solvers.base import LinearSystem
from sciml.linalg.solvers.cg import CG
from tests.linalg.systems import definite_matrix, random


def test_each_step_minimises_the_a_norm_over_the_krylov_space():
    A, b = definite_matrix(30), random(30)
    operator = DenseOperator(A, positive_definite=True)
    exact = torch.linalg.solve(A, b)
    for preconditioner in (None, Jacobi(operator)):
        system = LinearSystem(operator, b, preconditioner)
        solver = CG()
        state = solver.init(system, torch.zeros_like(b), b.clone())
        vectors, last = [system.precondition(b)], torch.inf
        for _ in range(8):
            state = solver.step(system, state)
            error = exact - solver.iterate(system, state)
            energy = torch.sqrt(error @ A @ error)
            assert energy < last
            last = energy
            basis = torch.linalg.qr(torch.stack(vectors, 1)).Q
            best = exact - basis @ torch.linalg.solve(basis.T @ A @ basis, basis.T @ b)
            assert torch.isclose(energy, torch.sqrt(best @ A @ best), rtol=1e-8)
            vectors.append(system.precondition(A @ vectors[-1]))


def test_energy_norm_of_the_error_falls_until_convergence():
    A, b = definite_matrix(60), random(60)
    operator = DenseOperator(A, positive_definite=True)
    exact = torch.linalg.solve(A, b)
    errors = []
    for steps in range(1, 25):
        x = CG(rtol=1e-14, max_steps=steps).solve(operator, b).value
        errors.append(float((exact - x) @ A @ (exact - x)))
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))


class Alternating(FixedPreconditioner):
    """A diagonal scaling that is another one in every step."""

    def __init__(self, diagonals):
        super().__init__(diagonals.shape[1:], dtype=torch.float64, device=torch.device("cpu"))
        self.diagonals, self.count = diagonals, 0

    @override
    def _mv(self, x):
        self.count += 1
        return self.diagonals[self.count % len(self.diagonals)] * x


def test_flexible_form_changes_nothing_for_a_fixed_preconditioner():
    operator = DenseOperator(definite_matrix(60), positive_definite=True)
    for preconditioner in (None, Jacobi(operator)):
        for b in (random(60), random(3, 60)):
            plain = CG(rtol=1e-10).solve(operator, b, preconditioner=preconditioner)
            flexible = CG(rtol=1e-10, flexible=True).solve(
                operator, b, preconditioner=preconditioner
            )
            assert flexible
            assert flexible.num_steps == plain.num_steps
            assert torch.allclose(flexible.history, plain.history, rtol=1e-4, atol=1e-12)


def test_flexible_form_stays_fast_when_the_preconditioner_changes_every_step():
    operator = DenseOperator(definite_matrix(120), positive_definite=True)
    b = random(120)
    changing = 0.2 + random(7, 120, seed=4000037).abs()
    steps = {}
    for flexible in (False, True):
        solver = CG(rtol=1e-10, flexible=flexible, max_steps=2000)
        solution = solver.solve(operator, b, preconditioner=Alternating(changing))
        steps[flexible] = solution.num_steps
        if flexible:
            assert solution
            assert torch.allclose(operator.mv(solution.value), b, atol=1e-8)
    assert steps[True] < 0.7 * steps[False]


def test_flexible_directions_are_conjugate_to_their_predecessors():
    A = definite_matrix(30)
    changing = Alternating(0.2 + random(5, 30, seed=4000037).abs())
    system = LinearSystem(DenseOperator(A, positive_definite=True), random(30), changing)
    for flexible, expected in ((True, True), (False, False)):
        solver = CG(flexible=flexible)
        state = solver.init(system, torch.zeros(30, dtype=torch.float64), random(30))
        angles = []
        for _ in range(6):
            before = state.p.clone()
            state = solver.step(system, state)
            angles.append(abs(before @ A @ state.p) / (state.p @ A @ state.p))
        assert bool(max(angles) < 1e-12) is expected


@pytest.mark.parametrize("batch", [(), (3,)])
def test_no_preconditioning_is_spent_on_the_last_residual(batch):
    operator = DenseOperator(definite_matrix(40), positive_definite=True)
    solution = CG(rtol=1e-4).solve(
        operator, random(*batch, 40), preconditioner=Jacobi(operator)
    )
    assert solution.stats["num_preconditionings"] == solution.num_steps
