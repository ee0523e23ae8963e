"""Writing The Well's HDF5 layout: one file per shard, whole or not at all.

Source: R. Ohana et al., The Well, 2024, arXiv:2412.00568; layout as described by its data
format document. Every attribute is listed in ``data/README.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from sciml.data.writers.atomic import write_atomically
from sciml.spec import DatasetSpec
from sciml.typing import StrPath

_PAGE = 4096


@final
@dataclass(frozen=True)
class WellContents:
    """What goes into one file.

    Args:
        spec: Self-description; `out_fields` name the channels.
        fields: Trajectories.
        time: Time of each frame.
        params: Values of `spec.params` for each trajectory; none when there are no such.
        attributes: Further root attributes: text or numbers.

    Raises:
        ValueError: If the arrays contradict the spec or each other.
    """

    spec: DatasetSpec
    fields: Float[np.ndarray, "n t c *space"]
    time: Float[np.ndarray, " t"]
    params: Float[np.ndarray, "n p"] | None = None
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = (len(self.time), self.spec.out_channels, *self.spec.resolution)
        if self.fields.shape[1:] != expected:
            raise ValueError(
                f"WellContents: expected fields of shape (n, {', '.join(map(str, expected))}) "
                f"by {self.spec.name}'s spec and time, got {self.fields.shape}; correct one"
            )
        given = None if self.params is None else self.params.shape
        wanted = (len(self.fields), len(self.spec.params)) if self.spec.params else None
        if given != wanted:
            raise ValueError(
                f"WellContents: expected params of shape {wanted} for {self.spec.params}, got "
                f"{given}; give one value per trajectory and parameter"
            )


def write_well(path: StrPath, contents: WellContents) -> Path:
    """Write one file in The Well's layout, contiguous float32.

    The same contents give the same bytes. The file appears under its name only when it is
    complete and on disk, see `write_atomically`.

    Args:
        path: File to write; an existing one is replaced.
        contents: What to write.

    Returns:
        The path.

    Raises:
        OSError: If the folder cannot be made or written or the disk is full, with the remedy.
    """
    target = Path(path)
    # HDF5 keeps broken handles behind after a failed write, so it only ever writes to memory.
    image = _hdf5_image(contents)
    write_atomically(target, lambda partial: partial.write_bytes(image))
    return target


def _hdf5_image(contents: WellContents) -> bytes:
    """The file as bytes."""
    # Large arrays start on a page, so that readers can map them.
    with h5py.File(
        "image",
        "w",
        driver="core",
        backing_store=False,
        alignment_threshold=_PAGE,
        alignment_interval=_PAGE,
    ) as file:
        _write_root(file, contents)
        _write_dimensions(file.create_group("dimensions"), contents)
        _write_boundary(file.create_group("boundary_conditions"), contents.spec)
        _write_scalars(file.create_group("scalars"), contents)
        _write_fields(file, contents)
        file.flush()
        image: bytes = file.id.get_file_image()
        return image


def _write_root(file: Any, contents: WellContents) -> None:
    spec = contents.spec
    file.attrs["dataset_name"] = spec.name
    file.attrs["grid_type"] = "cartesian"
    file.attrs["n_spatial_dims"] = spec.ndim
    file.attrs["n_trajectories"] = len(contents.fields)
    file.attrs["simulation_parameters"] = _texts((*spec.constants, *spec.params))
    for name, value in spec.constants.items():
        file.attrs[name] = float(value)
    for column, name in enumerate(spec.params):
        file.attrs[name] = _params(contents)[:, column].astype(np.float64)
    for name, attribute in contents.attributes.items():
        file.attrs[name] = attribute


def _write_dimensions(group: Any, contents: WellContents) -> None:
    spec = contents.spec
    group.attrs["spatial_dims"] = _texts(spec.axes)
    lines = {"time": contents.time}
    for axis, (name, n, kind) in enumerate(
        zip(spec.axes, spec.resolution, spec.grid, strict=True)
    ):
        lines[name] = spec.domain.points_along(axis, n, kind).numpy()
    for name, line in lines.items():
        _flag(_dataset(group, name, line), sample=False, time=False)


def _write_boundary(group: Any, spec: DatasetSpec) -> None:
    """One group per axis; an axis that is not periodic is open as far as a spec can tell."""
    for axis, n, periodic in zip(spec.axes, spec.resolution, spec.periodic, strict=True):
        kind = "PERIODIC" if periodic else "OPEN"
        side = group.create_group(f"{axis}_{kind.lower()}")
        side.attrs["associated_dims"] = _texts((axis,))
        side.attrs["associated_fields"] = _texts(())
        side.attrs["bc_type"] = kind
        _flag(side, sample=False, time=False)
        mask = np.zeros(n, bool)
        mask[[0, -1]] = True
        side.create_dataset("mask", data=mask, track_times=False)


def _write_scalars(group: Any, contents: WellContents) -> None:
    spec = contents.spec
    group.attrs["field_names"] = _texts((*spec.constants, *spec.params))
    for name, value in spec.constants.items():
        _flag(_dataset(group, name, np.asarray(value)), sample=False, time=False)
    for column, name in enumerate(spec.params):
        _flag(_dataset(group, name, _params(contents)[:, column]), sample=True, time=False)


def _write_fields(file: Any, contents: WellContents) -> None:
    spec = contents.spec
    for rank in range(3):
        group = file.create_group(f"t{rank}_fields")
        group.attrs["field_names"] = _texts(
            tuple(item.name for item in spec.out_fields if item.rank == rank)
        )
    channel = 0
    for item in spec.out_fields:
        block = contents.fields[:, :, channel : channel + item.components]
        channel += item.components
        # Components stand last on disk, a tensor's as two axes.
        block = np.moveaxis(block, 2, -1)
        block = block.reshape(*block.shape[:-1], *(spec.ndim,) * item.rank)
        dataset = _dataset(file[f"t{item.rank}_fields"], item.name, block)
        _flag(dataset, sample=True, time=True)
        dataset.attrs["dim_varying"] = np.ones(spec.ndim, bool)
        if item.units:
            dataset.attrs["units"] = item.units
        if item.rank == 2:
            dataset.attrs["symmetric"] = dataset.attrs["antisymmetric"] = False


def _params(contents: WellContents) -> NDArray[Any]:
    """Parameters of each trajectory; an array without columns when there are none."""
    return np.empty((len(contents.fields), 0)) if contents.params is None else contents.params


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
