"""What a solver of linear systems is, and the system that it is handed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from sciml.linalg.operator import LinearOperator
from sciml.solution import Solution


@dataclass(frozen=True, kw_only=True)
class LinearSolver(ABC):
    r"""A method for A x = b; holds hyper-parameters only, so one serves many systems.

    A right-hand side counts as solved when its true residual meets
    :math:`\|b - A x\|_2 \le \max(\mathrm{rtol}\,\|b\|_2, \mathrm{atol})`.

    Args:
        rtol: Tolerance relative to ‖b‖.
        atol: Absolute tolerance; zero by default, because the unit of b is not known here.

    Raises:
        ValueError: If a tolerance is negative or not finite, or both are zero.
    """

    rtol: float = 1e-6
    atol: float = 0.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not (0 <= self.rtol < 1 and 0 <= self.atol < float("inf")):
            raise ValueError(
                f"{name}: expected 0 <= rtol < 1 and a finite atol >= 0, got rtol={self.rtol}, "
                f"atol={self.atol}; rtol is relative to the norm of b"
            )
        if self.rtol == 0 and self.atol == 0:
            raise ValueError(
                f"{name}: expected a positive rtol or atol, got zero for both; an exactly zero "
                "residual cannot be reached in floating point"
            )

    @abstractmethod
    def check(self, operator: LinearOperator) -> None:
        """Refuse an operator whose declared structure this method cannot use.

        Raises:
            ValueError: With the remedy.
        """

    @abstractmethod
    def solve(
        self,
        operator: LinearOperator,
        b: Tensor,
        *,
        x0: Tensor | None = None,
        preconditioner: LinearOperator | None = None,
    ) -> Solution[Tensor]:
        """Solve A x = b with axes (*batch, *shape); never raises on non-convergence.

        Args:
            operator: Square A.
            b: Right-hand sides; batch axes lead and include those of the operator.
            x0: Start of the same shape as `b`; zero by default. Direct methods correct it.
            preconditioner: M ≈ A⁻¹; direct methods refuse one.
        """

    def tolerance(self, b_norm: Tensor) -> Tensor:
        """The residual norm that each right-hand side has to meet."""
        return (self.rtol * b_norm).clamp_min(self.atol)


def refuse_structure(
    solver: str, expected: str, operator: LinearOperator, remedy: str
) -> ValueError:
    """The error for an operator that does not declare what `solver` needs."""
    return ValueError(
        f"{solver}: expected {expected}, got {operator!r}, which does not declare to be one; "
        f"declare it where the operator is made, or {remedy}"
    )


@final
@dataclass
class LinearSystem:
    """A x = b with a preconditioner, and the count of what is applied.

    Args:
        operator: Square A.
        b: Right-hand sides (*batch, *shape).
        preconditioner: M ≈ A⁻¹, or None for the identity. It may have a lower precision than
            A: the residual is then normalised before it is rounded, so that it cannot
            underflow, while the iteration itself stays in the precision of A.
    """

    operator: LinearOperator
    b: Tensor
    preconditioner: LinearOperator | None = None
    num_applications: int = field(default=0, init=False)
    num_preconditionings: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.batch_shape = self.b.shape[: self.b.ndim - len(self.operator.out_shape)]
        self._ones = (1,) * len(self.operator.out_shape)
        # a preconditioner of a singular A leaks into the null space, where CG has no defence
        basis = self.operator.null_space() if self.preconditioner is not None else None
        self._null_rows = None if basis is None else basis.reshape(basis.shape[0], -1)

    def apply(self, x: Tensor) -> Tensor:
        """A x."""
        self.num_applications += 1
        return self.operator.mv(x)

    def residual(self, x: Tensor) -> Tensor:
        """The true residual b - A x."""
        return self.b - self.apply(x)

    def precondition(self, r: Tensor) -> Tensor:
        """M r; `r` itself without a preconditioner, so copy before changing it in place."""
        if self.preconditioner is None:
            return r
        self.num_preconditionings += 1
        dtype = self.preconditioner.dtype
        if dtype == r.dtype:
            z = self.preconditioner.mv(r)
        else:
            scale = self.norm(r)
            scale = self.spread(torch.where(scale > 0, scale, 1.0))
            z = self.preconditioner.mv((r / scale).to(dtype)).to(r.dtype) * scale
        if self._null_rows is not None:
            flat = self.flatten(z)
            z = (flat - (flat @ self._null_rows.T) @ self._null_rows).reshape(z.shape)
        return z

    def flatten(self, u: Tensor) -> Tensor:
        """A field as (*batch, n)."""
        return u.reshape(*self.batch_shape, -1)

    def dot(self, u: Tensor, v: Tensor) -> Tensor:
        """Inner product of each pair of fields, (*batch)."""
        product: Tensor = torch.linalg.vecdot(self.flatten(u), self.flatten(v))
        return product

    def norm(self, u: Tensor) -> Tensor:
        """2-norm of each field, (*batch)."""
        norm: Tensor = torch.linalg.vector_norm(self.flatten(u), dim=-1)
        return norm

    def spread(self, scalar: Tensor) -> Tensor:
        """One number per right-hand side, (*batch), ready to multiply fields."""
        return scalar.reshape(*self.batch_shape, *self._ones)
