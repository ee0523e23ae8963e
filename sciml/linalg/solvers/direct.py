"""Direct methods: factor once, solve, and check the true residual like everybody else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.factorize import cholesky
from sciml.linalg.operator import LinearOperator, SolvableOperator
from sciml.linalg.solvers.base import LinearSolver, LinearSystem, refuse_structure
from sciml.solution import Solution, Status

Inverse = Callable[[Tensor], Tensor]
NUM_REFINEMENTS = 2  # iterative refinement gains all it can in one or two rounds


def solve_directly(
    solver: LinearSolver,
    operator: LinearOperator,
    b: Tensor,
    x0: Tensor | None,
    factor: Callable[[LinearOperator], Inverse],
) -> Solution[Tensor]:
    """x0 + A⁻¹ (b - A x0), refined while the true residual misses the tolerance.

    Args:
        solver: Whose tolerances and name count.
        operator: Square A.
        b: Right-hand sides (*batch, *shape).
        x0: What to correct; zero by default.
        factor: Prepares A and returns b -> A⁻¹ b; a ValueError from either is a breakdown.
    """
    solver.check(operator)
    with torch.no_grad():
        system = LinearSystem(operator, b)
        x = torch.zeros_like(b)
        b_norm = system.norm(b)
        if x0 is not None:
            x = torch.where(system.spread(b_norm) == 0, 0.0, x0)  # zero solves A x = 0 exactly
        r = b if x0 is None else system.residual(x)
        norm = system.norm(r)
        tolerance = solver.tolerance(b_norm)
        stats: dict[str, Any] = {"solver": type(solver).__name__, "tolerance": tolerance}
        history, rounds = [norm], 0
        try:
            inverse = factor(operator)
            while rounds <= NUM_REFINEMENTS and not bool((norm <= tolerance).all()):
                correction = inverse(r)
                rounds += 1
                candidate = x + correction
                residual = system.residual(candidate)
                candidate_norm = system.norm(residual)
                better = candidate_norm < norm
                x = torch.where(system.spread(better), candidate, x)
                r = torch.where(system.spread(better), residual, r)
                norm = torch.where(better, candidate_norm, norm)
                history.append(norm)
                if not bool(better.any()):
                    break
        except ValueError as error:  # singular or indefinite: found by the factorisation
            stats["detail"] = str(error)
        converged = norm <= tolerance
        status = Status.CONVERGED
        if not bool(converged.all()):
            finite = bool(torch.isfinite(norm).all())
            status = Status.STAGNATION if finite else Status.NONFINITE
            status = Status.BREAKDOWN if "detail" in stats else status
        stats |= {"residual_norm": norm, "num_applications": system.num_applications}
        return Solution(x, status, converged, rounds, torch.stack(history), stats)


def deflated_matrix(operator: LinearOperator) -> Tensor:
    r"""A as a dense matrix, made invertible where its null space is known.

    With orthonormal bases N of the null space of A and L of that of Aᵀ, A + σ L Nᵀ maps the
    orthogonal complement of N to the range of A as A does, so that a right-hand side in the
    range gives the least-norm solution. σ is the mean magnitude of the diagonal.
    """
    matrix = operator.to_dense()
    right, left = operator.null_space(), operator.T.null_space()
    if right is None or left is None:
        return matrix
    scale = torch.diagonal(matrix, dim1=-2, dim2=-1).abs().mean()
    return matrix + scale * left.reshape(len(left), -1).T @ right.reshape(len(right), -1)


def _on_columns(operator: LinearOperator, solve: Callable[[Tensor], Tensor]) -> Inverse:
    """A solve of matrices (*batch, n, k), acting on fields (*batch, *shape)."""
    axes = len(operator.in_shape)

    def inverse(b: Tensor) -> Tensor:
        batch = b.shape[: b.ndim - axes]
        if operator.batch_shape:
            return solve(b.reshape(*batch, -1, 1)).reshape(b.shape)
        size = b[(0,) * len(batch)].numel()
        return solve(b.reshape(-1, size).T).T.reshape(b.shape)

    return inverse


@final
@dataclass(frozen=True, kw_only=True)
class Cholesky(LinearSolver):
    """Dense Cholesky factorisation for symmetric positive definite A; n³/3 operations.

    A matrix that turns out not to be positive definite ends in BREAKDOWN, with its smallest
    eigenvalue in ``stats["detail"]``. Positive semi-definite operators whose null space is
    known are deflated.
    """

    @override
    def check(self, operator: LinearOperator) -> None:
        if not operator.symmetric:
            raise refuse_structure(
                "Cholesky", "a symmetric positive definite operator", operator, "use LU"
            )

    @override
    def solve(
        self,
        operator: LinearOperator,
        b: Tensor,
        *,
        x0: Tensor | None = None,
        preconditioner: LinearOperator | None = None,
    ) -> Solution[Tensor]:
        refuse_preconditioner("Cholesky", preconditioner)
        return solve_directly(self, operator, b, x0, self._factor)

    @staticmethod
    def _factor(operator: LinearOperator) -> Inverse:
        triangle = cholesky("Cholesky", deflated_matrix(operator))
        return _on_columns(operator, lambda columns: torch.cholesky_solve(columns, triangle))


@final
@dataclass(frozen=True, kw_only=True)
class LU(LinearSolver):
    """Dense LU factorisation with partial pivoting for any square A; 2 n³/3 operations."""

    @override
    def check(self, operator: LinearOperator) -> None:
        """Any square operator will do."""

    @override
    def solve(
        self,
        operator: LinearOperator,
        b: Tensor,
        *,
        x0: Tensor | None = None,
        preconditioner: LinearOperator | None = None,
    ) -> Solution[Tensor]:
        refuse_preconditioner("LU", preconditioner)
        return solve_directly(self, operator, b, x0, self._factor)

    @staticmethod
    def _factor(operator: LinearOperator) -> Inverse:
        factor, pivots, info = torch.linalg.lu_factor_ex(deflated_matrix(operator))
        if bool((info != 0).any()):
            raise ValueError("LU: expected an invertible matrix, got an exactly zero pivot")
        return _on_columns(
            operator, lambda columns: torch.linalg.lu_solve(factor, pivots, columns)
        )


@final
@dataclass(frozen=True, kw_only=True)
class Structured(LinearSolver):
    """The operator's own structured solve: Kronecker factors, Toeplitz, circulant, diagonal."""

    @override
    def check(self, operator: LinearOperator) -> None:
        if not isinstance(operator, SolvableOperator):
            raise ValueError(
                f"Structured: expected an operator with a solve of its own, got {operator!r}; "
                "use CG, MINRES, GMRES, Cholesky or LU"
            )

    @override
    def solve(
        self,
        operator: LinearOperator,
        b: Tensor,
        *,
        x0: Tensor | None = None,
        preconditioner: LinearOperator | None = None,
    ) -> Solution[Tensor]:
        refuse_preconditioner("Structured", preconditioner)
        return solve_directly(self, operator, b, x0, structured_inverse)


def structured_inverse(operator: LinearOperator) -> Inverse:
    """The solve of an operator that a solver's `check` has found to have one."""
    if not isinstance(operator, SolvableOperator):
        raise TypeError(
            f"structured_inverse: expected a SolvableOperator, got {operator!r}; "
            "call the solver's check first"
        )
    return operator.solve


def refuse_preconditioner(solver: str, preconditioner: LinearOperator | None) -> None:
    """Refuse what a direct method could only ignore.

    Raises:
        ValueError: If there is a preconditioner.
    """
    if preconditioner is not None:
        raise ValueError(
            f"{solver}: expected no preconditioner, got {preconditioner!r}; a direct method "
            "has no use for one, take CG, MINRES, GMRES or BiCGStab"
        )
