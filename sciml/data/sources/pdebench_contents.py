"""What all of PDEBench's layouts have in common: axes, times, and a source made of them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import FileSource
from sciml.data.sources.hdf5 import HDF5Array, require
from sciml.data.sources.hdf5_arrays import LibraryArray
from sciml.data.sources.pdebench_family import Face
from sciml.data.sources.pdebench_setting import Setting
from sciml.domain import Box
from sciml.spec import DatasetSpec

AXES = ("x", "y", "z")
"""Axis names in array order."""

LAYOUTS = "one of PDEBench's layouts (its test cases such as Sod or KH come in another one)"
"""For messages."""

MOST_POINTS = 2**24
"""On one axis; keeps absurd sizes of damaged files from being allocated."""

_SINGLE_DIGITS = 7


def member(parent: Any, key: str) -> Any:
    """An array of numbers, or an error that names what is there.

    Raises:
        ValueError: If there is none.
    """
    found = require(parent, key, "dataset", LAYOUTS)
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "iuf":
        raise ValueError(
            f"open_source: expected an array of real numbers in {found.name} of "
            f"{found.file.filename}, got {getattr(found, 'dtype', 'a group')}; the file does "
            f"not follow {LAYOUTS}, download or generate it again"
        )
    return found


def check_shape(dataset: Any, expected: Sequence[int | None]) -> None:
    """Refuse an array of another shape; None stands for any length.

    Raises:
        ValueError: If the shape differs or an axis is empty.
    """
    got = tuple(dataset.shape)
    if len(got) != len(expected) or any(
        size == 0 or wanted not in (None, size)
        for size, wanted in zip(got, expected, strict=False)
    ):
        wanted_text = ", ".join("any" if n is None else str(n) for n in expected)
        raise ValueError(
            f"open_source: expected shape ({wanted_text}) of {dataset.name} in "
            f"{dataset.file.filename}, got {got}; the file contradicts itself, download or "
            "generate it again"
        )


def _line(dataset: Any, lengths: tuple[int, ...]) -> NDArray[np.float64]:
    """Coordinates that increase, of one of some lengths."""
    values = np.zeros(0)
    if dataset.ndim == 1 and dataset.shape[0] in lengths and max(lengths) <= MOST_POINTS:
        values = np.asarray(dataset[()], np.float64)
    if not (len(values) and np.all(np.isfinite(values)) and np.all(np.diff(values) > 0)):
        raise ValueError(
            f"open_source: expected {' or '.join(map(str, lengths))} increasing values of "
            f"{dataset.name} in {dataset.file.filename}, got shape {tuple(dataset.shape)}"
            f"{' that do not increase' if len(values) else ''}; download or generate it again"
        )
    return values


def cell_box(lines: Sequence[Any], resolution: tuple[int, ...], face: Face) -> Box:
    """Box around cell centres, which begin and end half a cell inside of it.

    Raises:
        ValueError: If coordinates do not fit the arrays or are not equidistant.
    """
    low, high = [], []
    for dataset, n in zip(lines, resolution, strict=True):
        centres = _line(dataset, (n,))
        width = (centres[-1] - centres[0]) / (n - 1) if n > 1 else 1.0
        if not np.allclose(np.diff(centres), width, rtol=1e-2, atol=0.0):
            raise ValueError(
                f"open_source: expected equidistant cell centres in {dataset.name} of "
                f"{dataset.file.filename}, got spacings from {np.diff(centres).min():.3g} to "
                f"{np.diff(centres).max():.3g}; PDEBench's grids are uniform, download or "
                "generate it again"
            )
        # the coordinates are float32: a box of length 1 must not become 0.99999994
        decimals = _SINGLE_DIGITS - 1 - math.floor(math.log10(n * width))
        low.append(round(float(centres[0] - width / 2), decimals) + 0.0)
        high.append(round(float(centres[-1] + width / 2), decimals) + 0.0)
    return Box(AXES[: len(lines)], tuple(low), tuple(high), (face == "periodic",) * len(lines))


def frame_times(dataset: Any, num_steps: int) -> NDArray[np.float64]:
    """Times of the stored frames; the generators write one more than there are frames."""
    return _line(dataset, (num_steps, num_steps + 1))[:num_steps]


@final
@dataclass(frozen=True)
class Contents:
    """One file, described.

    Args:
        path: The file.
        setting: What its arrays mean.
        resolution: Grid points per axis.
        scalars: PDE parameters, one value for each trajectory.
        times: Time of each frame, shape (1, T), or (B, T) where trajectories differ.
        num_trajectories: Trajectories in the file.
        role: Split that the file was published for, if known.
        split_preset: Split of the reference loader.
        remarks: First lines of `describe`.
    """

    path: Path
    setting: Setting
    resolution: tuple[int, ...]
    scalars: Mapping[str, NDArray[np.float64]]
    times: NDArray[np.float64]
    num_trajectories: int
    role: str = ""
    split_preset: str | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        size = self.path.stat().st_size
        if self.num_trajectories > size:  # before anything of that length is allocated
            raise ValueError(
                f"open_source: expected at least one byte for each trajectory of {self.path}, "
                f"got {self.num_trajectories} trajectories in {size} bytes; download or "
                "generate it again"
            )

    @property
    def spec(self) -> DatasetSpec:
        """Self-description of the file."""
        setting = self.setting
        paired = setting.in_fields != setting.out_fields
        return DatasetSpec(
            name=setting.name,
            domain=setting.domain,
            resolution=self.resolution,
            in_fields=setting.in_fields,
            out_fields=setting.out_fields,
            grid=setting.grid,
            dt=None if paired else _time_step(self.times),
        )


def _time_step(times: NDArray[np.float64]) -> float | None:
    """Mean time between frames, without the rounding error of single precision."""
    steps = times.shape[-1] - 1
    span = float(np.mean(times[:, -1] - times[:, 0]))
    return float(f"{span / steps:.6g}") if steps else None


def copy_frames(
    array: HDF5Array,
    lead: tuple[int, ...],
    frames: slice,
    out: NDArray[np.float32],
    frames_per_chunk: int,
) -> None:
    """Copy frames of an array (*lead, t, ...) into a buffer of the same axes without `lead`.

    Strided selections are slow in HDF5: where it does the reading, frames that share chunks are
    read whole and then strided, others one by one.
    """
    if frames.step == 1 or not isinstance(array, LibraryArray):
        array.read_into((*lead, frames), out)
    elif frames.step <= frames_per_chunk:
        block = array[(*lead, slice(frames.start, frames.stop))]
        np.copyto(out, block[:: frames.step], casting="same_kind")
    else:
        for row, frame in enumerate(range(frames.start, frames.stop, frames.step)):
            array.read_into((*lead, frame), out[row])


class PDEBenchSource(FileSource, ABC):
    """What the sources of the three layouts share.

    Args:
        contents: The file, described.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._spec = contents.spec
        self._lengths = np.full(contents.num_trajectories, contents.times.shape[-1], np.int64)

    @property
    @override
    def spec(self) -> DatasetSpec:
        return self._spec

    @property
    @override
    def paths(self) -> tuple[Path, ...]:
        return (self._contents.path,)

    @property
    @override
    def scalars(self) -> Mapping[str, NDArray[np.float64]]:
        return self._contents.scalars

    @property
    @override
    def role(self) -> str:
        return self._contents.role

    @property
    @override
    def split_preset(self) -> str | None:
        return self._contents.split_preset

    @property
    @override
    def lengths(self) -> NDArray[np.int64]:
        return self._lengths

    @override
    def times(self, trajectory: int) -> NDArray[np.float64]:
        times = self._contents.times
        row: NDArray[np.float64] = times[trajectory if len(times) > 1 else 0]
        return row

    @override
    def boundary(self, trajectory: int) -> NDArray[np.int64]:
        return self._contents.setting.boundary

    @abstractmethod
    def back_ends(self) -> Sequence[str]:
        """One line for each array: what it is, and what reads it and why."""

    @override
    def describe(self) -> str:
        return "\n".join((*self._contents.remarks, *self.back_ends()))
