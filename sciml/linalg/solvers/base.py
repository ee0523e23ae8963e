"""What a solver of linear systems is, and the system that it is handed."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from sciml.linalg.operator import LinearOperator
from sciml.linalg.preconditioners.base import FixedPreconditioner
from sciml.linalg.solvers.scalars import Count, Flag, Scalar, V, at_least, choose
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

    def tolerance(self, b_norm: Scalar) -> Scalar:
        """The residual norm that each right-hand side has to meet."""
        return at_least(self.rtol * b_norm, self.atol)


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
    """A x = b with a preconditioner, the count of what is applied, and vector operations.

    Numbers of one right-hand side each are `Scalar`: tensors (*batch), or Python floats where
    there is a `single` right-hand side, on the CPU; then batch axes of length one count as none
    (`batch_shape` is empty). The operations that write into their first argument want it
    contiguous.

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
        shape = self.operator.out_shape
        self.operator._check_field("solve", self.b, shape)
        self.b = self.b.contiguous()
        self._outer_shape = self.b.shape[: self.b.ndim - len(shape)]
        self.single = math.prod(self._outer_shape) == 1 and self.b.device.type == "cpu"
        self.batch_shape = () if self.single else tuple(self._outer_shape)
        self._ones = (1,) * len(shape)
        self._is_flat = self.b.ndim == 1 or (len(shape) == 1 and not self.single)
        self._dtypes = {bool: torch.bool, int: torch.int64, float: self.b.dtype}
        self._largest = torch.finfo(self.b.dtype).max
        if isinstance(self.preconditioner, FixedPreconditioner):
            self.preconditioner.check_operator(self.operator)
        # a preconditioner of a singular A leaks into the null space, where CG has no defence
        alone = self.preconditioner is None
        self._projection = None if alone else self.operator.T.range_projection()

    def apply(self, x: Tensor) -> Tensor:
        """A x, for a field of the shape and place of b."""
        self.num_applications += 1
        return self.operator._mv(x)  # checked at the start, not in every step

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
            z = self.preconditioner._mv(r)
        else:
            norm = self.norm(r)
            scale = self.spread(choose(norm > 0, norm, 1.0))
            z = self.preconditioner._mv((r / scale).to(dtype)).to(r.dtype) * scale
        return z if self._projection is None else self._projection(z)

    def flatten(self, u: Tensor) -> Tensor:
        """A field as (*batch, n)."""
        return u if self._is_flat else u.reshape(*self.batch_shape, -1)

    def dot(self, u: Tensor, v: Tensor) -> Scalar:
        """Inner product of each pair of fields."""
        if self.single:
            return torch.dot(self.flatten(u), self.flatten(v)).item()
        product: Tensor = torch.linalg.vecdot(self.flatten(u), self.flatten(v))
        return product

    def norm(self, u: Tensor) -> Scalar:
        """2-norm of each field."""
        norm: Tensor = torch.linalg.vector_norm(self.flatten(u), dim=-1)
        return norm.item() if self.single else norm

    def spread(self, scalar: Scalar) -> Scalar:
        """One number per right-hand side, ready to multiply fields."""
        return self._as_field(scalar) if isinstance(scalar, Tensor) else scalar

    def add_scaled(self, u: Tensor, scale: Scalar, v: Tensor) -> Tensor:
        """The field u + scale v, written into u."""
        if isinstance(scale, Tensor):
            return u.addcmul_(self._as_field(scale), v)
        return u.add_(v, alpha=self._representable(scale))

    def scale_and_add(self, u: Tensor, scale: Scalar, v: Tensor) -> Tensor:
        """The field scale u + v, written into u in one pass."""
        if isinstance(scale, Tensor):
            return torch.addcmul(v, self._as_field(scale), u, out=u)
        return torch.add(v, u, alpha=self._representable(scale), out=u)

    def select(self, flag: Flag, new: Tensor, old: Tensor) -> Tensor:
        """Fields `new` where the flag holds, else `old`; later changes of `new` do not show."""
        if isinstance(flag, Tensor):
            return torch.where(self._as_field(flag), new, old)
        return new.clone() if flag else old

    def fill(self, value: V) -> V:
        """The same number or flag for every right-hand side."""
        if self.single or isinstance(value, Tensor):
            return value
        dtype = self._dtypes[type(value)]
        return torch.full(self.batch_shape, value, dtype=dtype, device=self.b.device)

    def as_tensor(self, scalar: Scalar | Count) -> Tensor:
        """Numbers or flags of all right-hand sides as a tensor (*batch)."""
        if isinstance(scalar, Tensor):
            return scalar
        return torch.full(self._outer_shape, scalar, dtype=self._dtypes[type(scalar)])

    def stack(self, records: Sequence[Scalar]) -> Tensor:
        """A record of numbers over the steps, (records, *batch)."""
        if self.single:
            return torch.tensor(records, dtype=self.b.dtype).reshape(-1, *self._outer_shape)
        return torch.stack([self.as_tensor(record) for record in records])

    def _as_field(self, columns: Tensor) -> Tensor:
        return columns.reshape(*self.batch_shape, *self._ones)

    def _representable(self, scale: float) -> float:
        """Infinity for a number beyond the precision of b, which torch refuses to round."""
        return math.copysign(math.inf, scale) if abs(scale) > self._largest else scale
