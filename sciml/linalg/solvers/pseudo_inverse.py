"""The pseudo-inverse: consistent singular systems, by brute force."""

from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from sciml.linalg.dense import DenseOperator
from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.direct import DirectSolver, Inverse


@final
@dataclass(frozen=True, kw_only=True)
class PseudoInverse(DirectSolver):
    """x = A⁺ b by a dense singular value decomposition, some 20 n³ operations.

    The least-norm solution of a consistent system of any rank; singular values below
    n ε σ_max count as zero. An inconsistent system ends in STAGNATION, with the least-squares
    solution.
    """

    @override
    def check(self, operator: LinearOperator) -> None:
        """Any square operator will do."""

    @override
    def factor(self, operator: LinearOperator) -> Inverse:
        inverse = torch.linalg.pinv(operator.to_dense(), hermitian=operator.symmetric)
        return DenseOperator(inverse, operator.out_shape, operator.in_shape).mv
