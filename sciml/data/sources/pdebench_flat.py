"""PDEBench's flat files: all trajectories of one parameter value in large arrays at the root.

One of three layouts, see `sciml.data.sources.pdebench`. Scalar families have ``tensor`` of
shape (N, T, X), Darcy flow pairs of ``nu`` (N, X, Y) and ``tensor`` (N, 1, X, Y) where the axis
of length one is time, and compressible flow one array (N, T, X[, Y[, Z]]) for each channel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.hdf5 import ArrayReader, inspect_array
from sciml.data.sources.pdebench_contents import (
    AXES,
    Contents,
    PDEBenchSource,
    cell_box,
    check_shape,
    copy_frames,
    frame_times,
    member,
)
from sciml.data.sources.pdebench_family import (
    BURGERS,
    COMPRESSIBLE,
    DARCY,
    Face,
    Family,
    parameters_of,
    tensor_family,
)
from sciml.data.sources.pdebench_setting import (
    Setting,
    check_setting,
    published_setting,
    read_setting,
)
from sciml.spec import FieldSpec

_CFD_FACES: Mapping[str, Face] = {"periodic": "periodic", "trans": "open"}

VELOCITIES = ("Vx", "Vy", "Vz")
"""Arrays of the velocity's components."""

SPLIT_PRESET = "pdebench_single"
"""The reference loader of this layout tests on the first tenth of a file."""


@final
@dataclass(frozen=True)
class FlatArrays:
    """The arrays of a file.

    Args:
        frames: Name of each channel's array, with axes (n, t, *space).
        coefficient: Name of the input array of pairs, with axes (n, *space); empty without.
        devices: Length of a leading axis of computing devices, which the generators left in
            the files of several users; 0 without.
        num_trajectories: Trajectories of one device.
        num_steps: Frames T.
        resolution: Grid points per axis.
    """

    frames: tuple[str, ...]
    coefficient: str
    devices: int
    num_trajectories: int
    num_steps: int
    resolution: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All arrays of fields."""
        return self.frames + ((self.coefficient,) if self.coefficient else ())


@final
class FlatSource(PDEBenchSource):
    """Trajectories or pairs of one flat file.

    Args:
        file: The file as `open_hdf5` opened it; it may be closed afterwards.
        back_end: How arrays are read.
        role: Split that the file was published for, if known.

    Raises:
        ValueError: If the file is damaged or contradicts itself.
    """

    def __init__(self, file: Any, back_end: str, role: str) -> None:
        path = Path(file.filename)
        self._arrays = _find_arrays(file)
        super().__init__(_describe(path, file, self._arrays, role))
        datasets = {name: member(file, name) for name in self._arrays.names}
        self._layouts = {
            name: inspect_array(dataset, back_end) for name, dataset in datasets.items()
        }
        time_axis = 2 if self._arrays.devices else 1
        self._frames_per_chunk = {
            name: dataset.chunks[time_axis] if dataset.chunks else 1
            for name, dataset in datasets.items()
        }
        self._reader = ArrayReader(path, self._layouts)

    @property
    @override
    def memory_mapped(self) -> bool:
        return all(layout.memory_mapped for layout in self._layouts.values())

    def _lead(self, trajectory: int) -> tuple[int, ...]:
        """Index of a trajectory on the leading axes of the arrays."""
        if self._arrays.devices:
            return divmod(trajectory, self._arrays.num_trajectories)
        return (trajectory,)

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        lead = self._lead(trajectory)
        if self._arrays.coefficient:
            self._reader[self._arrays.coefficient].read_into(lead, out[0, 0])
            return
        frames = slice(start, stop, stride)
        for channel, name in enumerate(self._arrays.frames):
            piece = self._frames_per_chunk[name]
            copy_frames(self._reader[name], lead, frames, out[:, channel], piece)

    @override
    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        solution = self._reader[self._arrays.frames[0]]
        solution.read_into((*self._lead(trajectory), 0), out[0])

    @override
    def back_ends(self) -> Sequence[str]:
        return [
            f"array {name}: {layout.back_end} ({layout.reason})"
            for name, layout in self._layouts.items()
        ]


def _find_arrays(file: Any) -> FlatArrays:
    """Which arrays there are, checked against each other and the number of axes."""
    if "tensor" in file:
        frames: tuple[str, ...] = ("tensor",)
        coefficient = "nu" if "nu" in file else ""
        ndim = max(1, sum(f"{axis}-coordinate" in file for axis in AXES))
    else:
        coefficient = ""
        ndim = max(1, sum(name in file for name in VELOCITIES))
        frames = ("density", "pressure", *VELOCITIES[:ndim])
    first = member(file, frames[0])
    devices = first.shape[0] if first.ndim == ndim + 3 else 0
    lead = 2 if devices else 1
    check_shape(first, (None,) * (lead + 1 + ndim))
    shape = tuple(int(n) for n in first.shape)
    for name in frames[1:]:
        check_shape(member(file, name), shape)
    if coefficient:
        check_shape(first, (*shape[:lead], 1, *shape[lead + 1 :]))
        check_shape(member(file, coefficient), shape[:lead] + shape[lead + 1 :])
    return FlatArrays(
        frames=frames,
        coefficient=coefficient,
        devices=devices,
        num_trajectories=shape[lead - 1],
        num_steps=shape[lead],
        resolution=shape[lead + 1 :],
    )


def _describe(path: Path, file: Any, arrays: FlatArrays, role: str) -> Contents:
    """What the arrays mean, the times and the parameters."""
    ndim = len(arrays.resolution)
    lines = [member(file, f"{axis}-coordinate") for axis in AXES[:ndim]]
    setting, remark = read_setting(file[arrays.frames[0]]), "boundary: noted by the writer"
    if setting is None:
        family, face, remark = _family(file, path, arrays)
        domain = cell_box(lines, arrays.resolution, face)
        setting = published_setting(family, face, domain, *_fields(family, arrays))
    else:
        check_setting(setting, file, len(arrays.frames), arrays.resolution)
        for line, n in zip(lines, arrays.resolution, strict=True):
            check_shape(line, (n,))
    times = np.zeros((1, 1))
    if not arrays.coefficient:
        times = frame_times(member(file, "t-coordinate"), arrays.num_steps)[None]
    count = max(arrays.devices, 1) * arrays.num_trajectories
    values = parameters_of(file.attrs, path.name, setting.params)
    return Contents(
        path=path,
        setting=setting,
        resolution=arrays.resolution,
        scalars={name: np.broadcast_to(value, count) for name, value in values.items()},
        times=times,
        num_trajectories=count,
        role=role,
        split_preset=SPLIT_PRESET,
        remarks=(
            f"PDEBench flat layout, {arrays.resolution} points",
            remark,
            *_revision(setting),
        ),
    )


def _revision(setting: Setting) -> tuple[str, ...]:
    """What is known of files that were published before an error in their generator was found.

    Old files of advection solve it with twice the speed, but nothing in them tells.
    """
    if setting.name == BURGERS.name and setting.domain.low == (-1.0,):
        return (
            "x begins at -1: published before November 2023; mapped to (0, 1) these data have "
            "the viscosity Nu / (4 pi) instead of Nu / pi",
        )
    return ()


def _family(file: Any, path: Path, arrays: FlatArrays) -> tuple[Family, Face, str]:
    """Family of a published file, the condition on its faces, and how that is known."""
    if arrays.frames[0] == "density":
        for word, kind in _CFD_FACES.items():
            if word in path.name.lower():
                return COMPRESSIBLE, kind, f"boundary: {kind}, {word!r} in the file's name"
        return COMPRESSIBLE, "open", "boundary: open, as the file's name says nothing"
    family = DARCY if arrays.coefficient else tensor_family(file.attrs, path.name)
    if family is None or (not arrays.coefficient and len(arrays.resolution) > 1):
        raise ValueError(
            "open_source: expected a root attribute beta, Nu or rho that tells which family of "
            f"PDEBench {path} with {len(arrays.resolution)} spatial axes is of, or its "
            f"published name, got the keys {sorted(file)[:12]} and the attributes "
            f"{sorted(file.attrs)[:12]}; name the file as published, for example "
            "1D_Advection_Sols_beta0.4.hdf5"
        )
    return family, family.face, f"boundary: {family.face}, as the family has it"


def _fields(
    family: Family, arrays: FlatArrays
) -> tuple[tuple[FieldSpec, ...], tuple[FieldSpec, ...]]:
    """Input and output fields."""
    scalars = tuple(FieldSpec(name) for name in family.fields)
    if arrays.coefficient:
        return (FieldSpec(arrays.coefficient),), scalars
    ndim = len(arrays.frames) - len(scalars)
    fields = (*scalars, FieldSpec("velocity", 1, ndim)) if ndim else scalars
    return fields, fields
