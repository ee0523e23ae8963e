"""Which solver a system gets where the caller does not say."""

import math
from dataclasses import dataclass
from typing import Any, final

from sciml.linalg.composite import ScaledOperator
from sciml.linalg.dense import DenseOperator
from sciml.linalg.kronecker_sum import KroneckerSumOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.operator import LinearOperator, SolvableOperator
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solvers.base import LinearSolver
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.direct import LU, Cholesky, Structured
from sciml.linalg.solvers.fast_diagonalization import FastDiagonalization
from sciml.linalg.solvers.gmres import GMRES
from sciml.linalg.solvers.minres import MINRES

DENSE_LIMIT = 1024  # unknowns; factoring takes some 20 ms and 8 MB there in float64


@final
@dataclass(frozen=True)
class Choice:
    """A solver and why it was taken.

    Args:
        solver: Tried first.
        reason: In words, for the statistics.
        fallback: Tried from where `solver` broke down, None for nothing.
        preconditioner: M for both, None for nothing.
    """

    solver: LinearSolver
    reason: str
    fallback: LinearSolver | None = None
    preconditioner: LinearOperator | None = None


def choose_solver(
    operator: LinearOperator, preconditioner: LinearOperator | None, rtol: float, atol: float
) -> Choice:
    """The solver for an operator's structure: its own solve, else dense, else Krylov.

    A preconditioner asks for an iterative method. Without one, operators whose own solve is
    exact and fast use it, small ones are factored, and others iterate: CG where A is symmetric
    (then MINRES, should A turn out to be indefinite), GMRES where it is not, both with the
    diagonal as preconditioner where A knows it without being made dense.
    """
    tolerances: dict[str, Any] = {"rtol": rtol, "atol": atol}
    if preconditioner is None:
        direct = _direct(operator, tolerances)
        if direct is not None:
            return direct
        preconditioner = _jacobi(operator)
    if operator.positive_definite:
        return Choice(CG(**tolerances), "positive definite", None, preconditioner)
    if operator.symmetric:
        fallback = MINRES(**tolerances)
        reason = "symmetric; MINRES takes over if it is not positive definite"
        return Choice(CG(**tolerances), reason, fallback, preconditioner)
    return Choice(GMRES(**tolerances), "not declared symmetric", None, preconditioner)


def _direct(operator: LinearOperator, tolerances: dict[str, Any]) -> Choice | None:
    """A direct method, None where the operator is large and without structure."""
    size = math.prod(operator.in_shape)
    separable = isinstance(operator, LaplacianOperator) or (
        isinstance(operator, KroneckerSumOperator) and operator.symmetric
    )
    if separable:
        return Choice(FastDiagonalization(**tolerances), "separable")
    if isinstance(operator, DenseOperator) or (
        size <= DENSE_LIMIT and not isinstance(operator, SolvableOperator)
    ):
        what = "stored dense" if isinstance(operator, DenseOperator) else f"{size} unknowns"
        if operator.positive_definite:
            return Choice(Cholesky(**tolerances), f"positive definite, {what}")
        return Choice(LU(**tolerances), what)
    if _has_own_solve(operator):
        name = type(operator).__name__
        return Choice(Structured(**tolerances), f"{name} has a solve of its own")
    return None


def _has_own_solve(operator: LinearOperator) -> bool:
    if isinstance(operator, ScaledOperator):
        return _has_own_solve(operator.operator)
    return isinstance(operator, SolvableOperator)


def _jacobi(operator: LinearOperator) -> LinearOperator | None:
    """Diagonal scaling, where the diagonal costs less than the matrix."""
    if type(operator).diagonal is LinearOperator.diagonal:
        return None
    diagonal = operator.diagonal()
    if bool((diagonal == 0).any()) and not operator.positive_definite:
        return None
    return Jacobi(operator)
