"""What a pressure operator is made from, checked and in words where it does not fit."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MARGIN = 8.0  # the diagonal has up to six times 1 / h²

_NARROW = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_WIDE = (torch.uint16, torch.uint32, torch.uint64)


def checked_flags(flags: Tensor | NDArray[Any], num_axes: int | None) -> Tensor:
    """Cell flags as a new contiguous uint8 tensor where they are.

    Raises:
        TypeError: If they are no integers.
        ValueError: If a value is not 0 to 3, there is no fluid, or the axes do not fit.
    """
    given = _integers(flags)
    count = given.ndim if num_axes is None else num_axes
    if count not in (2, 3) or given.ndim < count:
        raise ValueError(
            f"PoissonOperator: expected flags of two or three axes, got {tuple(given.shape)} "
            f"with num_axes={num_axes}; leading axes of a batch of geometries need num_axes"
        )
    if given.numel() == 0:
        raise ValueError(
            f"PoissonOperator: expected at least one cell, got flags of shape "
            f"{tuple(given.shape)}; there is nothing to solve"
        )
    low, high = map(int, torch.aminmax(given))
    if not 0 <= low <= high <= 3:
        raise ValueError(
            f"PoissonOperator: expected flags 0 or 1 (solid), 2 (fluid) and 3 (air), got "
            f"values from {low} to {high}; translate them"
        )
    cells = given.to(torch.uint8, memory_format=torch.contiguous_format, copy=True)
    if not bool((cells == 2).flatten(-count).any(-1).all()):
        raise ValueError(
            "PoissonOperator: expected at least one fluid cell (flag 2) in each geometry, got "
            "none; there is no pressure to solve for"
        )
    return cells


def _integers(flags: Tensor | NDArray[Any]) -> Tensor:
    """Flags of a type that torch can compare."""
    if isinstance(flags, np.ndarray) and flags.dtype.kind in "iu":
        # torch knows little of wide unsigned types and nothing of foreign byte orders
        is_narrow = flags.dtype.itemsize == 1
        return torch.from_numpy(np.array(flags) if is_narrow else flags.astype(np.int64))
    if isinstance(flags, Tensor) and flags.dtype in _WIDE:
        return flags.long()
    if isinstance(flags, Tensor) and flags.dtype in _NARROW:
        return flags
    raise TypeError(
        "PoissonOperator: expected integer flags (0 or 1 solid, 2 fluid, 3 air) as tensor or "
        f"NumPy array, got {getattr(flags, 'dtype', type(flags).__name__)}; convert them, e.g. "
        "(1 + fluid).astype('uint8') for a mask"
    )


def checked_spacing(
    spacing: float | Sequence[float], num_axes: int, dtype: torch.dtype
) -> tuple[float, ...]:
    """One grid spacing per axis.

    Raises:
        ValueError: If one is not positive and finite, 1 / h² leaves the range of `dtype`, or
            their number differs.
    """
    try:
        values = np.asarray(spacing, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)  # refused below, in the same words
    per_axis = tuple(np.broadcast_to(values, (num_axes,)).tolist()) if values.ndim == 0 else ()
    per_axis = per_axis or tuple(values.ravel().tolist())
    if len(per_axis) != num_axes or not all(0 < h < math.inf for h in per_axis):
        raise ValueError(
            f"PoissonOperator: expected one positive spacing, or one for each of {num_axes} "
            f"axes, got {spacing}; it is the width of a cell along each axis"
        )
    limits = torch.finfo(dtype)
    if not all(limits.tiny**0.5 < 1 / h < limits.max**0.5 / _MARGIN for h in per_axis):
        raise ValueError(
            f"PoissonOperator: expected a spacing h for which {dtype} holds 1 / h², got "
            f"{spacing}; choose another unit of length, or float64"
        )
    return per_axis


def checked_coefficients(coefficients: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Cell coefficients κ > 0.

    Raises:
        ValueError: If their shape differs or one is not positive and finite.
    """
    if tuple(coefficients.shape) != shape:
        raise ValueError(
            f"PoissonOperator: expected coefficients of the shape of the flags {shape}, got "
            f"{tuple(coefficients.shape)}; give one per cell"
        )
    values = coefficients.detach()
    bad = int((~((values > 0) & torch.isfinite(values))).sum())
    if bad:
        raise ValueError(
            f"PoissonOperator: expected positive and finite coefficients, got {bad} others; "
            "give cells without a coefficient (solid, air) any positive number"
        )
    return coefficients


def checked_fractions(
    fractions: Sequence[Tensor], shape: tuple[int, ...], num_axes: int
) -> tuple[Tensor, ...]:
    """Open fractions of all faces, one tensor per axis.

    Raises:
        ValueError: If their number or a shape differs, or one is not in [0, 1].
    """
    expected = face_shapes(shape, num_axes)
    found = [tuple(fraction.shape) for fraction in fractions]
    if found != expected:
        raise ValueError(
            f"PoissonOperator: expected face_fraction of shapes {expected}, one per axis with "
            f"one face more than cells along it, got {found}; faces lie between the cells and "
            "on both ends"
        )
    for axis, fraction in enumerate(fractions):
        values = fraction.detach()
        bad = int((~((values >= 0) & (values <= 1))).sum())
        if bad:
            raise ValueError(
                f"PoissonOperator: expected face_fraction between 0 and 1, got {bad} others on "
                f"axis {axis}; it is the open part of a face's area"
            )
    return tuple(fractions)


def face_shapes(shape: tuple[int, ...], num_axes: int) -> list[tuple[int, ...]]:
    """Shapes of the faces across each axis: one face more than cells along it."""
    axes = range(len(shape) - num_axes, len(shape))
    return [tuple(n + (k == axis) for k, n in enumerate(shape)) for axis in axes]


def as_tensor(
    name: str, value: Tensor | NDArray[Any], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """A real array in the precision of the operator; tensors have to be where it is.

    Raises:
        TypeError: If it is not floating-point, or a tensor on another device.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return torch.from_numpy(value.astype(np.float64)).to(device, dtype)
    if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
        got = getattr(value, "dtype", type(value).__name__)
        raise TypeError(
            f"PoissonOperator: expected real floating-point {name} as tensor or NumPy array, "
            f"got {got}; convert it, e.g. with .to(torch.float64)"
        )
    if value.device != device:
        raise TypeError(
            f"PoissonOperator: expected {name} on {device}, where the flags are, got "
            f"{value.device}; move one with .to()"
        )
    return value.to(dtype)


def as_sequence(name: str, value: Any) -> Sequence[Any]:
    """A sequence of arrays, one per axis.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(value, Sequence):
        raise TypeError(
            f"PoissonOperator: expected {name} as a sequence of arrays, one per axis, got "
            f"{type(value).__name__}; put them into a list"
        )
    return value


def as_field(array: NDArray[Any], device: torch.device) -> Tensor:
    """A NumPy field where the operator is, of the array's own precision.

    Raises:
        TypeError: If it is not float32 or float64.
    """
    native = array.dtype.newbyteorder("=")
    if native not in (np.float32, np.float64):
        raise TypeError(
            f"PoissonOperator: expected a field of float32 or float64, got {array.dtype}; "
            "convert it with .astype()"
        )
    return torch.from_numpy(np.array(array, dtype=native)).to(device)
