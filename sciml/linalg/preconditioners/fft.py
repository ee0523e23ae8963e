"""Fast exact solves of a nearby separable problem."""

from collections.abc import Sequence
from typing import final

from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator, SolvableOperator


@final
class NearbySolve(LinearOperator):
    """M = B⁻¹ for an operator B near A that has a fast solve of its own.

    The usual B is the `LaplacianOperator` of the whole box with the boundary conditions of A,
    solved by FFT, DCT or DST: the number of steps is then independent of the resolution for
    variable coefficients of bounded contrast, and of the size of obstacles that do not cut the
    domain. A circulant or Kronecker operator near a Toeplitz or kernel matrix serves as well.
    On a singular B (Neumann or periodic on all sides) M is the pseudo-inverse.

    Args:
        operator: B; may have a lower precision than A.

    Source: Concus and Golub, SIAM J. Numer. Anal. 10 (1973), 1103.
    """

    def __init__(self, operator: SolvableOperator) -> None:
        super().__init__(
            operator.out_shape,
            operator.in_shape,
            dtype=operator.dtype,
            device=operator.device,
            batch_shape=operator.batch_shape,
            symmetric=operator.symmetric,
            positive_definite=operator.positive_definite,
        )
        self.operator = operator

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return self.operator.tensors

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "NearbySolve":
        return NearbySolve(as_solvable(self.operator.with_tensors(tensors)))

    @property
    @override
    def T(self) -> "NearbySolve":
        return NearbySolve(as_solvable(self.operator.T))

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return self.operator.solve(self.operator.project(x))


def as_solvable(operator: LinearOperator) -> SolvableOperator:
    """The operator itself, refused where it has no solve of its own.

    Raises:
        TypeError: Naming the operator.
    """
    if not isinstance(operator, SolvableOperator):
        raise TypeError(
            f"NearbySolve: expected an operator with a solve of its own, got {operator!r}; "
            "take a LaplacianOperator, KroneckerOperator or CirculantOperator"
        )
    return operator
