"""Products and solves along one axis of a field: the step of all Kronecker algebra."""

import math
from collections.abc import Callable

from jaxtyping import Num
from torch import Tensor


def mode_product(
    matrix: Num[Tensor, "*batch rows columns"], x: Num[Tensor, "*fields"], trailing: int
) -> Num[Tensor, "*images"]:
    """Σ_j matrix[i, j] x[…, j, …] over the axis that has `trailing` axes after it.

    A plain matrix takes one product on a view of the field, which is never transposed:
    ``x Mᵀ`` on the last axis, ``M X`` with the later axes as columns on any other. A batch of
    matrices broadcasts against the axes before the field; use `batched_mode_product`.
    """
    if not trailing:
        return x @ matrix.T
    axis = x.ndim - 1 - trailing
    lead, tail = x.shape[:axis], x.shape[axis + 1 :]
    blocks = x.reshape(math.prod(lead), x.shape[axis], math.prod(tail))
    # one block stays a plain product: the batched kernel is slower there
    product = matrix @ blocks[0] if len(blocks) == 1 else matrix @ blocks
    return product.reshape(*lead, matrix.shape[0], *tail)


def batched_mode_product(
    matrix: Num[Tensor, "*batch rows columns"],
    x: Num[Tensor, "*fields"],
    trailing: int,
    num_axes: int,
) -> Num[Tensor, "*images"]:
    """`mode_product` for a batch of matrices and fields of `num_axes` axes."""
    front = x.movedim(-1 - trailing, -1)
    others = front.shape[front.ndim - num_axes : -1]
    rows = front.reshape(*front.shape[: front.ndim - num_axes], math.prod(others), -1)
    product = rows @ matrix.mT
    return product.reshape(*product.shape[:-2], *others, -1).movedim(-1, -1 - trailing)


def mode_solve(
    solve: Callable[[Tensor], Tensor], b: Tensor, trailing: int, num_axes: int, *, batched: bool
) -> Tensor:
    """`solve` for columns (*batch, n, k), applied along one axis of fields of `num_axes` axes.

    Without a batch of matrices all fields share one call, their axes being its columns.
    """
    front = b.movedim(-1 - trailing, -1)
    kept = front.shape[:-1]
    if not batched:
        columns = solve(front.reshape(-1, front.shape[-1]).T)
        return columns.T.reshape(*kept, -1).movedim(-1, -1 - trailing)
    others = kept[len(kept) + 1 - num_axes :]
    rows = front.reshape(*kept[: len(kept) + 1 - num_axes], math.prod(others), -1)
    rows = solve(rows.mT).mT
    return rows.reshape(*rows.shape[:-2], *others, -1).movedim(-1, -1 - trailing)


def outer_sum(values: list[Tensor]) -> Tensor:
    """Σ_k values_k[i_k] as a field (*batch, n₁, …, n_d)."""
    total, *others = _as_axes(values)
    for other in others:
        total = total + other
    return total


def outer_product(values: list[Tensor]) -> Tensor:
    """Π_k values_k[i_k] as a field (*batch, n₁, …, n_d)."""
    product, *others = _as_axes(values)
    for other in others:
        product = product * other
    return product


def _as_axes(values: list[Tensor]) -> list[Tensor]:
    """Each vector (*batch, n_k) on its own axis of a field (*batch, 1, …, n_k, …, 1)."""
    last = len(values) - 1
    return [
        value.reshape(*value.shape[:-1], *(1,) * k, value.shape[-1], *(1,) * (last - k))
        for k, value in enumerate(values)
    ]
