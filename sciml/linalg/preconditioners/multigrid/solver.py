"""Conjugate gradients with CCMG, packed: the fast solver of pressure systems."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.base import FixedPreconditioner
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.preconditioners.multigrid.cycle import CycleType
from sciml.linalg.preconditioners.multigrid.hierarchy import (
    Hierarchy,
    check_geometry,
    hierarchy_of,
)
from sciml.linalg.solvers.base import LinearSolver, refuse_structure
from sciml.linalg.solvers.cg import CG
from sciml.solution import Solution

STEPS_BETWEEN_TESTS = 2
"""On an accelerator: a cycle is some hundred launches, waiting for the queue costs as a few."""

SAFE_EXPONENT = 40
"""Right-hand sides between 2^-40 and 2^40 leave room for their residuals in float32."""


@final
@dataclass(frozen=True, kw_only=True)
class MultigridCG(LinearSolver):
    """CG on a `PoissonOperator`, preconditioned by `CCMG`, in the split layout throughout.

    The iteration keeps the precision of the operator, the cycle has its own. The hierarchy is
    made in the first solve with an operator and kept with it: later solves, batches and
    gradients pay for the iteration alone.

    Args:
        max_steps: Largest number of steps; a few dozen are the rule.
        cycle: As in `CCMG`.
        dtype: Precision of the cycle, as in `CCMG`.
        compiled: As in `CCMG`.
    """

    max_steps: int = 500
    cycle: CycleType = "W"
    dtype: torch.dtype | None = None
    compiled: bool | None = None

    @override
    def check(self, operator: LinearOperator) -> None:
        check_geometry("MultigridCG", _as_pressure(operator))

    @override
    def solve(
        self,
        operator: LinearOperator,
        b: Tensor,
        *,
        x0: Tensor | None = None,
        preconditioner: LinearOperator | None = None,
    ) -> Solution[Tensor]:
        self.check(operator)
        operator._check_field("solve", b, operator.in_shape)
        started = time.perf_counter()
        hierarchy = self._hierarchy(_as_pressure(operator), preconditioner)
        setup_seconds = time.perf_counter() - started
        layout = hierarchy.layout
        inverse = PackedCycle(hierarchy, b.dtype, _scale(b, len(operator.in_shape)))
        solver = CG(
            rtol=self.rtol,
            atol=self.atol,
            max_steps=self.max_steps,
            # few steps, each worth more than waiting for the device
            check_every=1 if b.device.type == "cpu" else STEPS_BETWEEN_TESTS,
        )
        with torch.no_grad(), hierarchy.lock:
            solution = solver.solve(
                hierarchy.packed,
                layout.pack(b),
                x0=None if x0 is None else layout.pack(x0),
                preconditioner=inverse,
            )
        own: dict[str, Any] = {
            "preconditioner": "CCMG",
            "setup_seconds": setup_seconds,
            "num_levels": hierarchy.num_levels,
            "operator_complexity": hierarchy.operator_complexity,
        }
        return dataclasses.replace(
            solution, value=layout.unpack(solution.value), stats={**solution.stats, **own}
        )

    def _hierarchy(
        self, operator: PoissonOperator, preconditioner: LinearOperator | None
    ) -> Hierarchy:
        if preconditioner is None:
            return hierarchy_of(operator, self.cycle, self.dtype, self.compiled)
        if not isinstance(preconditioner, CCMG):
            raise ValueError(
                f"MultigridCG: expected no preconditioner but a CCMG, got {preconditioner!r}; "
                "use CG with that"
            )
        preconditioner.check_operator(operator)
        return preconditioner.hierarchy


def _as_pressure(operator: LinearOperator) -> PoissonOperator:
    if not isinstance(operator, PoissonOperator):
        raise refuse_structure(
            "MultigridCG", "a PoissonOperator", operator, "use CG with AlgebraicMultigrid"
        )
    return operator


@final
class PackedCycle(FixedPreconditioner):
    """The cycle of a hierarchy on packed fields, whatever their precision.

    It is the approximate inverse up to a constant factor, which conjugate gradients do not see.
    As with `PackedPoisson` the image is the same tensor each time.

    Args:
        hierarchy: Whose `lock` the caller holds.
        dtype: Of the fields.
        scale: One number per right-hand side (*batch, 1, 1) that brings it to a size from which
            a residual can shrink without leaving the range of the cycle's precision.
    """

    def __init__(
        self, hierarchy: Hierarchy, dtype: torch.dtype, scale: Tensor | None = None
    ) -> None:
        shape, device = hierarchy.packed.in_shape, hierarchy.packed.device
        super().__init__(shape, dtype=dtype, device=device)
        self.hierarchy, self.scale = hierarchy, scale

    @override
    def _mv(self, x: Tensor) -> Tensor:
        if self.scale is None:
            return self.hierarchy.precondition_all(x)
        return self.hierarchy.precondition_all(x * self.scale).div_(self.scale)


def _scale(b: Tensor, num_axes: int) -> Tensor | None:
    """Powers of two that bring right-hand sides to about one; None where none is needed."""
    axes = tuple(range(-num_axes, 0))
    largest = torch.maximum(b.amax(axes), -b.amin(axes))  # torch's infinity norm takes longer
    safe = (largest == 0) | ((largest > 2.0**-SAFE_EXPONENT) & (largest < 2.0**SAFE_EXPONENT))
    if bool(safe.all()):
        return None
    exponent = torch.frexp(largest).exponent
    return torch.exp2(torch.where(safe, 0, -exponent).to(b.dtype))[..., None, None]
