"""A data set on a coarser or finer grid, resampled as it is read."""

from collections.abc import Callable, Sequence
from typing import TypedDict, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import Source
from sciml.data.sources.resampling import (
    BOUNDED,
    PICKS,
    Count,
    Interpolated,
    Picked,
    moved,
    per_axis,
    ratio,
    strided,
)
from sciml.data.sources.wrapped import WrappedSource
from sciml.spec import DatasetSpec


class ResampleOptions(TypedDict, total=False):
    """Options of `ResampledSource`: a stride or a size, and the method."""

    stride: int | Sequence[int] | None
    size: int | Sequence[int] | None
    method: str


@final
class ResampledSource(WrappedSource):
    """Another source on another grid of the same box, static and output fields included.

    =========== ================= ==========================================================
    method      grids             value at a new point
    =========== ================= ==========================================================
    ``pick``    vertex and cell   every r-th value, beginning with the first, as ``u[::r]``
    ``center``  cell, odd r       the value of the cell in the middle of r
    ``mean``    cell              the mean of r cells, exact for cell averages
    ``fourier`` periodic axes     the Fourier interpolant
    ``cosine``  zero slope        cosines on bounded axes, Fourier on periodic ones
    ``sine``    given values      sines on bounded axes, Fourier on periodic ones
    =========== ================= ==========================================================

    The interpolants are those of `sciml.fft.resample`: growing is exact interpolation, and
    shrinking first removes the modes that the coarse grid cannot hold, so that nothing aliases.
    The first three methods alias on purpose, as the benchmarks' own loaders do. Picking the
    first of r cells moves all points by half of r - 1 cells, and the box of `spec` with them,
    so that coordinates stay true.

    Args:
        source: The source on its own grid.
        stride: Ratio r of old to new points, for all axes or one per axis. On a bounded vertex
            axis n points become (n - 1)/r + 1, else n/r.
        size: New number of points instead of `stride`, for all axes or one per axis.
        method: One of the table.

    Raises:
        ValueError: If the method does not fit grid or boundary, the points do not divide, both
            or neither of `stride` and `size` are given, or the source holds point clouds.
    """

    def __init__(
        self,
        source: Source,
        *,
        stride: Count | None = None,
        size: Count | None = None,
        method: str = "pick",
    ) -> None:
        super().__init__(source)
        spec = source.spec
        if spec.unstructured:
            raise ValueError(
                f"open_dataset: expected fields on a grid to resample, got the point clouds of "
                f"{spec.name}; leave resample out"
            )
        if method not in (*PICKS, *BOUNDED):
            raise ValueError(
                f"open_dataset: expected a method of {(*PICKS, *BOUNDED)} to resample, got "
                f"{method!r}; use one of these"
            )
        if (stride is None) == (size is None):
            raise ValueError(
                f"open_dataset: expected resample to have either stride or size, got {stride=} "
                f"and {size=}; give one of them"
            )
        if stride is None:
            shape = per_axis("size", size, spec)
        else:
            strides = per_axis("stride", stride, spec)
            shape = tuple(strided(spec, axis, r) for axis, r in enumerate(strides))
        self._apply: Callable[[NDArray[np.float32]], NDArray[np.float32]]
        if method in PICKS:
            ratios = tuple(ratio(spec, axis, n, method) for axis, n in enumerate(shape))
            self._apply = Picked(method, ratios)
            self._spec = moved(spec, ratios).at(shape) if method == "pick" else spec.at(shape)
        else:
            self._apply = Interpolated(spec, shape, method)
            self._spec = spec.at(shape)
        self._method = method

    @property
    @override
    def spec(self) -> DatasetSpec:
        return self._spec

    @property
    @override
    def memory_mapped(self) -> bool:
        return False

    @property
    @override
    def fingerprint(self) -> str:
        return f"{self.source.fingerprint} {self._method} {self._spec.resolution}"

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        frames = np.empty((*out.shape[:2], *self.source.spec.resolution), np.float32)
        self.source.read(trajectory, start, stop, stride, frames)
        out[...] = self._apply(frames)

    @override
    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        targets = np.empty((len(out), *self.source.spec.resolution), np.float32)
        self.source.read_targets(trajectory, targets)
        out[...] = self._apply(targets)

    @override
    def read_static(self, trajectory: int, out: NDArray[np.float32]) -> None:
        static = np.empty((len(out), *self.source.spec.resolution), np.float32)
        self.source.read_static(trajectory, static)
        out[...] = self._apply(static)

    @override
    def describe(self) -> str:
        specs = (self.source.spec, self._spec)
        sizes = " to ".join("x".join(map(str, spec.resolution)) for spec in specs)
        return f"{self.source.describe()}\nresampled from {sizes} by {self._method}"
