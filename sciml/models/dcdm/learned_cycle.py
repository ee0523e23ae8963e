"""The multigrid cycle with relaxation fields, differentiable in everything that is learned.

All smoothing steps have one form, ``x <- x + ω (r - A x)`` with a field ω per step: ω_j / D for
a polynomial in D⁻¹ A, and 1 / D on one colour and zero on the other for a red-black half sweep.
After the coarse correction the steps come in reversed order, and the gain of the transfers
stands on both sides, so that the cycle is symmetric whatever the fields are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from typing_extensions import override

from sciml.linalg.operator import LinearOperator

Product = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class CycleLevel:
    """A level as the cycle sees it.

    Args:
        product: A x for a flat vector.
        relaxations: ω of every step of the first smoothing.
        gain: Factor on the residual on its way down and on the correction on its way up.
        restrict: Sums over the nodes of the next level.
        prolong: Values of the nodes of the next level.
    """

    product: Product
    relaxations: tuple[Tensor, ...]
    gain: Tensor
    restrict: Product
    prolong: Product


@final
@dataclass(frozen=True)
class MultigridCycle:
    """One cycle as a linear map of flat residuals.

    Args:
        levels: All but the coarsest.
        coarsest: The solve of the coarsest level.
        num_visits: Visits of a coarse level in each visit of the finer one: 1 for the V-cycle,
            2 for the W-cycle, which here visits level 1 once.
    """

    levels: Sequence[CycleLevel]
    coarsest: Product
    num_visits: int

    def __call__(self, r: Tensor) -> Tensor:
        """M r."""
        return self._visit(0, r, None)

    def _visit(self, number: int, r: Tensor, x: Tensor | None) -> Tensor:
        """Improve x, zero by default, by one visit of a level."""
        if number == len(self.levels):
            return self.coarsest(r)
        level = self.levels[number]
        x = _relaxed(level.product, level.relaxations, r, x)
        down = level.restrict(level.gain * (r - level.product(x)))
        last = number + 1 == len(self.levels)
        correction: Tensor | None = None
        for _ in range(self.num_visits if number > 0 and not last else 1):
            correction = self._visit(number + 1, down, correction)
        if correction is not None:
            x = x + level.gain * level.prolong(correction)
        return _relaxed(level.product, level.relaxations[::-1], r, x)


def _relaxed(
    product: Product, relaxations: Sequence[Tensor], r: Tensor, x: Tensor | None
) -> Tensor:
    first, *rest = relaxations
    x = first * r if x is None else torch.addcmul(x, first, r - product(x))
    for relaxation in rest:
        x = torch.addcmul(x, relaxation, r - product(x))
    return x


def symmetric_product(operator: LinearOperator, x: Tensor) -> Tensor:
    """A x for a symmetric operator and its batch of fields given flat, differentiable in x."""
    y: Tensor = _SymmetricProduct.apply(x, operator)  # type: ignore[no-untyped-call]  # torch's
    return y


def graph_product(
    x: Tensor, weight: Tensor, diagonal: Tensor, ends: tuple[Tensor, Tensor]
) -> Tensor:
    """``y_i = D_i x_i - Σ_j w_ij x_j`` over undirected edges, differentiable in x, w and D."""
    y: Tensor = _GraphProduct.apply(x, weight, diagonal, ends)  # type: ignore[no-untyped-call]  # torch's
    return y


class _SymmetricProduct(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, operator: LinearOperator) -> Tensor:
        ctx.operator = operator
        return _apply_flat(operator, x)

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _apply_flat(ctx.operator, gradients[0]), None


def _apply_flat(operator: LinearOperator, x: Tensor) -> Tensor:
    return operator._mv(x.reshape(*operator.batch_shape, *operator.in_shape)).reshape(-1)


class _GraphProduct(torch.autograd.Function):
    @staticmethod
    @override
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        diagonal: Tensor,
        ends: tuple[Tensor, Tensor],
    ) -> Tensor:
        ctx.save_for_backward(x, weight, diagonal, *ends)
        return _sum_over_edges(x, weight, diagonal, *ends)

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, diagonal, lower, upper = ctx.saved_tensors
        (g,) = gradients
        to_weight = -(g[lower] * x[upper] + g[upper] * x[lower])
        return _sum_over_edges(g, weight, diagonal, lower, upper), to_weight, g * x, None


def _sum_over_edges(
    x: Tensor, weight: Tensor, diagonal: Tensor, lower: Tensor, upper: Tensor
) -> Tensor:
    y = diagonal * x
    y.index_add_(0, lower, weight * x[upper], alpha=-1)
    y.index_add_(0, upper, weight * x[lower], alpha=-1)
    return y


def sums_over(aggregate: Tensor, num_nodes: int) -> tuple[Product, Product]:
    """Restriction to the nodes of the next level and its transpose."""

    def restrict(fine: Tensor) -> Tensor:
        return fine.new_zeros(num_nodes).index_add(0, aggregate, fine)

    def prolong(coarse: Tensor) -> Tensor:
        return coarse[aggregate]

    return restrict, prolong
