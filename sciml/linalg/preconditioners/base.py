"""What the preconditioners that are made from a matrix once have in common."""

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator


class FixedPreconditioner(LinearOperator):
    """A symmetric positive definite M that keeps no tensors to differentiate.

    Args:
        shape: Axes of the fields.
        dtype: Precision of inputs and outputs; may be lower than that of A.
        device: Where M lives.
        batch_shape: Leading axes of a batch of matrices.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        batch_shape: Sequence[int] = (),
    ) -> None:
        super().__init__(
            shape,
            shape,
            dtype=dtype,
            device=device,
            batch_shape=batch_shape,
            positive_definite=True,
        )

    def check_operator(self, operator: LinearOperator) -> None:
        """Refuse an operator that M was not made for, where M can tell.

        Raises:
            ValueError: With the remedy.
        """
        del operator

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return ()

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "FixedPreconditioner":
        return self

    @property
    @override
    def T(self) -> "FixedPreconditioner":
        return self
