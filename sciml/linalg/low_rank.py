"""Low-rank updates of structured operators."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Num
from torch import Tensor
from typing_extensions import override

from sciml.linalg.factorize import lu_solve
from sciml.linalg.operator import LinearOperator, SolvableOperator


@final
class LowRankUpdateOperator(SolvableOperator):
    """A + Σ_r u_r v_rᵀ: a structured operator with a few rank-one terms.

    Args:
        operator: A.
        left: The fields u_r.
        right: The fields v_r; `left` by default, which gives a symmetric update.

    Raises:
        ValueError: If the fields do not fit A or their numbers differ.
        TypeError: If their dtype or device is not that of A.
    """

    def __init__(
        self,
        operator: LinearOperator,
        left: Num[Tensor, "r *out"],
        right: Num[Tensor, "r *in"] | None = None,
    ) -> None:
        paired = left if right is None else right
        fits = left.shape[1:] == operator.out_shape and paired.shape[1:] == operator.in_shape
        if not fits or left.shape[0] != paired.shape[0]:
            raise ValueError(
                f"LowRankUpdateOperator: expected (r, *{operator.out_shape}) and "
                f"(r, *{operator.in_shape}), got {tuple(left.shape)} and "
                f"{tuple(paired.shape)}; the rank leads, then the axes of the fields"
            )
        for field in (left, paired):
            if (field.dtype, field.device) != (operator.dtype, operator.device):
                raise TypeError(
                    f"LowRankUpdateOperator: expected fields in {operator.dtype} on "
                    f"{operator.device}, got {field.dtype} on {field.device}; convert one "
                    "with .to()"
                )
        strict = operator.positive_definite and not operator.singular
        super().__init__(
            operator.in_shape,
            operator.out_shape,
            dtype=operator.dtype,
            device=operator.device,
            batch_shape=operator.batch_shape,
            symmetric=right is None and operator.symmetric,
            positive_definite=right is None and strict,
        )
        self.operator = operator
        self.left = left
        self.right = right

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        fields = (self.left,) if self.right is None else (self.left, self.right)
        return (*fields, *self.operator.tensors)

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "LowRankUpdateOperator":
        count = 1 if self.right is None else 2
        return LowRankUpdateOperator(
            self.operator.with_tensors(tensors[count:]), *tensors[:count]
        )

    @property
    @override
    def T(self) -> "LowRankUpdateOperator":
        if self.right is None:
            return LowRankUpdateOperator(self.operator.T, self.left)
        return LowRankUpdateOperator(self.operator.T, self.right, self.left)

    @override
    def _mv(self, x: Tensor) -> Tensor:
        right = self.left if self.right is None else self.right
        weights = self._flat(x) @ right.reshape(right.shape[0], -1).T
        update = weights @ self.left.reshape(self.left.shape[0], -1)
        return self.operator._mv(x) + update.reshape(*update.shape[:-1], *self.out_shape)

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """(A + U Vᵀ)⁻¹ b by the Woodbury identity, where A has a direct solve.

        Accuracy is that of A⁻¹ and of the small matrix I + Vᵀ A⁻¹ U; when either is ill
        conditioned although the sum is not, solve with A as a preconditioner instead.

        Source: Woodbury 1950; Hager, SIAM Review 31 (1989), eq. 2.
        """
        if not isinstance(self.operator, SolvableOperator):
            raise ValueError(
                "LowRankUpdateOperator.solve: expected an operator with a direct solve, got "
                f"{type(self.operator).__name__}; use sciml.linear_solve"
            )
        right = self.left if self.right is None else self.right
        rank = self.left.shape[0]
        rows = right.reshape(rank, -1)
        batch = (1,) * len(self.batch_shape)
        inner = self.operator.solve(self.left.reshape(rank, *batch, *self.out_shape))
        inner = self._flat(inner).movedim(0, -1)  # (*batch, n, rank)
        solution = self._flat(self.operator.solve(b))
        identity = torch.eye(rank, dtype=self.dtype, device=self.device)
        projected = (solution @ rows.T).unsqueeze(-1)
        weights = lu_solve("LowRankUpdateOperator.solve", identity + rows @ inner, projected)
        solution = solution - (inner @ weights).squeeze(-1)
        return solution.reshape(*solution.shape[:-1], *self.in_shape)
