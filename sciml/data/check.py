"""Looking through a data set: what was understood, what is wrong with it, and its extremes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from sciml.data.sources.base import Source
from sciml.data.sources.files import container_of, find_files
from sciml.data.sources.hdf5 import open_hdf5
from sciml.data.sources.well import is_well
from sciml.data.sources.well_check import check_well_file
from sciml.data.statistics import ChannelStatistics
from sciml.spec import FieldSpec
from sciml.typing import StrPath

_BLOCK_BYTES = 2**26
_MOST_PLACES = 20  # of values that are not finite; a broken file may have millions


@final
@dataclass
class Scan:
    """What a pass over all values found.

    Args:
        statistics: By the name of the field, over the frames that are finite; None where there
            are none.
        bad_frames: Number of frames that are not finite.
        places: Where the first of them are: file, trajectory and frame, field, and how many
            values are NaN and infinite.
    """

    statistics: dict[str, ChannelStatistics | None] = field(default_factory=dict)
    bad_frames: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, item: FieldSpec, frames: NDArray[np.float32], first: int, where: str) -> None:
        """Take in frames (t, c, *space) of one field.

        Args:
            item: The field.
            frames: Its values.
            first: Number of the first frame.
            where: File and trajectory.
        """
        finite = np.isfinite(frames).reshape(len(frames), -1).all(axis=1)
        for number in np.flatnonzero(~finite).tolist():
            self.bad_frames += 1
            if len(self.places) < _MOST_PLACES:
                nan, infinite = np.isnan(frames[number]), np.isinf(frames[number])
                self.places.append(
                    f"{where}, frame {first + number}: {item.name} has {nan.sum()} NaN and "
                    f"{infinite.sum()} infinite of {nan.size} values"
                )
        known = self.statistics.setdefault(item.name, None)
        if finite.any() and frames.size:
            block = ChannelStatistics.of(torch.from_numpy(frames[finite]))
            self.statistics[item.name] = block if known is None else known.merge(block)


def scan(source: Source, progress: Callable[[int], object] | None = None) -> Scan:
    """Read every value once, in constant memory.

    Args:
        source: The data set.
        progress: Called with the number of trajectories finished since the last call.

    Returns:
        Statistics of each field, and the places of values that are not finite.
    """
    result = Scan()
    for number in range(source.num_trajectories):
        where = source.locate(number)
        for fields, first, frames in _blocks(source, number):
            channel = 0
            for item in fields:
                stop = channel + item.components
                result.add(item, frames[:, channel:stop], first, where)
                channel = stop
        if progress is not None:
            progress(1)
    return result


def _blocks(
    source: Source, number: int
) -> Iterator[tuple[tuple[FieldSpec, ...], int, NDArray[np.float32]]]:
    """Fields, first frame and values (t, c, *space) of all that a trajectory holds."""
    spec = source.spec
    space = (source.num_points(number),) if spec.unstructured else spec.resolution
    frame_bytes = 4 * spec.frame_channels * int(np.prod(space))
    steps = source.num_steps(number)
    length = min(max(_BLOCK_BYTES // max(frame_bytes, 1), 1), steps)
    for start in range(0, steps, length):
        stop = min(start + length, steps)
        frames = np.empty((stop - start, spec.frame_channels, *space), np.float32)
        source.read(number, start, stop, 1, frames)
        yield spec.in_fields, start, frames
    if spec.paired:
        targets = np.empty((1, spec.out_channels, *space), np.float32)
        source.read_targets(number, targets[0])
        yield spec.out_fields, 0, targets
    if source.static_fields:
        channels = sum(item.components for item in source.static_fields)
        static = np.empty((1, channels, *space), np.float32)
        source.read_static(number, static[0])
        yield source.static_fields, 0, static


def summarise(source: Source) -> list[str]:
    """What was understood of a data set, line by line."""
    spec = source.spec
    kind = "point clouds" if spec.unstructured else "grid"
    kind += " of pairs" if spec.paired else " of trajectories"
    lines = [source.describe(), f"kind: {kind}, {source.num_trajectories} of them"]
    grid = spec.grid or ("points",) * spec.ndim
    for axis, low, high, periodic, layout in zip(
        spec.axes, spec.domain.low, spec.domain.high, spec.periodic, grid, strict=True
    ):
        closed = "periodic" if periodic else "bounded"
        lines.append(f"axis {axis}: {low:g} to {high:g}, {closed}, {layout}")
    lines.append(f"resolution: {' x '.join(map(str, spec.resolution))}")
    lines.append(f"inputs: {_field_text(spec.in_fields)}")
    if spec.paired:
        lines.append(f"outputs: {_field_text(spec.out_fields)}")
    if source.static_fields:
        lines.append(f"static: {_field_text(source.static_fields)}")
    lengths = source.lengths
    dt = "unknown" if spec.dt is None else f"{spec.dt:g}"
    lines.append(f"frames: {lengths.min()} to {lengths.max()}, time step {dt}")
    for name, value in spec.constants.items():
        lines.append(f"parameter {name}: {value:g} everywhere")
    if spec.params:
        values = np.stack([source.params(i) for i in range(source.num_trajectories)], axis=1)
        for name, column in zip(spec.params, values, strict=True):
            lines.append(
                f"parameter {name}: {column.min():g} to {column.max():g}, "
                f"{len(np.unique(column))} different values"
            )
    for name, span in source.splits.items():
        lines.append(f"split {name}: trajectories {span.start} to {span.stop - 1}")
    if source.split_preset is not None:
        lines.append(f"published split: {source.split_preset}")
    return lines


def _field_text(fields: tuple[FieldSpec, ...]) -> str:
    kinds = ("scalar", "vector", "tensor")
    return ", ".join(
        f"{item.name} ({kinds[item.rank]}{', ' + item.units if item.units else ''})"
        for item in fields
    )


def layout_departures(path: StrPath) -> list[str]:
    """Departures from The Well's layout of the files at a path, each with the file in front.

    Files of other formats are not looked at.
    """
    found = []
    for file in (file for group in find_files(path).values() for file in group):
        if container_of(file) != "hdf5":
            continue
        with open_hdf5(file) as opened:
            ours = is_well(opened)
        if ours:
            found += [f"{file}: {line}" for line in check_well_file(file)]
    return found
