"""Fast diagonalisation of separable operators."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.kronecker import kronecker_product
from sciml.linalg.kronecker_sum import KroneckerSumOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.modes import outer_sum
from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.solvers.direct import DirectSolver, Inverse, structured_inverse


@final
@dataclass(frozen=True, kw_only=True)
class FastDiagonalization(DirectSolver):
    r"""Separable operators :math:`A_1 \oplus \dots \oplus A_d` in the eigenbasis of each axis.

    .. math:: x = (Q_1 \otimes \dots \otimes Q_d)\,
        (\Lambda_1 \oplus \dots \oplus \Lambda_d)^{+}\,
        (Q_1 \otimes \dots \otimes Q_d)^T\, b

    A `LaplacianOperator` is transformed by FFT-type transforms, O(N log N); a symmetric
    `KroneckerSumOperator` by the eigenvectors of its factors, O(N Σ n_k). Eigenvalues of the
    sum that are zero to rounding are inverted to zero, so that a consistent singular system
    (Neumann or periodic on all axes) has its least-norm solution. A `PoissonOperator` is
    solved as a `LaplacianOperator` where its fluid fills a box.

    Source: Lynch, Rice and Thomas, Numer. Math. 6 (1964), 185.
    """

    @override
    def check(self, operator: LinearOperator) -> None:
        separable = isinstance(operator, LaplacianOperator) or (
            isinstance(operator, KroneckerSumOperator) and operator.symmetric
        )
        boxed = isinstance(operator, PoissonOperator) and operator.fluid_box is not None
        if not (separable or boxed):
            raise ValueError(
                "FastDiagonalization: expected a LaplacianOperator or a symmetric "
                "KroneckerSumOperator (or a PoissonOperator whose fluid fills a box and has no "
                f"weights), got {operator!r}; declare symmetric=True where every factor is, or "
                "use another solver (solver=None chooses)"
            )

    @override
    def factor(self, operator: LinearOperator) -> Inverse:
        if isinstance(operator, KroneckerSumOperator):
            return _pseudo_inverse(operator)
        if isinstance(operator, PoissonOperator) and operator.fluid_box is not None:
            return operator.fluid_box.solve
        return structured_inverse(operator)


def _pseudo_inverse(operator: KroneckerSumOperator) -> Inverse:
    pairs = [torch.linalg.eigh(factor) for factor in operator.factors]
    vectors = [pair.eigenvectors for pair in pairs]
    eigenvalues = outer_sum([pair.eigenvalues for pair in pairs])
    # eigh is exact to a small multiple of eps times the largest eigenvalue
    floor = 10.0 * max(operator.in_shape) * torch.finfo(operator.dtype).eps
    zero = eigenvalues.abs() <= floor * eigenvalues.abs().amax()
    reciprocal = torch.where(zero, 0.0, 1.0 / torch.where(zero, 1.0, eigenvalues))

    def inverse(b: Tensor) -> Tensor:
        coefficients = kronecker_product([vector.mT for vector in vectors], b)
        return kronecker_product(vectors, coefficients * reciprocal)

    return inverse
