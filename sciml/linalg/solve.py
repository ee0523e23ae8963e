"""`linear_solve`: one call for every linear system of this package."""

import dataclasses
from typing import Any, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from sciml.linalg.choose import Choice, choose_solver
from sciml.linalg.convert import as_field, as_operator, check_finite, check_solver
from sciml.linalg.implicit import implicit_solve
from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSolver
from sciml.solution import Solution, SolverError, Status

MatrixLike: TypeAlias = (
    LinearOperator | Shaped[Tensor, "..."] | NDArray[Any] | sparse.spmatrix | sparse.sparray
)
FieldLike: TypeAlias = Shaped[Tensor, "..."] | NDArray[Any]

LARGEST_REMOVED_FRACTION = 1e-2
DEFAULT_RTOL = 1e-6
FEW = 10.0
"""Residuals up to this many times the rounding of A x count as nothing but that rounding."""


def linear_solve(
    A: MatrixLike,
    b: FieldLike,
    solver: LinearSolver | None = None,
    *,
    rtol: float = DEFAULT_RTOL,
    atol: float = 0.0,
    x0: FieldLike | None = None,
    preconditioner: MatrixLike | None = None,
    throw: bool = True,
) -> Solution[Any]:
    r"""Solve A x = b to :math:`\|b - A x\|_2 \le \max(\mathrm{rtol} \|b\|_2, \mathrm{atol})`.

    Convergence is judged by the true residual, for each right-hand side alone. The solution is
    differentiable in `b` and in the tensors of A: with w = A⁻ᵀ ḡ, one adjoint solve by the same
    solver, the gradients are w and −wᵀ (∂A) x; `solver`, `x0` and `preconditioner` are not
    differentiated.

    Where an operator knows its null space, b is projected onto the range of A first (the
    tolerance then refers to the projected b), the least-norm solution is given back, and the
    fraction of ‖b‖ removed stands in ``stats["removed_fraction"]``.

    Args:
        A: Square operator, dense matrix, or scipy.sparse matrix. A matrix acts on one axis.
        b: Right-hand sides (*batch, *shape): batch axes lead, so columns of SciPy style are
            ``b.T``. The solution is given back in kind, NumPy for NumPy.
        solver: The method with its tolerances; None chooses by the structure of A and says what
            it chose in ``stats["solver"]`` and ``stats["reason"]``.
        rtol: Relative tolerance for ``solver=None``.
        atol: Absolute tolerance for ``solver=None``.
        x0: Start of the shape of `b`; zero by default.
        preconditioner: M ≈ A⁻¹ as an operator or matrix, possibly of lower precision than A.
        throw: Whether a solve that does not converge raises; otherwise the Solution says so.

    Raises:
        ValueError: If shapes do not fit, a batch is empty, an input is not finite, the
            tolerance is beyond the precision, tolerances are given beside a solver, or more
            than 1e-2 of ‖b‖ lies outside the range of A.
        TypeError: If an input is complex, an integer, or of another dtype or device than A.
        SolverError: If `throw` and a right-hand side did not converge; it has the Solution.
    """
    operator = as_operator(A)
    right = as_field("b", b, operator)
    start = None if x0 is None else as_field("x0", x0, operator)
    if start is not None and start.shape != right.shape:
        raise ValueError(
            f"linear_solve: expected x0 of the shape of b, got {tuple(start.shape)} and "
            f"{tuple(right.shape)}; expand it"
        )
    inverse = None if preconditioner is None else as_operator(preconditioner, "preconditioner")
    _check_operators(operator, inverse)
    choice = _choice(operator, solver, inverse, rtol, atol)
    _check_tolerance(choice.solver, operator.dtype)
    right, stats = _into_range(operator, right)
    # a large null vector in the start, such as the constant of a pressure, would cost digits
    start = None if start is None else _least_norm(operator, start)
    run = _Run(choice, start)
    value = implicit_solve(operator, right, run)
    solution = run.outcome(value, stats)
    if not solution and throw:
        detail = _diagnose(operator, right, solution)
        raise SolverError("linear_solve", _in_kind(solution, b), detail)
    return _in_kind(solution, b)


@final
class _Run:
    """What `implicit_solve` calls: first for the system, then for its adjoints."""

    def __init__(self, choice: Choice, start: Tensor | None) -> None:
        self.choice, self.start = choice, start
        self.adjoint = choice
        self.first: Solution[Tensor] | None = None

    def __call__(self, operator: LinearOperator, b: Tensor) -> Tensor:
        preconditioner = self.choice.preconditioner
        if self.first is None:
            start = None if self.start is None else self.start.expand(b.shape)
            self.first = self.choice.solve(operator, b, start, preconditioner)
            self.adjoint = self.choice.relative(b)
            return _least_norm(operator, self.first.value)
        # M may face either orientation in higher derivatives; that costs steps, not accuracy
        transposed = None if preconditioner is None else preconditioner.T
        adjoint = self.adjoint.solve(operator, operator.project(b), None, transposed)
        if not adjoint:
            raise SolverError(
                "linear_solve (adjoint)", adjoint, adjoint.stats.get("detail", "")
            )
        return _least_norm(operator, adjoint.value)

    def outcome(self, value: Tensor, stats: dict[str, Any]) -> Solution[Tensor]:
        """The first solution with the differentiable value and what was removed from b."""
        if self.first is None:
            raise RuntimeError(
                "linear_solve: expected a finished solve, got none; call it first"
            )
        return dataclasses.replace(self.first, value=value, stats={**self.first.stats, **stats})


def _choice(
    operator: LinearOperator,
    solver: LinearSolver | None,
    preconditioner: LinearOperator | None,
    rtol: float,
    atol: float,
) -> Choice:
    if solver is None:
        return choose_solver(operator, preconditioner, rtol, atol)
    check_solver(solver)
    if rtol != DEFAULT_RTOL or atol != 0.0:
        name = type(solver).__name__
        raise ValueError(
            f"linear_solve: expected tolerances either in the solver or with solver=None, got "
            f"rtol={rtol}, atol={atol} beside {name}; write {name}(rtol={rtol}, atol={atol})"
        )
    return Choice(solver, "", (), preconditioner)


def _check_operators(operator: LinearOperator, preconditioner: LinearOperator | None) -> None:
    if not operator.is_square:
        raise ValueError(
            f"linear_solve: expected a square operator, got {operator.in_shape} -> "
            f"{operator.out_shape}; solve the normal equations A.T @ A x = A.T @ b for least "
            "squares"
        )
    for tensor in operator.tensors:
        check_finite("A", tensor)
    if preconditioner is None:
        return
    if (preconditioner.in_shape, preconditioner.out_shape) != (
        operator.out_shape,
        operator.in_shape,
    ):
        raise ValueError(
            f"linear_solve: expected a preconditioner {operator.out_shape} -> "
            f"{operator.in_shape}, got {preconditioner!r}; build it for this operator"
        )
    if preconditioner.device != operator.device:
        raise TypeError(
            f"linear_solve: expected the preconditioner on {operator.device}, got "
            f"{preconditioner.device}; move one of them"
        )


def _check_tolerance(solver: LinearSolver, dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    if solver.atol == 0 and solver.rtol < eps:
        raise ValueError(
            f"linear_solve: expected rtol >= {eps:.1e} in {dtype}, got {solver.rtol:.1e}; "
            "solve in float64, or loosen rtol"
        )


def _into_range(operator: LinearOperator, b: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Remove from b what lies outside a known range; also how much that was."""
    projection = operator.range_projection()
    if projection is None:
        return b, {}
    projected = projection(b)
    axes = tuple(range(b.ndim - len(operator.out_shape), b.ndim))
    with torch.no_grad():
        norm = torch.linalg.vector_norm(b, dim=axes)
        removed = torch.linalg.vector_norm(b - projected, dim=axes)
        fraction = torch.where(norm > 0, removed / torch.where(norm > 0, norm, 1.0), 0.0)
        largest = float(fraction.max())
    if largest > LARGEST_REMOVED_FRACTION:
        found = operator.describe_outside(b)
        raise ValueError(
            f"linear_solve: expected b in the range of the singular {type(operator).__name__}, "
            f"got {largest:.2g} of its norm outside{f' ({found})' if found else ''}; pass "
            "A.project(b) if that part is to be dropped"
        )
    return projected, {"removed_fraction": fraction}


def _least_norm(operator: LinearOperator, x: Tensor) -> Tensor:
    """Remove from x its part in a known null space of A."""
    projection = operator.T.range_projection()
    return x if projection is None else projection(x)


@torch.no_grad()
def _diagnose(operator: LinearOperator, b: Tensor, solution: Solution[Tensor]) -> str:
    """What the solver found, and whether rounding or an inconsistent system explains it."""
    detail: str = solution.stats.get("detail", "")
    if solution.status not in (Status.BREAKDOWN, Status.STAGNATION):
        return detail
    value = solution.value.detach()
    residual = b - operator.mv(value)
    if type(operator).diagonal is not LinearOperator.diagonal:
        rounding = torch.finfo(b.dtype).eps * float((operator.diagonal() * value).norm())
        if float(residual.norm()) <= FEW * rounding:
            return (
                f"the residual left, {float(residual.norm() / b.norm()):.1e} of b, is what "
                f"rounding x to {b.dtype} leaves of A x: loosen rtol"
            )
    gain = float(operator.T.mv(residual).norm() / residual.norm())
    usual = float(operator.T.mv(b).norm() / b.norm())
    if gain <= 1e-2 * usual:
        return (
            f"the residual left is a null vector of Aᵀ to {gain / usual if usual else 0:.0e}: "
            "A is singular, or nearly, and b is outside its range"
        )
    return detail


def _in_kind(solution: Solution[Tensor], b: FieldLike) -> Solution[Any]:
    """The solution with its value as NumPy where b was."""
    if isinstance(b, np.ndarray):
        values: Any = solution.value.detach().cpu().numpy()
        return dataclasses.replace(solution, value=values)
    return solution
