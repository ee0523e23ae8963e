"""Log determinant of symmetric positive definite Toeplitz matrices, with its gradient.

The Levinson–Durbin recursion gives the variances e_k of the prediction errors, whose product is
the determinant, and the last predictor a, from which x = a / e_{n−1} is the first column of
T⁻¹. With the Gohberg–Semencul formula ``x₀ T⁻¹ = L(x) L(x)ᵀ − L(y) L(y)ᵀ``,
``y = (0, x_{n−1}, …, x₁)``, the sum of the k-th diagonal of T⁻¹, which is the derivative in the
k-th lag, is a correlation: ``x₀ s_k = Σ_a (n − k − a) (x_{a+k} x_a − y_{a+k} y_a)``.

Source: Golub and Van Loan, Matrix Computations (2013), Algorithm 4.7.1; Gohberg and Semencul
1972, as in Heinig and Rost (1984), §1.1.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

_Array = npt.NDArray[np.float64]


def toeplitz_logdet(column: Num[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Log determinant of the symmetric Toeplitz matrix with this first column.

    O(n²) on the CPU in float64 whatever the dtype, and O(n log n) more for the gradient. The
    relative error of each e_k is about ε times the condition number, as for Cholesky.

    Raises:
        ValueError: If the matrix is not positive definite; the order of the first leading
            minor that is not positive is named.
    """
    value: Tensor = _ToeplitzLogDeterminant.apply(column)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
    return value


class _ToeplitzLogDeterminant(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, column: Tensor) -> Tensor:
        lags = column.detach().cpu().double().numpy()
        rows = lags.reshape(-1, lags.shape[-1])
        variances, first_column = _durbin(rows)
        ctx.save_for_backward(torch.from_numpy(first_column.reshape(lags.shape)))
        ctx.place = (column.dtype, column.device)
        total = torch.from_numpy(np.log(variances).sum(-1)).reshape(column.shape[:-1])
        return total.to(dtype=column.dtype, device=column.device)

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        dtype, device = ctx.place
        y = torch.zeros_like(x)
        y[..., 1:] = x[..., 1:].flip(-1)
        sums = (_weighted_correlation(x) - _weighted_correlation(y)) / x[..., :1]
        sums[..., 1:] *= 2  # both triangles
        in_place: Tensor = sums.to(dtype=dtype, device=device)
        return gradient.unsqueeze(-1) * in_place


def _durbin(lags: _Array) -> tuple[_Array, _Array]:
    """Prediction error variances, and the first column of T⁻¹, of each row of lags."""
    batch, size = lags.shape
    predictor = np.zeros((batch, size))
    predictor[:, 0] = 1.0
    variances = np.empty((batch, size))
    variances[:, 0] = lags[:, 0]
    for k in range(1, size):
        _check_positive(variances[:, k - 1], k)
        ahead = lags[:, k:0:-1]
        mismatch = np.einsum("bj,bj->b", predictor[:, :k], ahead)
        reflection = -mismatch / variances[:, k - 1]
        predictor[:, : k + 1] += reflection[:, None] * predictor[:, k::-1]
        variances[:, k] = variances[:, k - 1] * (1.0 - reflection**2)
    _check_positive(variances[:, -1], size)
    return variances, predictor / variances[:, -1:]


def _check_positive(variance: _Array, order: int) -> None:
    if not (variance > 0).all():
        raise ValueError(
            "ToeplitzOperator.logdet: expected a positive definite matrix, got leading minor "
            f"of order {order} with last pivot {float(variance.min()):.3g}; add a multiple of "
            "the identity to it"
        )


def _weighted_correlation(x: Tensor) -> Tensor:
    """Σ_a (n − k − a) x_{a+k} x_a for every lag k."""
    size = x.shape[-1]
    weights = torch.arange(size, 0, -1, dtype=x.dtype)
    spectrum = torch.fft.rfft(weights * x, n=2 * size)
    spectrum = spectrum * torch.fft.rfft(x, n=2 * size).conj()
    correlation: Tensor = torch.fft.irfft(spectrum, n=2 * size)
    return correlation[..., :size]
