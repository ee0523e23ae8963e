"""Gradients of x = A⁻¹ b by one adjoint solve, whatever computed x.

With w = A⁻ᵀ ḡ for an incoming gradient ḡ: the gradient in b is w, and the gradient in the
tensors θ of A is −wᵀ (∂A/∂θ) x, one vector-Jacobian product through the operator's action.
Both are differentiable again, because the adjoint solve is the same function.

Source: Christianson, Optimization Methods and Software 3 (1994), for fixed points in general.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator, broadcast_shape

Solve = Callable[[LinearOperator, Tensor], Tensor]


def implicit_solve(operator: LinearOperator, b: Tensor, solve: Solve) -> Tensor:
    """`solve(operator, b)` with gradients in `b` and in the operator's tensors.

    Args:
        operator: A square operator.
        b: Right-hand sides, batch axes leading; they broadcast against the operator's.
        solve: Computes A⁻¹ b for this operator and for its transpose; never differentiated.
    """
    tensors = operator.tensors
    if operator.batch_shape:
        fields = b.shape[: b.ndim - len(operator.in_shape)]
        batch = broadcast_shape(fields, operator.batch_shape)
        b = b.expand(*batch, *operator.in_shape)
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in (b, *tensors))):
        return solve(operator, b)
    solution: Tensor = _ImplicitSolve.apply(operator, solve, b, *tensors)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
    return solution


class _ImplicitSolve(torch.autograd.Function):
    """x = A⁻¹ b with the adjoint solve as backward."""

    @staticmethod
    @override
    def forward(
        ctx: Any, operator: LinearOperator, solve: Solve, b: Tensor, *tensors: Tensor
    ) -> Tensor:
        detached = operator.with_tensors([tensor.detach() for tensor in tensors])
        x = solve(detached, b.detach())
        ctx.operator, ctx.solve = operator, solve
        ctx.save_for_backward(x, *tensors)
        return x

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *tensors = ctx.saved_tensors
        operator: LinearOperator = ctx.operator
        # on the saved tensors, so that a second derivative reaches them
        w = implicit_solve(operator.with_tensors(tensors).T, gradients[0], ctx.solve)
        wanted = ctx.needs_input_grad[3:]
        if not any(wanted):
            return None, None, w, *(None for _ in tensors)
        twice = torch.is_grad_enabled()  # under create_graph
        with torch.enable_grad():
            # views, because x depends on the tensors themselves and has to count as constant
            views = [
                t.view_as(t) if twice else t.detach().requires_grad_(needed)
                for t, needed in zip(tensors, wanted, strict=True)
            ]
            image = operator.with_tensors(views)._mv(x if twice else x.detach())
        chosen = [view for view, needed in zip(views, wanted, strict=True) if needed]
        found = iter(
            torch.autograd.grad(image, chosen, -w, create_graph=twice, allow_unused=True)
        )
        return None, None, w, *(next(found) if needed else None for needed in wanted)
