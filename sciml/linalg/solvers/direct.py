"""Direct methods: factor once, solve, and check the true residual like everybody else."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.factorize import cholesky
from sciml.linalg.operator import LinearOperator, SolvableOperator
from sciml.linalg.solvers.base import LinearSolver, LinearSystem, refuse_structure
from sciml.linalg.solvers.scalars import choose, every, finite, some
from sciml.solution import Solution, Status

Inverse = Callable[[Tensor], Tensor]
_NUM_REFINEMENTS = 2  # iterative refinement gains all it can in one or two rounds


@dataclass(frozen=True, kw_only=True)
class DirectSolver(LinearSolver):
    """A method that prepares A once and then applies A⁻¹; subclasses give `factor`.

    The solution x0 + A⁻¹ (b - A x0) is refined while its true residual misses the tolerance.
    A ValueError of `factor`, or of what it returns, is a breakdown with that detail.
    """

    @abstractmethod
    def factor(self, operator: LinearOperator) -> Inverse:
        """Prepare A and give back b -> A⁻¹ b.

        Raises:
            ValueError: If A is singular, or not definite where that is needed.
        """

    @override
    @final
    def solve(
        self,
        operator: LinearOperator,
        b: Tensor,
        *,
        x0: Tensor | None = None,
        preconditioner: LinearOperator | None = None,
    ) -> Solution[Tensor]:
        self.check(operator)
        if preconditioner is not None:
            raise ValueError(
                f"{type(self).__name__}: expected no preconditioner, got {preconditioner!r}; a "
                "direct method has no use for one, take CG, MINRES, GMRES or BiCGStab"
            )
        with torch.no_grad():
            return self._refine(LinearSystem(operator, b), x0)

    def _refine(self, system: LinearSystem, x0: Tensor | None) -> Solution[Tensor]:
        x, r = torch.zeros_like(system.b), system.b
        b_norm = system.norm(system.b)
        if x0 is not None:
            x = system.select(b_norm == 0, x, x0)  # zero solves A x = 0 exactly
            r = system.residual(x)
        norm = system.norm(r)
        tolerance = self.tolerance(b_norm)
        detail = ""
        history, rounds = [norm], 0
        try:
            inverse = self.factor(system.operator)
            while rounds <= _NUM_REFINEMENTS and not every(norm <= tolerance):
                candidate = x + inverse(r)
                rounds += 1
                residual = system.residual(candidate)
                candidate_norm = system.norm(residual)
                better = candidate_norm < norm
                x = system.select(better, candidate, x)
                r = system.select(better, residual, r)
                norm = choose(better, candidate_norm, norm)
                history.append(norm)
                if not some(better):
                    break
        except ValueError as error:  # singular or indefinite: found by the factorisation
            detail = str(error)
        stats: dict[str, Any] = {
            "solver": type(self).__name__,
            "tolerance": system.as_tensor(tolerance),
            "residual_norm": system.as_tensor(norm),
            "num_applications": system.num_applications,
        }
        status = Status.CONVERGED
        if not every(norm <= tolerance):
            status = Status.STAGNATION if every(finite(norm)) else Status.NONFINITE
        if detail:
            status, stats["detail"] = Status.BREAKDOWN, detail
        converged = system.as_tensor(norm <= tolerance)
        return Solution(x, status, converged, rounds, system.stack(history), stats)


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
class Cholesky(DirectSolver):
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
    def factor(self, operator: LinearOperator) -> Inverse:
        triangle = cholesky("Cholesky", deflated_matrix(operator))
        return _on_columns(operator, lambda columns: torch.cholesky_solve(columns, triangle))


@final
@dataclass(frozen=True, kw_only=True)
class LU(DirectSolver):
    """Dense LU factorisation with partial pivoting for any square A; 2 n³/3 operations."""

    @override
    def check(self, operator: LinearOperator) -> None:
        """Any square operator will do."""

    @override
    def factor(self, operator: LinearOperator) -> Inverse:
        factor, pivots, info = torch.linalg.lu_factor_ex(deflated_matrix(operator))
        if bool((info != 0).any()):
            raise ValueError("LU: expected an invertible matrix, got an exactly zero pivot")
        return _on_columns(
            operator, lambda columns: torch.linalg.lu_solve(factor, pivots, columns)
        )


@final
@dataclass(frozen=True, kw_only=True)
class Structured(DirectSolver):
    """The operator's own structured solve: Kronecker factors, Toeplitz, circulant, diagonal."""

    @override
    def check(self, operator: LinearOperator) -> None:
        if not isinstance(operator, SolvableOperator):
            raise ValueError(
                f"Structured: expected an operator with a solve of its own, got {operator!r}; "
                "use CG, MINRES, GMRES, Cholesky or LU"
            )

    @override
    def factor(self, operator: LinearOperator) -> Inverse:
        return structured_inverse(operator)


def structured_inverse(operator: LinearOperator) -> Inverse:
    """The solve of an operator that a solver's `check` has found to have one."""
    if not isinstance(operator, SolvableOperator):
        raise TypeError(
            f"structured_inverse: expected a SolvableOperator, got {operator!r}; "
            "call the solver's check first"
        )
    return operator.solve
