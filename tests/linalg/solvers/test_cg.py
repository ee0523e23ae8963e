import itertools

import torch

from sciml.linalg.dense import DenseOperator
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
