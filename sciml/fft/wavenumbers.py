"""Angular wavenumbers of a periodic grid, in radians per length."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def wavenumbers(
    num_points: int,
    length: float,
    *,
    half: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> Float[Tensor, " k"]:
    """Angular wavenumbers κ = 2π k / L along one axis, in FFT order.

    On an even grid the Nyquist bin stands for +n/2 and -n/2 at once; it carries the sign that
    torch gives it, minus in a full spectrum and plus in a half one. Odd derivatives have to
    treat that bin as zero.

    Args:
        num_points: Grid points n.
        length: Period L.
        half: Bins 0 … n//2 of a real transform instead of all n.
        dtype: Floating dtype of the result.
        device: Device of the result.

    Raises:
        TypeError: If `dtype` is not floating.
        ValueError: If `num_points` or `length` is not positive.
    """
    if not dtype.is_floating_point:
        raise TypeError(
            f"wavenumbers: expected a floating dtype, got {dtype}; name the field's own"
        )
    if num_points < 1 or not (length > 0 and math.isfinite(length)):
        raise ValueError(
            f"wavenumbers: expected num_points >= 1 and a positive length, got "
            f"num_points={num_points}, length={length}; pass the grid's own"
        )
    index = torch.arange(num_points // 2 + 1 if half else num_points, device=device)
    if not half:
        # Bins from (n + 1) // 2 on are the negative ones.
        index = torch.where(index < (num_points + 1) // 2, index, index - num_points)
    return (index.to(torch.float64) * (2 * math.pi / length)).to(dtype)


def wavenumber_grid(
    shape: Sequence[int],
    lengths: Sequence[float],
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> tuple[Tensor, ...]:
    """Wavenumbers of every axis, shaped to broadcast over the half spectrum of a real field.

    Args:
        shape: Grid points per axis.
        lengths: Period of each axis.
        dtype: Floating dtype of the result.
        device: Device of the result.

    Returns:
        One tensor per axis with that axis long and the others 1; the last axis is halved, as
        `sciml.fft.transforms.rfftn` halves it.

    Raises:
        ValueError: If there is not one length per axis.
    """
    if len(shape) != len(lengths) or not shape:
        raise ValueError(
            f"wavenumber_grid: expected one length per axis of {tuple(shape)}, got "
            f"{tuple(lengths)}; give every axis its period"
        )
    ndim = len(shape)
    grid = []
    for axis, (n, length) in enumerate(zip(shape, lengths, strict=True)):
        kappa = wavenumbers(n, length, half=axis == ndim - 1, dtype=dtype, device=device)
        view = [1] * ndim
        view[axis] = -1
        grid.append(kappa.view(view))
    return tuple(grid)
