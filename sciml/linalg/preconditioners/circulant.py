"""Circulant preconditioners of Toeplitz matrices."""

from typing import final

import torch
from jaxtyping import Num
from torch import Tensor
from typing_extensions import override

from sciml.linalg.circulant import optimal_circulant
from sciml.linalg.preconditioners.base import FixedPreconditioner


@final
class OptimalCirculant(FixedPreconditioner):
    """M = C⁻¹ for the circulant C nearest to a symmetric positive definite Toeplitz matrix.

    Nearest in the Frobenius norm. Two real FFTs a step; for lags that can be summed and a
    symbol bounded away from zero the number of steps does not depend on the size.

    Args:
        column: First column of the Toeplitz matrix.

    Raises:
        ValueError: If an eigenvalue of C, which is a Rayleigh quotient of the Toeplitz matrix,
            is not positive to working precision.

    Source: T. Chan, SIAM J. Sci. Stat. Comput. 9 (1988), eq. 6; R. Chan and Ng, SIAM Review 38
    (1996), 427.
    """

    def __init__(self, column: Num[Tensor, " n"]) -> None:
        super().__init__(column.shape, dtype=column.dtype, device=column.device)
        # an even kernel has a real spectrum
        eigenvalues = torch.fft.rfft(optimal_circulant(column.detach()).kernel).real
        smallest, largest = (float(bound) for bound in torch.aminmax(eigenvalues))
        if not smallest > torch.finfo(column.dtype).eps * largest:
            raise ValueError(
                "OptimalCirculant: expected positive eigenvalues, got one of "
                f"{smallest:.3g} beside {largest:.3g}; the Toeplitz matrix is not positive "
                "definite to working precision, add a multiple of the identity"
            )
        # complex, because torch multiplies complex by complex faster than by real
        self.spectrum = eigenvalues.reciprocal().to(column.dtype.to_complex())

    @override
    def _mv(self, x: Tensor) -> Tensor:
        # the plain transforms save the checks of sciml.fft here, the inner loop of solvers
        field = torch.fft.rfft(x).mul_(self.spectrum)
        image: Tensor = torch.fft.irfft(field, n=self.in_shape[0])
        return image
