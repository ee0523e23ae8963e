"""Axes of The Well's layout: times of the frames, and the box behind the points of a grid.

Source: R. Ohana et al., The Well, 2024, arXiv:2412.00568; layout as described by its data
format document.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.hdf5 import texts
from sciml.domain import GridKind

_DOUBLE_DIGITS, _SINGLE_DIGITS = 15, 7


def read_times(dataset: Any, num_trajectories: int) -> NDArray[np.float64]:
    """Time of each frame, (1, T) or (B, T).

    Raises:
        ValueError: If there are none, some are not finite, or the shape is another.
    """
    times = np.asarray(dataset[()], np.float64)
    if (
        times.ndim not in (1, 2)
        or times.size == 0
        or (times.ndim == 2 and len(times) not in (1, num_trajectories))
        or not np.isfinite(times).all()
    ):
        raise ValueError(
            f"open_source: expected finite times of shape (T) or ({num_trajectories}, T) in "
            f"{dataset.name} of {dataset.file.filename}, got shape {times.shape}; the file "
            "contradicts itself, generate or download it again"
        )
    return np.atleast_2d(times)


@final
@dataclass(frozen=True)
class Line:
    """Coordinates along one axis.

    Args:
        points: The coordinates.
        digits: Significant digits that they are stored with.
        stated: Ends and kind of the grid as our own files state them.
    """

    points: NDArray[np.float64]
    digits: int
    stated: tuple[float, float, GridKind] | None = None

    @property
    def spacing(self) -> float:
        """Mean distance of neighbours, negative where the axis runs downwards."""
        if len(self.points) == 1:
            return 1.0
        return float(self.points[-1] - self.points[0]) / (len(self.points) - 1)

    @property
    def even(self) -> bool:
        """Whether the points ascend in equal steps."""
        equal = np.allclose(np.diff(self.points), self.spacing, rtol=1e-3, atol=0.0)
        return bool(equal) and self.spacing > 0

    def ends(self, periodic: bool) -> tuple[float, float, GridKind]:
        """Lower end, upper end and grid kind.

        The layout stores points, not the box. Where a file does not state it, points that begin
        half a spacing above zero are cell centres; otherwise they are vertices, and a periodic
        axis ends one spacing behind the last.
        """
        if self.stated is not None:
            return self.stated
        first, last = float(self.points.min()), float(self.points.max())
        spacing = abs(self.spacing)
        cell = self.even and math.isclose(first, spacing / 2, rel_tol=1e-3)
        if cell:
            first, last = first - spacing / 2, last + spacing / 2
        elif periodic or len(self.points) == 1:
            last += spacing
        # a box of length 1 must not become 0.99999994 because its points are stored in float32
        decimals = self.digits - 1 - math.floor(math.log10(last - first))
        return round(first, decimals), round(last, decimals), "cell" if cell else "vertex"


def read_line(dataset: Any) -> Line:
    """Coordinates of an axis; those of the first trajectory and frame where they vary.

    Raises:
        ValueError: If they are no distinct finite numbers, or lie outside of the stated box.
    """
    values = np.asarray(dataset[()])
    points = values.reshape(-1, values.shape[-1] if values.ndim else 1)[:1].reshape(-1)
    sound = points.dtype.kind in "iuf" and points.size and np.isfinite(points).all()
    if not sound or (len(points) > 1 and np.ptp(points.astype(np.float64)) == 0.0):
        raise ValueError(
            f"open_source: expected distinct finite coordinates in {dataset.name} of "
            f"{dataset.file.filename}, got shape {values.shape} and dtype {values.dtype}; the "
            "file is damaged, generate or download it again"
        )
    digits = _SINGLE_DIGITS if points.dtype.itemsize < 8 else _DOUBLE_DIGITS
    line = points.astype(np.float64)
    return Line(line, digits, _stated_ends(dataset, line))


def _stated_ends(
    dataset: Any, points: NDArray[np.float64]
) -> tuple[float, float, GridKind] | None:
    """Ends and kind of the grid from the attributes of our own files."""
    if not {"low", "high", "grid"} <= set(dataset.attrs):
        return None
    low, high = (float(dataset.attrs[name]) for name in ("low", "high"))
    kind = "".join(texts(dataset.attrs["grid"]))
    slack = 1e-3 * (high - low)
    inside = low - slack <= points.min() and points.max() <= high + slack
    if kind not in ("vertex", "cell") or not inside:
        raise ValueError(
            f"open_source: expected points of a vertex or cell grid within the box that "
            f"{dataset.name} of {dataset.file.filename} states, got the kind {kind!r} and "
            f"points from {points.min()} to {points.max()} for [{low}, {high}]; correct the "
            "attributes low, high and grid"
        )
    return low, high, "cell" if kind == "cell" else "vertex"
