"""Validation of files in The Well's layout: every departure, where reading stops at the first.

Source: R. Ohana et al., The Well, 2024, arXiv:2412.00568; layout as described by its data
format document. The additions of the files that we write are listed in ``data/README.md``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sciml.data.sources.hdf5 import open_hdf5, texts
from sciml.data.sources.well_boundary import BOUNDARY_CODES

_ROOT = ("dataset_name", "grid_type", "n_spatial_dims", "n_trajectories")
_GROUPS = {
    "dimensions": "spatial_dims",
    "boundary_conditions": "",
    "scalars": "field_names",
    "t0_fields": "field_names",
    "t1_fields": "field_names",
    "t2_fields": "field_names",
}
_GENERATED = ("recipe", "variant", "parameters", "seed", "first_sample", "solver")
_PAGE = 4096


def check_well_file(path: Path) -> list[str]:
    """Departures of a file from the layout; none if it follows it.

    A file with the attribute ``recipe`` is one that we generated, and has to follow our own
    rules as well: contiguous arrays that begin on a page, and where the data come from.

    Args:
        path: The file.

    Returns:
        One line for each departure.

    Raises:
        ValueError: If it is no HDF5 file, or damaged.
    """
    with open_hdf5(path) as file:
        found = [*_check_root(file)]
        if (
            found
        ):  # without groups and numbers of axes and trajectories, the rest has no meaning
            return found
        axes = texts(file["dimensions"].attrs["spatial_dims"])
        sizes = {axis: _length(file, axis) for axis in axes}
        frames = _length(file, "time")
        found += _check_dimensions(file, axes)
        found += _check_boundary(file["boundary_conditions"], sizes)
        lead = (int(file.attrs["n_trajectories"]), frames)
        found += _check_scalars(file, lead)
        for rank in range(3):
            shape = (*lead, *sizes.values())
            found += _check_fields(file[f"t{rank}_fields"], rank, shape)
        if "recipe" in file.attrs:
            found += _check_generated(file)
        return found


def _length(file: Any, name: str) -> int:
    member = file["dimensions"].get(name)
    return int(member.shape[-1]) if isinstance(member, h5py.Dataset) and member.shape else 0


def _check_root(file: Any) -> Iterator[str]:
    for name in (*_ROOT, "simulation_parameters"):
        if name not in file.attrs:
            yield f"/: expected the attribute {name}, got none"
    for name, attribute in _GROUPS.items():
        if not isinstance(file.get(name), h5py.Group):
            yield f"/: expected the group {name}, got none"
        elif attribute and attribute not in file[name].attrs:
            yield f"/{name}: expected the attribute {attribute}, got none"
    for name in ("n_spatial_dims", "n_trajectories"):
        value = np.asarray(file.attrs.get(name, 1))
        if value.dtype.kind not in "iu" or value.shape != () or value < 1:
            yield f"/: expected a positive integer {name}, got {file.attrs[name]!r}"


def _check_dimensions(file: Any, axes: tuple[str, ...]) -> Iterator[str]:
    group = file["dimensions"]
    if len(axes) != int(file.attrs["n_spatial_dims"]):
        yield f"/: expected n_spatial_dims {len(axes)} for the axes {axes}, got another number"
    for name in ("time", *axes):
        if not isinstance(group.get(name), h5py.Dataset):
            yield f"/dimensions: expected the array {name}, got none"
            continue
        yield from _check_array(group[name])
        values = group[name][()]
        if name != "time" and not (np.isfinite(values).all() and np.ptp(values, axis=-1).all()):
            yield f"/dimensions/{name}: expected distinct finite coordinates"
        if name == "time" and not (np.diff(values, axis=-1) > 0).all():
            yield "/dimensions/time: expected ascending times"


def _check_boundary(group: Any, sizes: dict[str, int]) -> Iterator[str]:
    for name, side in group.items():
        where = f"/boundary_conditions/{name}"
        attributes = ("associated_dims", "associated_fields", "bc_type")
        missing = [
            key
            for key in (*attributes, "sample_varying", "time_varying")
            if key not in side.attrs
        ]
        if missing:
            yield f"{where}: expected the attributes {missing}, got {sorted(side.attrs)}"
            continue
        kind = "".join(texts(side.attrs["bc_type"])).upper()
        if kind not in BOUNDARY_CODES:
            yield f"{where}: expected a bc_type of {sorted(BOUNDARY_CODES)}, got {kind}"
        dims = texts(side.attrs["associated_dims"])
        shape = tuple(sizes.get(dim, 0) for dim in dims)
        mask = side.get("mask")
        if not isinstance(mask, h5py.Dataset) or mask.dtype != bool:
            yield f"{where}: expected the boolean array mask"
        elif mask.shape[mask.ndim - len(shape) :] != shape:
            yield f"{where}: expected a mask of shape {shape} over {dims}, got {mask.shape}"


def _check_scalars(file: Any, lead: tuple[int, int]) -> Iterator[str]:
    group = file["scalars"]
    yield from _check_names(group)
    for name in texts(file.attrs["simulation_parameters"]):
        if name not in file.attrs or name not in group:
            yield f"/: expected the parameter {name} as a root attribute and in scalars"
    for dataset in _datasets(group):
        yield from _check_array(dataset, lead)


def _check_fields(group: Any, rank: int, shape: tuple[int, ...]) -> Iterator[str]:
    yield from _check_names(group)
    ndim = len(shape) - 2
    for dataset in _datasets(group):
        varying = np.atleast_1d(dataset.attrs.get("dim_varying", ()))
        if len(varying) != ndim:
            yield f"{dataset.name}: expected the attribute dim_varying with {ndim} entries"
            continue
        kept = tuple(n if flag else 1 for n, flag in zip(shape[2:], varying, strict=True))
        left = tuple(n for n, flag in zip(shape[2:], varying, strict=True) if flag)
        components = (ndim,) * rank
        lead = (shape[0], shape[1])
        yield from _check_array(dataset, lead, (left + components, kept + components))
        if rank == 2 and not {"symmetric", "antisymmetric"} <= set(dataset.attrs):
            yield f"{dataset.name}: expected the attributes symmetric and antisymmetric"


def _check_names(group: Any) -> Iterator[str]:
    names, present = set(texts(group.attrs["field_names"])), set(group)
    if names != present:
        yield (
            f"{group.name}: expected field_names to list what is there, got "
            f"{sorted(names)} for {sorted(present)}"
        )


def _check_array(
    dataset: Any,
    lead: tuple[int, int] | None = None,
    tails: tuple[tuple[int, ...], ...] = ((),),
) -> Iterator[str]:
    """Type, flags, and the shape that follows from the flags where `lead` says (B, T)."""
    if dataset.dtype != np.float32:
        yield f"{dataset.name}: expected float32, got {dataset.dtype}"
    flags = [dataset.attrs.get(name) for name in ("sample_varying", "time_varying")]
    if any(flag is None for flag in flags):
        yield f"{dataset.name}: expected the attributes sample_varying and time_varying"
    elif lead is not None:
        varying = tuple(n for n, flag in zip(lead, flags, strict=True) if flag)
        if dataset.shape not in [varying + tail for tail in tails]:
            yield (
                f"{dataset.name}: expected shape {varying + tails[0]} by its flags, got "
                f"{dataset.shape}"
            )


def _check_generated(file: Any) -> Iterator[str]:
    """What our own files promise beyond The Well's layout."""
    missing = [name for name in (*_GENERATED, "format_version") if name not in file.attrs]
    if missing:
        yield f"/: expected the attributes {missing} of a generated file, got none"
    try:
        json.loads("".join(texts(file.attrs.get("parameters", "{}"))))
    except ValueError:
        yield "/: expected the attribute parameters to be JSON"
    for rank in range(3):
        for dataset in _datasets(file[f"t{rank}_fields"]):
            offset = dataset.id.get_offset()
            large = dataset.size * dataset.dtype.itemsize >= _PAGE
            if dataset.chunks is not None or offset is None or (large and offset % _PAGE):
                yield f"{dataset.name}: expected one block that begins on a page"


def _datasets(group: Any) -> list[Any]:
    return [member for member in group.values() if isinstance(member, h5py.Dataset)]
