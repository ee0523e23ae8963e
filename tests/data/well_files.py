"""Small files in The Well's layout with any combination of its flags, and what they hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np


@dataclass(frozen=True)
class Field:
    name: str
    rank: int = 0
    sample_varying: bool = True
    time_varying: bool = True
    dim_varying: tuple[bool, ...] | None = None
    keep_axes: bool = False  # with length 1, those of space that do not vary
    flat_tensor: bool = False
    dtype: str = "<f4"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scalar:
    name: str
    values: Any
    sample_varying: bool = False
    time_varying: bool = False


VORTICITY = (Field("vorticity"),)


def write_well(
    path: Path,
    *,
    num_trajectories: int = 3,
    num_steps: int = 5,
    resolution: Sequence[int] = (6, 4),
    fields: Sequence[Field] = VORTICITY,
    scalars: Sequence[Scalar] = (),
    boundary: Mapping[str, str] | None = None,
    times: np.ndarray | None = None,
    points: Sequence[np.ndarray] | None = None,
    name: str = "toy",
    seed: int = 917_331,
) -> tuple[np.ndarray, np.ndarray]:
    """Write one file; return its frames (B, T, c, *space) and static fields (B, c, *space)."""
    generator = np.random.default_rng(seed)
    axes = "xyz"[: len(resolution)]
    shape = (num_trajectories, num_steps, *resolution)
    path.parent.mkdir(parents=True, exist_ok=True)
    frames: list[np.ndarray] = []
    static: list[np.ndarray] = []
    with h5py.File(path, "w") as file:
        file.attrs["dataset_name"] = name
        file.attrs["grid_type"] = "cartesian"
        file.attrs["n_spatial_dims"] = len(axes)
        file.attrs["n_trajectories"] = num_trajectories
        file.attrs["simulation_parameters"] = [s.name for s in scalars]
        _write_dimensions(file, axes, shape, times, points)
        _write_boundary(file, axes, resolution, boundary or dict.fromkeys(axes, "PERIODIC"))
        group = file.create_group("scalars")
        group.attrs["field_names"] = [s.name for s in scalars]
        for scalar in scalars:
            if np.ndim(scalar.values) == 0:
                file.attrs[scalar.name] = scalar.values
            dataset = group.create_dataset(scalar.name, data=np.asarray(scalar.values, "<f4"))
            dataset.attrs["sample_varying"] = scalar.sample_varying
            dataset.attrs["time_varying"] = scalar.time_varying
        for rank in range(3):
            group = file.create_group(f"t{rank}_fields")
            group.attrs["field_names"] = [f.name for f in fields if f.rank == rank]
            for item in (f for f in fields if f.rank == rank):
                full = _write_field(group, item, shape, generator)
                (frames if item.time_varying else static).append(full)
    empty = np.empty((num_trajectories, num_steps, 0, *resolution))
    still = np.concatenate([*static, empty], axis=2)[:, 0]
    return np.concatenate([*frames, empty], axis=2), still


def _write_dimensions(file, axes, shape, times, points):
    group = file.create_group("dimensions")
    group.attrs["spatial_dims"] = list(axes)
    times = np.arange(shape[1], dtype="<f4") * np.float32(0.1) if times is None else times
    dataset = group.create_dataset("time", data=times)
    dataset.attrs["sample_varying"] = np.ndim(times) == 2
    dataset.attrs["time_varying"] = True
    for number, axis in enumerate(axes):
        n = shape[2 + number]
        line = (np.arange(n) / n).astype("<f4") if points is None else points[number]
        dataset = group.create_dataset(axis, data=line)
        dataset.attrs["sample_varying"] = dataset.attrs["time_varying"] = False


def _write_boundary(file, axes, resolution, boundary):
    group = file.create_group("boundary_conditions")
    for axis, kind in boundary.items():
        mask = np.zeros(resolution[axes.index(axis)], bool)
        mask[[0, -1]] = True
        child = group.create_group(f"{axis}_{kind}")
        child.attrs["associated_dims"] = [axis]
        child.attrs["associated_fields"] = np.array([], dtype="S1")
        child.attrs["bc_type"] = kind.lower()
        child.attrs["sample_varying"] = child.attrs["time_varying"] = False
        child.create_dataset("mask", data=mask)


def _write_field(group, item, shape, generator):
    """Write one field; return it as (B, T, components, *space), broadcast."""
    ndim = len(shape) - 2
    varying = (
        item.sample_varying,
        item.time_varying,
        *(item.dim_varying or (True,) * ndim),
    )
    kept = tuple(n for n, flag in zip(shape, varying, strict=True) if flag)
    tail = (ndim,) * item.rank
    values = generator.standard_normal(kept + tail).astype(item.dtype)
    stored = values.reshape((*kept, ndim**2)) if item.flat_tensor else values
    if item.keep_axes:
        lead = kept[: item.sample_varying + item.time_varying]
        space = (n if flag else 1 for n, flag in zip(shape[2:], varying[2:], strict=True))
        stored = values.reshape((*lead, *space, *tail))
    dataset = group.create_dataset(item.name, data=stored, **item.options)
    dataset.attrs["sample_varying"] = item.sample_varying
    dataset.attrs["time_varying"] = item.time_varying
    dataset.attrs["dim_varying"] = list(varying[2:])
    ones = tuple(n if flag else 1 for n, flag in zip(shape, varying, strict=True))
    full = np.broadcast_to(values.reshape((*ones, ndim**item.rank)), (*shape, ndim**item.rank))
    return np.moveaxis(full, -1, 2)


def read_all(source):
    """All frames of each trajectory, as a source reads them."""
    spec = source.spec
    frames = []
    for i in range(source.num_trajectories):
        out = np.full(
            (source.num_steps(i), spec.frame_channels, *spec.resolution), np.nan, "f4"
        )
        source.read(i, 0, source.num_steps(i), 1, out)
        frames.append(out)
    return frames
