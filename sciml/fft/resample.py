"""Band-limited resampling between grids of the same box.

A field is taken as the combination of cosines or sines that interpolates it, and that
combination is evaluated on the other grid. Growing is exact interpolation; shrinking first
drops the modes that the new grid cannot hold, so nothing aliases. Which modes interpolate is a
matter of the boundary and of where the points lie:

=========== ============================ ================================= =================
boundary    grid                         points of [0, 1], j = 0 … n-1     modes
=========== ============================ ================================= =================
periodic    vertex (low end, not high)   j/n                               Fourier
periodic    cell (centres)               (j + ½)/n                         Fourier
neumann     vertex (both ends)           j/(n-1)                           cosines, type I
neumann     cell                         (j + ½)/n                         cosines, type II
dirichlet   interior (vertices, no ends) (j + 1)/(n+1)                     sines, type I
dirichlet   vertex (both ends)           j/(n-1)                           line + sines, type I
dirichlet   cell                         (j + ½)/n                         sines, type II
=========== ============================ ================================= =================
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional

from sciml.fft.transforms import compute_dtype, irfftn, rfftn
from sciml.fft.trigonometric import dct, dst, idct, idst

Boundary = Literal["periodic", "neumann", "dirichlet"]
GridPoints = Literal["vertex", "cell", "interior"]

_Choice = TypeVar("_Choice", bound=str)

# Fewest points of each pair; a Dirichlet vertex grid needs one point between its ends.
_FEWEST: dict[tuple[Boundary, GridPoints], int] = {
    ("periodic", "vertex"): 1,
    ("periodic", "cell"): 1,
    ("neumann", "vertex"): 2,
    ("neumann", "cell"): 1,
    ("dirichlet", "interior"): 1,
    ("dirichlet", "vertex"): 3,
    ("dirichlet", "cell"): 1,
}


def resample(
    u: Num[Tensor, "..."],
    shape: Sequence[int],
    *,
    boundary: Boundary | Sequence[Boundary],
    grid: GridPoints | Sequence[GridPoints],
) -> Float[Tensor, "..."]:
    """Evaluate the band-limited interpolant of a field on another grid of the same kind.

    Args:
        u: Real field; its trailing `len(shape)` axes are resampled.
        shape: New number of points for each of these axes, counted as `u` counts them.
        boundary: ``"periodic"``, ``"neumann"`` (zero slope) or ``"dirichlet"`` (zero value;
            given values on a vertex grid, where they are part of the field), for all axes or
            one per axis.
        grid: ``"vertex"``, ``"cell"`` or, for Dirichlet axes stored without their ends,
            ``"interior"``; for all axes or one per axis. The module's table has the points.

    Returns:
        The field on the new grid, dtype unchanged (half precision is computed in float32).

    Raises:
        TypeError: If `u` is not real floating point.
        ValueError: If `shape` does not fit `u`, a boundary and a grid do not go together, or a
            grid is too small for them.
    """
    axes = _trailing_axes("resample", u, shape)
    boundaries = _per_axis("boundary", boundary, ["periodic", "neumann", "dirichlet"], shape)
    grids = _per_axis("grid", grid, ["vertex", "cell", "interior"], shape)
    for axis, size, pair in zip(axes, shape, zip(boundaries, grids, strict=True), strict=True):
        if pair not in _FEWEST:
            raise ValueError(
                f"resample: expected interior points on a dirichlet axis only, got a {pair[0]} "
                f"boundary on axis {axis}; name that grid vertex or cell"
            )
        if min(size, u.shape[axis]) < _FEWEST[pair]:
            raise ValueError(
                f"resample: expected at least {_FEWEST[pair]} points on axis {axis} "
                f"({pair[0]}, {pair[1]}), got {u.shape[axis]} and {size}; choose a larger grid"
            )
    dtype, v = u.dtype, u.to(compute_dtype("resample", u))
    # The operator is a tensor product of one-dimensional ones; shrinking axes go first,
    # because the others then have less to do.
    for i in sorted(range(len(axes)), key=lambda i: shape[i] / u.shape[axes[i]]):
        if shape[i] != u.shape[axes[i]]:
            v = _along(v, axes[i], shape[i], boundaries[i], grids[i])
    return v.to(dtype)


def fourier_resample(u: Num[Tensor, "..."], shape: Sequence[int]) -> Float[Tensor, "..."]:
    """Evaluate the trigonometric interpolant of a periodic field on another vertex grid.

    Refinement is exact interpolation: the old points keep their values where the grids share
    them. Coarsening drops the modes that the new grid cannot hold before sampling, so nothing
    aliases. The Nyquist mode of an even grid is ½(+n/2) + ½(-n/2): it is split in two when an
    axis grows, and the two are added when an axis shrinks to an even size; a real field stays
    real on every parity.

    Args:
        u: Real field whose trailing `len(shape)` axes are periodic, first point at the low end.
        shape: New number of points for each of these axes.

    Returns:
        The field on the new grid, dtype unchanged (half precision is computed in float32).

    Raises:
        TypeError: If `u` is not real floating point.
        ValueError: If `shape` has more axes than `u`, none, or an empty one.
    """
    _trailing_axes("fourier_resample", u, shape)
    return resample(u, shape, boundary="periodic", grid="vertex")


def _trailing_axes(function: str, u: Tensor, shape: Sequence[int]) -> list[int]:
    """The trailing axes that a shape names, counted from the end."""
    if not 0 < len(shape) <= u.ndim or min(shape) < 1:
        raise ValueError(
            f"{function}: expected 1 to {u.ndim} positive sizes for a field of shape "
            f"{tuple(u.shape)}, got {tuple(shape)}; give one size per trailing axis"
        )
    return list(range(-len(shape), 0))


def _per_axis(
    name: str, choice: _Choice | Sequence[_Choice], choices: Sequence[str], shape: Sequence[int]
) -> list[_Choice]:
    """One choice per axis, from one for all or a sequence."""
    named = [choice] * len(shape) if isinstance(choice, str) else list(choice)
    if len(named) != len(shape) or not set(named) <= set(choices):
        raise ValueError(
            f"resample: expected {name} to be one of {choices}, or a sequence of them for "
            f"{len(shape)} axes, got {choice!r}; name each axis's own"
        )
    return named


def _along(u: Tensor, axis: int, size: int, boundary: Boundary, grid: GridPoints) -> Tensor:
    """Resample one axis to another size."""
    if boundary == "periodic":
        return _fourier(u, axis, size, 0.5 if grid == "cell" else 0.0)
    if boundary == "neumann":
        kind: Literal[1, 2] = 2 if grid == "cell" else 1
        modes = dct(u, kind, (axis,), norm="forward")
        # Type I counts its last cosine once, all others (but the constant) twice.
        modes = _resize(modes, axis, size, single_last=kind == 1)
        return idct(modes, kind, (axis,), norm="forward")
    if grid == "vertex":
        return _between_ends(u, axis, size)
    kind = 2 if grid == "cell" else 1
    # Type II counts its last sine once, all others twice.
    modes = _resize(dst(u, kind, (axis,), norm="forward"), axis, size, single_last=kind == 2)
    return idst(modes, kind, (axis,), norm="forward")


def _between_ends(u: Tensor, axis: int, size: int) -> Tensor:
    """Sines on top of the straight line between the end values, which stay as they are."""
    old = u.shape[axis]
    low, high = u.narrow(axis, 0, 1), u.narrow(axis, old - 1, 1)
    step = torch.linspace(0, 1, old, dtype=u.dtype, device=u.device)[1:-1]
    new_step = torch.linspace(0, 1, size, dtype=u.dtype, device=u.device)[1:-1]
    ones = [1] * (-axis - 1)
    inside = u.narrow(axis, 1, old - 2) - torch.lerp(low, high, step.view(-1, *ones))
    inside = _along(inside, axis, size - 2, "dirichlet", "interior")
    return torch.cat(
        (low, inside + torch.lerp(low, high, new_step.view(-1, *ones)), high), axis
    )


def _resize(modes: Tensor, axis: int, size: int, *, single_last: bool) -> Tensor:
    """Drop the highest modes or append zeros.

    Args:
        modes: Coefficients; every mode's contribution is twice its coefficient.
        axis: Axis of the modes, counted from the end.
        size: New number of modes.
        single_last: The highest mode of a grid, old or new, contributes once instead.
    """
    old = modes.shape[axis]
    kept = min(old, size)
    resized = functional.pad(
        modes.narrow(axis, 0, kept), (0, 0) * (-axis - 1) + (0, size - kept)
    )
    if not single_last or size == old:
        return resized
    scale = resized.new_ones(size)
    scale[kept - 1] = 0.5 if size > old else 2.0
    return resized * scale.view(-1, *[1] * (-axis - 1))


def _fourier(u: Tensor, axis: int, size: int, offset: float) -> Tensor:
    """Fourier resampling of points (j + offset)/n.

    The Nyquist mode of an even grid is ½(+n/2) + ½(-n/2): it is split in two when the axis
    grows, and the two are added when it shrinks to an even size; a real field stays real.
    """
    old = u.shape[axis]
    bins = rfftn(u, (axis,), norm="forward").movedim(axis, -1)
    kept = min(size, old)
    resized = functional.pad(bins[..., : kept // 2 + 1], (0, size // 2 - kept // 2))
    if kept % 2 == 0:
        scale = resized.real.new_ones(resized.shape[-1])
        # The inverse counts the Nyquist bin of an even grid once, every other bin twice (for
        # its mirror image).
        scale[kept // 2] = 0.5 if size > old else 2.0
        resized = resized * scale
    if offset:
        # Both grids' first points lie off the origin, by different amounts.
        index = torch.arange(resized.shape[-1], dtype=u.dtype, device=u.device)
        angle = index * (2 * math.pi * offset * (1 / size - 1 / old))
        resized = resized * torch.polar(torch.ones_like(angle), angle)
    return irfftn(resized.movedim(-1, axis), (axis,), (size,), norm="forward")
