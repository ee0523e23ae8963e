"""Spectral derivatives of periodic fields."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor

from sciml.fft.transforms import compute_dtype, irfftn, rfftn
from sciml.fft.wavenumbers import wavenumbers


def spectral_derivative(
    u: Num[Tensor, "*shape"], orders: Sequence[int], lengths: Sequence[float]
) -> Float[Tensor, "*shape"]:
    """Mixed partial derivative of the trigonometric interpolant of a periodic field.

    Every Fourier mode is multiplied by Π (iκ)^m over the axes, m the order there. On an even
    grid the Nyquist mode is ½(+n/2) + ½(-n/2), that is cos(πnx/L): its derivatives of odd order
    vanish at every grid point, those of even order are itself times -(πn/L)² and so on. So
    `spectral_derivative(u, [2], …)` is not two first derivatives in a row on an even grid,
    unless that mode is empty.

    Args:
        u: Real field whose trailing `len(orders)` axes are periodic.
        orders: Order of the derivative for each of these axes, 0 for none.
        lengths: Period of each of these axes.

    Returns:
        ∂^(m_1 + … + m_d) u / ∂x_1^m_1 … ∂x_d^m_d at the grid points, dtype of `u` (half
        precision is computed in float32).

    Raises:
        TypeError: If `u` is not real floating point.
        ValueError: If there is not one order >= 0 and one positive length per axis, more of
            them than axes, or the highest mode's factor exceeds the dtype.

    Source: L. N. Trefethen, "Spectral methods in MATLAB" (2000), chapter 3.
    """
    compute = compute_dtype("spectral_derivative", u)
    if (
        not 0 < len(orders) <= u.ndim
        or len(lengths) != len(orders)
        or min(orders) < 0
        or not all(0 < length < math.inf for length in lengths)
    ):
        raise ValueError(
            f"spectral_derivative: expected an order >= 0 and a positive length for 1 to "
            f"{u.ndim} trailing axes of a field of shape {tuple(u.shape)}, got "
            f"orders={tuple(orders)}, lengths={tuple(lengths)}; give one of each per axis"
        )
    axes = [axis - len(orders) for axis, order in enumerate(orders) if order > 0]
    if not axes:
        return u.clone()
    sizes = [u.shape[axis] for axis in axes]
    # In logarithms, because the factor itself may exceed a Python float.
    largest = sum(
        max(0.0, orders[axis] * math.log(math.pi * u.shape[axis] / lengths[axis]))
        for axis in axes
        if u.shape[axis] > 1
    )
    if largest > math.log(torch.finfo(compute).max):
        raise ValueError(
            f"spectral_derivative: expected factors that {compute} can hold, got "
            f"exp({largest:.0f}) for orders {tuple(orders)} on lengths {tuple(lengths)}; "
            "measure lengths in a larger unit or use float64"
        )
    spectrum = rfftn(u, axes)
    for axis in axes:
        factor = _multiplier(u.shape[axis], orders[axis], lengths[axis], u, axis == axes[-1])
        factor = factor.to(spectrum.dtype if factor.is_complex() else spectrum.real.dtype)
        spectrum = spectrum * factor.view(-1, *[1] * (-axis - 1))
    return irfftn(spectrum, axes, sizes, dtype=u.dtype)


def _multiplier(size: int, order: int, length: float, u: Tensor, half: bool) -> Tensor:
    """(iκ)^order in float64, real for even orders, the Nyquist bin of odd ones zero."""
    factor = wavenumbers(size, length, half=half, device=u.device) ** order
    if order % 2 == 1 and size % 2 == 0:
        factor[size // 2] = 0.0
    factor = -factor if order % 4 > 1 else factor
    return factor if order % 2 == 0 else torch.complex(torch.zeros_like(factor), factor)
