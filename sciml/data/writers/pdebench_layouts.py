"""The arrays of PDEBench's layouts, laid out in a file before any field is written.

HDF5 only makes the file with its small arrays and the space of the large ones. Their values are
then written to where HDF5 put them, which takes no more memory than one block and meets a full
disk outside of HDF5, whose handles do not survive it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
import yaml
from numpy.typing import NDArray

from sciml.data.sources.base import Source
from sciml.data.sources.pdebench_family import DIFFUSION_REACTION
from sciml.data.sources.pdebench_flat import VELOCITIES
from sciml.data.sources.pdebench_setting import SETTING, setting_text
from sciml.spec import DatasetSpec

_PAGE = 4096
_FILE_OPTIONS = {
    "alignment_threshold": _PAGE,
    "alignment_interval": _PAGE,
    "locking": False,  # the temporary file is locked already, see `write_atomically`
}


@final
@dataclass(frozen=True)
class Region:
    """Where the frames of some channels go.

    Args:
        offsets: Byte in the file at which each trajectory begins.
        channels: Channels in the source's order.
        channels_last: Whether channels are the last axis on disk, else there is one without
            that axis.
        y_first: Whether the spatial axes are reversed on disk.
        origin: What is written: ``"frames"``, ``"targets"`` of pairs or ``"static"`` fields.
    """

    offsets: NDArray[np.int64]
    channels: slice
    channels_last: bool = False
    y_first: bool = False
    origin: str = "frames"

    def arrange(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames (t, c, *space) as they stand on disk."""
        chosen = block[:, self.channels]
        if self.y_first:
            space = tuple(range(chosen.ndim - 1, 1, -1))
            chosen = chosen.transpose(0, 1, *space)
        chosen = np.moveaxis(chosen, 1, -1) if self.channels_last else chosen[:, 0]
        return np.ascontiguousarray(chosen)


@final
@dataclass(frozen=True)
class Selection:
    """What is written.

    Args:
        source: Where it is read.
        trajectories: Numbers of the trajectories.
    """

    source: Source
    trajectories: NDArray[np.int64]

    @property
    def spec(self) -> DatasetSpec:
        """The source's self-description."""
        return self.source.spec

    @property
    def first(self) -> int:
        """The first trajectory."""
        return int(self.trajectories[0])

    @property
    def num_steps(self) -> int:
        """Frames of each trajectory."""
        return self.source.num_steps(self.first)

    def lines(self) -> dict[str, NDArray[np.float32]]:
        """Coordinates of each axis, single precision as in the published files."""
        spec = self.spec
        return {
            axis: spec.domain.points_along(number, n, kind).numpy().astype(np.float32)
            for number, (axis, n, kind) in enumerate(
                zip(("x", "y", "z"), spec.resolution, spec.grid, strict=False)
            )
        }

    def parameters(self, trajectory: int) -> dict[str, float]:
        """PDE parameters of one trajectory by name."""
        values = self.source.params(trajectory)
        own = dict(zip(self.spec.params, map(float, values), strict=True))
        return {name: float(value) for name, value in self.spec.constants.items()} | own

    def setting(self) -> str:
        """What the layout has no place for."""
        return setting_text(self.spec, self.source.boundary(self.first))


def lay_out_flat(path: Path, selection: Selection) -> list[Region]:
    """Arrays of all trajectories at the root, one for each channel."""
    spec, count, steps = selection.spec, len(selection.trajectories), selection.num_steps
    names: tuple[str, ...] = ("tensor",)
    if spec.out_channels > 1:
        names = ("density", "pressure", *VELOCITIES[: spec.ndim])
    with h5py.File(path, "w", **_FILE_OPTIONS) as file:
        offsets = [_allocate(file, name, (count, steps, *spec.resolution)) for name in names]
        for axis, line in selection.lines().items():
            _small(file, f"{axis}-coordinate", line)
        for name, value in selection.parameters(selection.first).items():
            file.attrs[name] = value
        file[names[0]].attrs[SETTING] = selection.setting()
        if spec.paired:
            inputs = _allocate(file, "nu", (count, *spec.resolution))
            return [
                Region(inputs, slice(1)),
                Region(offsets[0], slice(1), origin="targets"),
            ]
        times = selection.source.times(selection.first)
        _small(file, "t-coordinate", np.append(times, times[-1] + (spec.dt or 1.0)))
    return [Region(begin, slice(channel, channel + 1)) for channel, begin in enumerate(offsets)]


def lay_out_groups(path: Path, selection: Selection) -> list[Region]:
    """One group for each trajectory, named by its place."""
    spec, count = selection.spec, len(selection.trajectories)
    y_first = spec.name == DIFFUSION_REACTION.name
    space = tuple(reversed(spec.resolution)) if y_first else spec.resolution
    shape = (selection.num_steps, *space, spec.out_channels)
    digits = max(4, len(str(count - 1)))
    lines: dict[str, NDArray[Any]] = dict(selection.lines())
    lines["t"] = selection.source.times(selection.first)
    offsets = np.empty(count, np.int64)
    with h5py.File(path, "w", **_FILE_OPTIONS) as file:
        file.attrs[SETTING] = selection.setting()
        for place, trajectory in enumerate(selection.trajectories):
            group = file.create_group(f"{place:0{digits}d}")
            offsets[place] = _allocate(group, "data", (1, *shape), stored=shape)[0]
            grid = group.create_group("grid")
            for name, line in lines.items():
                _small(grid, name, line)
            simulation = {"seed": place} | selection.parameters(int(trajectory))
            group.attrs["config"] = yaml.safe_dump({"name": spec.name, "sim": simulation})
    return [Region(offsets, slice(None), channels_last=True, y_first=y_first)]


def lay_out_incompressible(path: Path, selection: Selection) -> list[Region]:
    """Arrays with a leading axis of trajectories, for one flow each."""
    spec, count, steps = selection.spec, len(selection.trajectories), selection.num_steps
    space = spec.resolution
    with h5py.File(path, "w", **_FILE_OPTIONS) as file:
        particles = _allocate(file, "particles", (count, steps, *space, 1))
        velocity = _allocate(file, "velocity", (count, steps, *space, spec.ndim))
        force = _allocate(file, "force", (count, *space, spec.ndim))
        times = [selection.source.times(int(number)) for number in selection.trajectories]
        _small(file, "t", np.stack(times))
        file.attrs["config"] = yaml.safe_dump(selection.parameters(selection.first))
        file.attrs["latestIndex"] = steps - 1
        file.attrs[SETTING] = selection.setting()
    return [
        Region(particles, slice(1), channels_last=True),
        Region(velocity, slice(1, None), channels_last=True),
        Region(force, slice(None), channels_last=True, origin="static"),
    ]


def _allocate(
    group: Any, name: str, shape: Sequence[int], stored: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """Space for an array of single precision; where each entry of its first axis begins."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    dataset = group.create_dataset(
        name, tuple(stored or shape), np.float32, dcpl=properties, track_times=False
    )
    entry = 4 * int(np.prod(shape[1:], dtype=np.int64))
    return int(dataset.id.get_offset()) + entry * np.arange(shape[0], dtype=np.int64)


def _small(group: Any, name: str, values: NDArray[Any]) -> None:
    group.create_dataset(name, data=values.astype(np.float32), track_times=False)
