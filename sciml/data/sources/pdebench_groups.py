"""PDEBench's files of seed groups: one group for each trajectory.

One of three layouts, see `sciml.data.sources.pdebench`. The group ``0023`` of seed 23 holds
``data`` (T, X[, Y], V), the coordinates in ``grid`` and its configuration as YAML. There are up
to ten thousand groups in a file, so that what is known of each is kept in arrays, and the grid
is that of the first.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.hdf5 import ArrayLayout, HDF5Array, inspect_array
from sciml.data.sources.hdf5_arrays import LibraryArray, MappedArray
from sciml.data.sources.hdf5_file import OpenFile
from sciml.data.sources.hdf5_layout import check_storage
from sciml.data.sources.pdebench_config import (
    config_text,
    numbers_of,
    parse_config,
    scan_numbers,
)
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
from sciml.data.sources.pdebench_family import DIFFUSION_REACTION, group_family
from sciml.data.sources.pdebench_setting import (
    check_setting,
    published_setting,
    read_setting,
)
from sciml.spec import FieldSpec

SPLIT_PRESET = "pdebench_mult"
"""The reference loader of this layout tests on the last tenth of the sorted groups."""

_UNMAPPED = -1


def is_seed_number(key: str) -> bool:
    """Whether a key is the number of a seed: four digits or more."""
    return len(key) >= 4 and key.isdigit()


@final
class GroupsSource(PDEBenchSource):
    """Trajectories of one file of seed groups, in the order of the sorted keys.

    Args:
        file: The file as `open_hdf5` opened it; it may be closed afterwards.
        back_end: How arrays are read.

    Raises:
        ValueError: If the file is damaged or contradicts itself.
    """

    def __init__(self, file: Any, back_end: str) -> None:
        path, keys = Path(file.filename), sorted(file)
        data = member(file, f"{keys[0]}/data")
        super().__init__(_describe(path, file, keys))
        layout = inspect_array(data, back_end)
        self._frames_per_chunk = data.chunks[0] if data.chunks else 1
        self._keys = np.array(keys)
        self._arrays = _GroupArrays(path, layout, _offsets(file, keys, layout))

    @property
    @override
    def memory_mapped(self) -> bool:
        return bool(np.all(self._arrays.offsets != _UNMAPPED))

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        # channels stand last on disk
        target = np.moveaxis(out, 1, -1)
        if self._spec.name == DIFFUSION_REACTION.name:  # the one family that has y before x
            target = target.swapaxes(1, 2)
        array = self._arrays.open(trajectory, f"{self._keys[trajectory]}/data")
        copy_frames(array, (), slice(start, stop, stride), target, self._frames_per_chunk)

    @override
    def locate(self, trajectory: int) -> str:
        return f"{self._contents.path}, group {self._keys[trajectory]}"

    @override
    def back_ends(self) -> Sequence[str]:
        layout, mapped = self._arrays.layout, self._arrays.offsets != _UNMAPPED
        if not mapped.any():
            return [f"array data of each group: h5py ({layout.reason})"]
        line = f"array data of each group: mmap ({layout.reason})"
        rest = int(np.sum(~mapped))
        return [line] if not rest else [line, f"in {rest} groups h5py (laid out otherwise)"]


@final
class _GroupArrays:
    """The array ``data`` of each group, from one map and one handle of the file in a process.

    Args:
        path: The file.
        layout: Layout of the first group's array.
        offsets: Where each group's array begins, or `_UNMAPPED`.
    """

    def __init__(self, path: Path, layout: ArrayLayout, offsets: NDArray[np.int64]) -> None:
        self.path = path
        self.layout = layout
        self.offsets = offsets
        # keyed by process, as handles must not be used after a fork
        self._opened: dict[int, OpenFile] = {}

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Leave handles behind: they mean nothing in another process."""
        return {**self.__dict__, "_opened": {}}

    def open(self, number: int, key: str) -> HDF5Array:
        """The array of one group."""
        file = self._opened.get(os.getpid())
        if file is None:
            # two threads may both open it; the first one to store wins and the other is dropped
            opened = OpenFile(self.path, self.layout.state)
            file = self._opened.setdefault(os.getpid(), opened)
        offset = int(self.offsets[number])
        if offset != _UNMAPPED:
            return MappedArray(replace(self.layout, key=key, offset=offset), file)
        return LibraryArray(replace(self.layout, key=key, back_end="h5py"), file)


def _describe(path: Path, file: Any, keys: Sequence[str]) -> Contents:
    """What the arrays mean, the times and the parameters, from the first group's grid."""
    first = file[keys[0]]
    data = member(first, "data")
    if data.ndim not in (3, 4, 5):
        check_shape(data, (None,) * 4)
    num_steps, *space, channels = (int(n) for n in data.shape)
    lines = [member(first, f"grid/{axis}") for axis in AXES[: len(space)]]
    config = parse_config(config_text(first), first)
    setting = read_setting(file)
    if setting is None:
        family = group_family(config, path.name, channels, len(space))
        if family is None:
            raise ValueError(
                f"open_source: expected one or two channels of one of PDEBench's families in "
                f"{data.name} of {path}, got shape {tuple(data.shape)}; read another layout "
                "with format=, or write the data set with its setting"
            )
        resolution = tuple(reversed(space)) if family is DIFFUSION_REACTION else tuple(space)
        fields = tuple(FieldSpec(name) for name in family.fields)
        domain = cell_box(lines, resolution, family.face)
        setting = published_setting(family, family.face, domain, fields, fields)
    else:
        resolution = tuple(
            reversed(space) if setting.name == DIFFUSION_REACTION.name else space
        )
        check_setting(setting, file, channels, resolution)
        for line, n in zip(lines, resolution, strict=True):
            check_shape(line, (n,))
    check_shape(data, (None, *space, None))
    return Contents(
        path=path,
        setting=setting,
        resolution=resolution,
        scalars=_scalars(file, keys, setting.params),
        times=frame_times(member(first, "grid/t"), num_steps)[None],
        num_trajectories=len(keys),
        split_preset=SPLIT_PRESET,
        remarks=(
            f"PDEBench seed groups, {resolution} points",
            f"family: {setting.name}, boundary codes {setting.boundary.tolist()}",
        ),
    )


def _scalars(
    file: Any, keys: Sequence[str], names: tuple[str, ...]
) -> dict[str, NDArray[np.float64]]:
    """Parameters of each group's simulation, those that the first group has.

    Raises:
        ValueError: If another group lacks one.
    """
    text = config_text(file[keys[0]])
    first = numbers_of(parse_config(text, file[keys[0]]).get("sim"), names)
    scalars = {name: np.empty(len(keys)) for name in first}
    plain = scan_numbers(text, tuple(first)) == first
    for number, key in enumerate(keys if first else ()):
        group = file[key]
        text = config_text(group)
        if plain:
            values = scan_numbers(text, tuple(first))
        else:
            values = numbers_of(parse_config(text, group).get("sim"), tuple(first))
        if values.keys() != first.keys():
            raise ValueError(
                f"open_source: expected the parameters {sorted(first)} in the attribute config "
                f"of group {key} of {file.filename} as in group {keys[0]}, got "
                f"{sorted(values)}; move the group into another file"
            )
        for name, value in values.items():
            scalars[name][number] = value
    return scalars


def _offsets(file: Any, keys: Sequence[str], layout: ArrayLayout) -> NDArray[np.int64]:
    """Where each group's array begins in the file; all must be like the first.

    One pass with HDF5's plain calls, as h5py's objects would cost three times as much.

    Raises:
        ValueError: If a group has another shape or number type, or its values lie elsewhere.
    """
    first = h5py.h5d.open(file.id, layout.key.encode())
    number_type, size = first.get_type(), layout.path.stat().st_size
    last = size - math.prod(layout.shape) * layout.dtype.itemsize
    # what the checked offset of the first group adds for a user block holds for all groups
    shift = None if layout.offset is None else layout.offset - first.get_offset()
    offsets = np.full(len(keys), _UNMAPPED, np.int64)
    for number, key in enumerate(keys):
        found = _open_like(file, key, layout, number_type)
        offset = None if shift is None else found.get_offset()
        if offset is not None and offset + shift <= last:
            offsets[number] = offset + shift
        elif found.get_create_plist().get_layout() != h5py.h5d.CHUNKED:
            check_storage(file[f"{key}/data"])
    return offsets


def _open_like(file: Any, key: str, layout: ArrayLayout, number_type: Any) -> Any:
    """A group's array as a plain HDF5 object, of the shape and type of the first group's."""
    try:
        found = h5py.h5d.open(file.id, f"{key}/data".encode())
    except KeyError:
        found = None
    if (
        found is None
        or found.shape != layout.shape
        or not found.get_type().equal(number_type)
        or h5py.h5f.get_name(found) != h5py.h5f.get_name(file.id)
    ):
        got = "none" if found is None else f"{found.shape} of {found.dtype}"
        raise ValueError(
            f"open_source: expected an array of shape {layout.shape} and {layout.dtype} in "
            f"{key}/data of {file.filename} as in {layout.key}, got {got}; move the group "
            "into another file"
        )
    return found
