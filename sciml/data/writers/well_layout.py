"""The parts of a file in The Well's layout, laid out before any field is written.

HDF5 writes to memory only, where it cannot meet a full disk: its handles do not survive a
failed write. It reserves the place of each field without writing there, so that the fields can
be streamed to it afterwards.

Source: R. Ohana et al., The Well, 2024, arXiv:2412.00568; layout as described by its data
format document. Every attribute is listed in ``data/README.md``.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray

from sciml.data.writers.sparse_image import SparseImage
from sciml.spec import DatasetSpec, FieldSpec

_PAGE = 4096
_BOUNDARY_KINDS = ("WALL", "OPEN", "PERIODIC")
"""Types of boundaries by their codes."""


@final
@dataclass(frozen=True)
class WellHeader:
    """Everything in a file but the values of its fields.

    Args:
        spec: Self-description; `out_fields` are the fields with a time axis. The `in_fields` of
            pairs become fields without one.
        num_trajectories: Trajectories n in the file.
        time: Time of each frame, (t), or of each trajectory's frames, (n, t).
        static_fields: Further fields without time axis, one value for each trajectory.
        params: Values of `spec.params`, (n, p).
        boundary: Codes of the low and high faces, (1, d, 2) or (n, d, 2).
        attributes: Further root attributes: text or numbers.

    Raises:
        ValueError: If the layout has no place for what the spec says, or the arrays contradict
            it.
    """

    spec: DatasetSpec
    num_trajectories: int
    time: NDArray[np.float64]
    params: NDArray[Any]
    boundary: NDArray[np.int64]
    static_fields: tuple[FieldSpec, ...] = ()
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spec = self.spec
        if spec.unstructured:
            raise ValueError(
                f"write_well: expected fields on a grid, got the point clouds of {spec.name}; "
                "The Well's layout has no place for them"
            )
        every = (*spec.out_fields, *self.still_fields)
        for item in every:
            if item.rank > 2 or item.components != spec.ndim**item.rank or "/" in item.name:
                raise ValueError(
                    f"write_well: expected a scalar, a vector of {spec.ndim} or a tensor of "
                    f"{spec.ndim**2} components, and a name without a slash, got {item}; "
                    "describe it as several scalar fields"
                )
        repeated = [n for n, count in Counter(f.name for f in every).items() if count > 1]
        if repeated:
            raise ValueError(
                f"write_well: expected distinct names of fields, got {repeated} more than "
                "once; rename the inputs or the outputs"
            )
        if spec.paired and self.num_steps != 1:
            raise ValueError(
                f"write_well: expected one frame of the pairs of {spec.name}, got "
                f"{self.num_steps} times; give one"
            )

    @property
    def num_steps(self) -> int:
        """Frames of each trajectory."""
        return int(self.time.shape[-1])

    @property
    def still_fields(self) -> tuple[FieldSpec, ...]:
        """Fields without time axis, the inputs of pairs first."""
        return (*(self.spec.in_fields if self.spec.paired else ()), *self.static_fields)


@final
@dataclass(frozen=True)
class Region:
    """Where the values of one field go.

    Args:
        offset: Byte in the file at which it begins.
        channels: Its channels among those of the fields of its kind.
        in_time: Whether it has a time axis.
        frame_bytes: Bytes of one frame.
    """

    offset: int
    channels: slice
    in_time: bool
    frame_bytes: int

    def arrange(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """Frames (t, c, *space) as they stand on disk, with the components last."""
        return np.ascontiguousarray(np.moveaxis(frames[:, self.channels], 1, -1), np.float32)


def lay_out(header: WellHeader) -> tuple[SparseImage, list[Region]]:
    """Everything but the fields, and where the fields go; the same header gives the same bytes.

    Args:
        header: What stands in the file.

    Returns:
        The file without its fields, and the place of each field.
    """
    image = SparseImage()
    # Large arrays start on a page, so that readers can map them.
    with h5py.File(
        image, "w", alignment_threshold=_PAGE, alignment_interval=_PAGE, track_order=False
    ) as file:
        _write_root(file, header)
        _write_dimensions(file.create_group("dimensions"), header)
        _write_boundary(file.create_group("boundary_conditions"), header)
        _write_scalars(file.create_group("scalars"), header)
        regions = _reserve_fields(file, header)
    return image, regions


def _write_root(file: Any, header: WellHeader) -> None:
    spec = header.spec
    file.attrs["dataset_name"] = spec.name
    file.attrs["grid_type"] = "cartesian"
    file.attrs["n_spatial_dims"] = spec.ndim
    file.attrs["n_trajectories"] = header.num_trajectories
    file.attrs["simulation_parameters"] = _texts((*spec.constants, *spec.params))
    for name, value in spec.constants.items():
        file.attrs[name] = float(value)
    for column, name in enumerate(spec.params):
        file.attrs[name] = header.params[:, column].astype(np.float64)
    if spec.paired:
        file.attrs["input_fields"] = _texts(tuple(item.name for item in spec.in_fields))
    for name, attribute in header.attributes.items():
        file.attrs[name] = attribute


def _write_dimensions(group: Any, header: WellHeader) -> None:
    spec = header.spec
    group.attrs["spatial_dims"] = _texts(spec.axes)
    _flag(_dataset(group, "time", header.time), sample=header.time.ndim == 2, time=False)
    for axis, (name, n, kind) in enumerate(
        zip(spec.axes, spec.resolution, spec.grid, strict=True)
    ):
        line = _dataset(group, name, spec.domain.points_along(axis, n, kind).numpy())
        _flag(line, sample=False, time=False)
        # points in single precision do not tell the box, and not whether they are centres
        line.attrs["low"], line.attrs["high"] = spec.domain.low[axis], spec.domain.high[axis]
        line.attrs["grid"] = kind


def _write_boundary(group: Any, header: WellHeader) -> None:
    """One group for each axis and type of boundary that one of its faces has."""
    codes = header.boundary
    varying = bool((codes != codes[:1]).any())
    for axis, (name, n) in enumerate(
        zip(header.spec.axes, header.spec.resolution, strict=True)
    ):
        faces = codes[:, axis] if varying else codes[:1, axis]
        for code in np.unique(faces).tolist():
            kind = _BOUNDARY_KINDS[code]
            side = group.create_group(f"{name}_{kind.lower()}")
            side.attrs["associated_dims"] = _texts((name,))
            side.attrs["associated_fields"] = _texts(())
            side.attrs["bc_type"] = kind
            _flag(side, sample=varying, time=False)
            mask = np.zeros((len(faces), n), bool)
            mask[:, 0] |= faces[:, 0] == code
            mask[:, -1] |= faces[:, 1] == code
            side.create_dataset("mask", data=mask if varying else mask[0], track_times=False)


def _write_scalars(group: Any, header: WellHeader) -> None:
    spec = header.spec
    group.attrs["field_names"] = _texts((*spec.constants, *spec.params))
    for name, value in spec.constants.items():
        _flag(_dataset(group, name, np.asarray(value)), sample=False, time=False)
    for column, name in enumerate(spec.params):
        _flag(_dataset(group, name, header.params[:, column]), sample=True, time=False)


def _reserve_fields(file: Any, header: WellHeader) -> list[Region]:
    """Space for the fields, in the order of `out_fields` and `still_fields`."""
    spec = header.spec
    everything = (*spec.out_fields, *header.still_fields)
    for rank in range(3):
        group = file.create_group(f"t{rank}_fields")
        names = tuple(item.name for item in everything if item.rank == rank)
        group.attrs["field_names"] = _texts(names)
    regions = []
    for fields, in_time in ((spec.out_fields, True), (header.still_fields, False)):
        channel = 0
        for item in fields:
            channels = slice(channel, channel + item.components)
            channel = channels.stop
            lead = (header.num_trajectories, *((header.num_steps,) if in_time else ()))
            shape = (*lead, *spec.resolution, *(spec.ndim,) * item.rank)
            dataset = _reserve(file[f"t{item.rank}_fields"], item.name, shape)
            _flag(dataset, sample=True, time=in_time)
            dataset.attrs["dim_varying"] = np.ones(spec.ndim, bool)
            if item.units:
                dataset.attrs["units"] = item.units
            if item.rank == 2:
                dataset.attrs["symmetric"] = dataset.attrs["antisymmetric"] = False
            frame_bytes = 4 * item.components * math.prod(spec.resolution)
            offset = int(dataset.id.get_offset())
            regions.append(Region(offset, channels, in_time, frame_bytes))
    return regions


def _reserve(group: Any, name: str, shape: tuple[int, ...]) -> Any:
    """A contiguous float32 dataset whose values are still to be written."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return group.create_dataset(name, shape, np.float32, dcpl=properties, track_times=False)


def _dataset(group: Any, name: str, values: NDArray[Any]) -> Any:
    """A contiguous float32 dataset without a time stamp."""
    data = np.ascontiguousarray(values, np.float32).reshape(values.shape)
    return group.create_dataset(name, data=data, track_times=False)


def _flag(item: Any, *, sample: bool, time: bool) -> None:
    """Say along which of the trajectory and time axes an array varies."""
    item.attrs["sample_varying"] = sample
    item.attrs["time_varying"] = time


def _texts(values: tuple[str, ...]) -> NDArray[Any]:
    """A list of strings as HDF5 stores it, possibly empty."""
    return np.array(values, dtype=h5py.string_dtype())
