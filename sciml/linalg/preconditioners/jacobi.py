"""Diagonal scaling."""

from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.preconditioners.base import FixedPreconditioner


@final
class Jacobi(FixedPreconditioner):
    """M = 1 / |diag A|, the cheapest preconditioner; removes bad scaling and nothing else.

    Magnitudes, so that M is positive definite also for an indefinite symmetric A.

    Args:
        operator: A. Where it is declared positive (semi-)definite a zero on the diagonal means
            a zero row, and M is 1 there.
        dtype: Precision of M; that of A by default.

    Raises:
        ValueError: If the diagonal of an operator not declared positive definite has a zero.
    """

    def __init__(self, operator: LinearOperator, *, dtype: torch.dtype | None = None) -> None:
        diagonal = operator.diagonal().detach().to(dtype or operator.dtype).abs()
        zero = diagonal == 0
        if not operator.positive_definite and bool(zero.any()):
            raise ValueError(
                f"Jacobi: expected no zero on the diagonal, got {int(zero.sum())}; use another "
                "preconditioner, or none"
            )
        super().__init__(
            operator.in_shape,
            dtype=diagonal.dtype,
            device=diagonal.device,
            batch_shape=operator.batch_shape,
        )
        self.inverse_diagonal = torch.where(zero, 1.0, diagonal).reciprocal()

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return self.inverse_diagonal * x
