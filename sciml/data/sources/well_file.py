"""The Well's layout: what one HDF5 file says about itself, checked against its arrays.

Source: R. Ohana et al., The Well, 2024, arXiv:2412.00568; layout as described by its data
format document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.hdf5 import open_hdf5, require, texts
from sciml.data.sources.well_axes import read_line, read_times
from sciml.data.sources.well_boundary import read_boundary
from sciml.data.sources.well_fields import WellField, listed_names, read_fields
from sciml.domain import Box, GridKind


@final
@dataclass(frozen=True)
class WellFile:
    """Contents of one file.

    Args:
        path: The file.
        name: Name of the data set.
        num_trajectories: Trajectories in this file.
        domain: Box with periodicity from the boundary conditions.
        grid: Grid kind per axis.
        resolution: Grid points per axis.
        times: Time of each frame, shape (1, T) or (B, T).
        fields: Fields with a time axis, in channel order.
        static_fields: Fields without time axis, in channel order.
        scalars: Scalar parameters, one value for each trajectory.
        boundary: Boundary codes, shape (1, d, 2) or (B, d, 2).
        inputs: Names of the static fields that are the inputs of pairs; none in trajectories.
        split_preset: Name of the paper's split, empty if there is none.
        grid_type: Kind of coordinates, ``"cartesian"`` where nothing is said.
        uneven_axes: Axes whose points are not evenly spaced, or run downwards.
        notes: What was left out or taken for granted, in words.
    """

    path: Path
    name: str
    num_trajectories: int
    domain: Box
    grid: tuple[GridKind, ...]
    resolution: tuple[int, ...]
    times: NDArray[np.float64]
    fields: tuple[WellField, ...]
    static_fields: tuple[WellField, ...]
    scalars: Mapping[str, NDArray[np.float64]]
    boundary: NDArray[np.int64]
    inputs: tuple[str, ...]
    split_preset: str
    grid_type: str
    uneven_axes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def num_steps(self) -> int:
        """Frames T of each trajectory in this file."""
        return int(self.times.shape[-1])

    @property
    def dt(self) -> float | None:
        """Mean time between frames, without the rounding error of single precision."""
        if self.num_steps < 2:
            return None
        span = float(np.mean(self.times[:, -1] - self.times[:, 0]))
        return float(f"{span / (self.num_steps - 1):.6g}")


def read_well_file(path: Path, back_end: str = "auto") -> WellFile:
    """Parse one file and check every array's shape against its flags.

    Raises:
        ValueError: If the file is damaged, a group or attribute is missing, or a shape is
        wrong.
    """
    with open_hdf5(path) as file:
        dimensions = require(file, "dimensions", "group")
        axes = texts(require(dimensions, "spatial_dims", "attribute"))
        if not axes or len(set(axes)) != len(axes):
            raise ValueError(
                f"open_source: expected distinct names of axes in spatial_dims of {path}, got "
                f"{list(axes)}; correct the attribute"
            )
        num_trajectories = int(require(file, "n_trajectories", "attribute"))
        times = read_times(require(dimensions, "time", "dataset"), num_trajectories)
        lines = {axis: read_line(require(dimensions, axis, "dataset")) for axis in axes}
        resolution = tuple(len(line.points) for line in lines.values())
        boundary = read_boundary(file, axes, resolution)
        periodic = tuple(bool(np.all(boundary[:, axis] == 2)) for axis in range(len(axes)))
        ends = [
            line.ends(closed) for line, closed in zip(lines.values(), periodic, strict=True)
        ]
        low, high, grid = zip(*ends, strict=True)
        fields = read_fields(file, (num_trajectories, times.shape[-1], *resolution), back_end)
        scalars, left_out = _read_scalars(file, num_trajectories)
        uneven = tuple(axis for axis, line in lines.items() if not line.even)
        grid_type = "".join(texts(file.attrs.get("grid_type", "cartesian")))
        return WellFile(
            path=path,
            name=texts(file.attrs.get("dataset_name", path.stem))[0],
            num_trajectories=num_trajectories,
            domain=Box(axes, low, high, periodic),
            grid=grid,
            resolution=resolution,
            times=times,
            fields=tuple(field for field in fields if field.time_varying),
            static_fields=tuple(field for field in fields if not field.time_varying),
            scalars=scalars,
            boundary=boundary,
            inputs=texts(file.attrs.get("input_fields", ())),
            split_preset="".join(texts(file.attrs.get("split_preset", ()))),
            grid_type=grid_type,
            uneven_axes=uneven,
            notes=_notes(file, grid_type, left_out, uneven),
        )


def _notes(
    file: Any, grid_type: str, left_out: tuple[str, ...], uneven: tuple[str, ...]
) -> tuple[str, ...]:
    """What a user should know about the file."""
    notes = [f"grid of type {grid_type}"] if grid_type != "cartesian" else []
    if uneven:
        notes.append(f"points not evenly spaced, or downwards: axes {', '.join(uneven)}")
    if left_out:
        notes.append(f"scalars that vary in time, not read: {', '.join(left_out)}")
    if "boundary_conditions" not in file:
        notes.append("no boundary conditions in the file, taken as open")
    return tuple(notes)


def _read_scalars(
    file: Any, num_trajectories: int
) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...]]:
    """Parameters of each trajectory, and the names of scalars that vary in time."""
    scalars: dict[str, NDArray[np.float64]] = {}
    left_out = []
    group = file.get("scalars")
    for name in () if group is None else listed_names(group):
        dataset = require(group, name, "dataset")
        if bool(require(dataset, "time_varying", "attribute")):
            left_out.append(name)
            continue
        values = np.asarray(dataset[()], np.float64)
        exact = np.asarray(file.attrs.get(name, ""))
        if exact.dtype.kind in "iuf" and np.array_equal(np.float32(exact), np.float32(values)):
            # the root attribute repeats the parameter, and often in double precision
            values = exact.astype(np.float64)
        if values.shape not in ((), (1,), (num_trajectories,)):
            raise ValueError(
                f"open_source: expected one value or {num_trajectories} of the scalar "
                f"{dataset.name} of {file.filename}, got shape {values.shape}; the file "
                "contradicts itself, generate or download it again"
            )
        scalars[name] = np.broadcast_to(values, (num_trajectories,)).copy()
    return scalars, tuple(left_out)
