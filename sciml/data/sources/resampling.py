"""How a grid becomes another one, and whether a method fits it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from sciml.fft.resample import Boundary, resample
from sciml.spec import DatasetSpec

PICKS = ("pick", "center", "mean")
"""Methods that take one value of every r neighbours on an axis."""

BOUNDED: dict[str, Boundary | None] = {
    "fourier": None,
    "cosine": "neumann",
    "sine": "dirichlet",
}
"""Boundary of the bounded axes of methods that interpolate; fourier has none."""

Count = int | Sequence[int]
"""A number for all axes, or one per axis."""


@final
class Picked:
    """One value of every r neighbours.

    Args:
        method: ``"pick"``, ``"center"`` or ``"mean"``.
        ratios: Number r of old points to a new one, per axis.
    """

    def __init__(self, method: str, ratios: tuple[int, ...]) -> None:
        self.ratios = ratios
        self.mean = method == "mean"
        first = [r // 2 if method == "center" else 0 for r in ratios]
        self.index: Any = (
            ...,
            *(slice(a, None, r) for a, r in zip(first, ratios, strict=True)),
        )

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (…, *space) on the new grid."""
        if not self.mean:
            picked: NDArray[np.float32] = values[self.index]
            return picked
        lead, space = values.shape[: -len(self.ratios)], values.shape[-len(self.ratios) :]
        blocks = [n for pair in zip(space, self.ratios, strict=True) for n in _split(*pair)]
        inner = tuple(range(len(lead) + 1, len(lead) + len(blocks), 2))
        means = np.mean(values.reshape(*lead, *blocks), axis=inner, dtype=np.float64)
        return np.asarray(means, np.float32)


@final
class Interpolated:
    """The band-limited interpolant on another grid.

    Args:
        spec: Description of the old grid.
        shape: New grid.
        method: ``"fourier"``, ``"cosine"`` or ``"sine"``.

    Raises:
        ValueError: If an axis that changes has another boundary than the method is for.
    """

    def __init__(self, spec: DatasetSpec, shape: tuple[int, ...], method: str) -> None:
        bounded = BOUNDED[method]
        changes = [old != new for old, new in zip(spec.resolution, shape, strict=True)]
        changed = [p for p, change in zip(spec.periodic, changes, strict=True) if change]
        if bounded is None and not all(changed):
            axis = next(
                a
                for a, p, c in zip(spec.axes, spec.periodic, changes, strict=True)
                if c and not p
            )
            raise ValueError(
                f"open_dataset: expected periodic axes to resample by fourier, got the bounded "
                f"axis {axis!r} of {spec.name}; use cosine where the slope vanishes at the "
                "ends, sine where values are given there, or pick"
            )
        if bounded is not None and changed and all(changed):
            raise ValueError(
                f"open_dataset: expected a bounded axis to resample by {method}, got periodic "
                f"ones only in {spec.name}; use fourier"
            )
        self.shape = shape
        self.grid = spec.grid
        self.boundary: list[Boundary] = [
            "periodic" if p or bounded is None else bounded for p in spec.periodic
        ]

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (…, *space) on the new grid."""
        new = resample(
            torch.from_numpy(values), self.shape, boundary=self.boundary, grid=self.grid
        )
        return new.numpy()


def _split(size: int, ratio: int) -> tuple[int, int]:
    """New cells, and old cells in each."""
    return size // ratio, ratio


def per_axis(name: str, value: Count | None, spec: DatasetSpec) -> tuple[int, ...]:
    """One positive number per axis.

    Raises:
        ValueError: If there is another number of them, or one is below one.
    """
    numbers = (value,) * spec.ndim if isinstance(value, int) else tuple(value or ())
    if len(numbers) != spec.ndim or min(numbers) < 1:
        raise ValueError(
            f"open_dataset: expected a positive {name} to resample, for all or each of the "
            f"axes {spec.axes}, got {value}; correct it"
        )
    return numbers


def _ends(spec: DatasetSpec, axis: int) -> int:
    """Points of an axis that count twice: 1 where both ends are grid points."""
    return int(spec.grid[axis] == "vertex" and not spec.periodic[axis])


def strided(spec: DatasetSpec, axis: int, stride: int) -> int:
    """Points that are left of an axis.

    Raises:
        ValueError: If the stride does not divide the intervals of the axis.
    """
    intervals, ends = spec.resolution[axis] - _ends(spec, axis), _ends(spec, axis)
    if intervals % stride:
        kind = f"{'periodic' if spec.periodic[axis] else 'bounded'} {spec.grid[axis]}"
        raise ValueError(
            f"open_dataset: expected a stride that divides {intervals} on the {kind} axis "
            f"{spec.axes[axis]!r} of {spec.resolution[axis]} points, got {stride}; take a "
            "divisor, or a size with method fourier, cosine or sine"
        )
    return intervals // stride + ends


def ratio(spec: DatasetSpec, axis: int, size: int, method: str) -> int:
    """Old points to a new one.

    Raises:
        ValueError: If sizes are not multiples, or the method does not fit grid or ratio.
    """
    old, ends = spec.resolution[axis], _ends(spec, axis)
    if size == old:
        return 1
    if size <= ends or (old - ends) % (size - ends):
        raise ValueError(
            f"open_dataset: expected a size of which {old} points on axis {spec.axes[axis]!r} "
            f"are a multiple to resample by {method}, got {size}; use fourier, cosine or sine "
            "for any size"
        )
    found = (old - ends) // (size - ends)
    if method != "pick" and spec.grid[axis] == "vertex":
        raise ValueError(
            f"open_dataset: expected a cell grid to resample by {method}, got the vertex grid "
            f"of axis {spec.axes[axis]!r}; use pick"
        )
    if method == "center" and found % 2 == 0:
        raise ValueError(
            f"open_dataset: expected an odd ratio to resample by center, got {found} on axis "
            f"{spec.axes[axis]!r}, where no cell is in the middle; use mean or pick"
        )
    return found


def moved(spec: DatasetSpec, ratios: tuple[int, ...]) -> DatasetSpec:
    """The box whose coarse cells have their centres where the first of r cells had them."""
    shifts = [
        0.5 * (r - 1) * h if kind == "cell" else 0.0
        for r, h, kind in zip(
            ratios, spec.domain.spacing(spec.resolution, spec.grid), spec.grid, strict=True
        )
    ]
    low = tuple(a - s for a, s in zip(spec.domain.low, shifts, strict=True))
    high = tuple(b - s for b, s in zip(spec.domain.high, shifts, strict=True))
    return replace(spec, domain=replace(spec.domain, low=low, high=high))
