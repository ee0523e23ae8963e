"""The Well's layout: what one HDF5 file says about itself, checked against its arrays.

Source: R. Ohana et al., The Well, 2024, arXiv:2412.00568; layout as described by its data
format document. Axes flagged as not varying are absent from an array and are broadcast back
when read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.hdf5 import (
    ArrayLayout,
    inspect_array,
    open_hdf5,
    require,
    texts,
)
from sciml.domain import Box, GridKind
from sciml.spec import FieldSpec

_FIELD_GROUPS = ("t0_fields", "t1_fields", "t2_fields")
_BOUNDARY_CODES = {"WALL": 0, "OPEN": 1, "PERIODIC": 2}
_DOUBLE_DIGITS, _SINGLE_DIGITS = 15, 7


@final
@dataclass(frozen=True)
class WellField:
    """One field of a file.

    Args:
        spec: Name, rank and number of channels.
        layout: Where its array lies.
        sample_varying: Whether the array has the trajectory axis.
        time_varying: Whether the array has the time axis.
        space: Length of each spatial axis in the array, 1 where the axis is absent.
    """

    spec: FieldSpec
    layout: ArrayLayout
    sample_varying: bool
    time_varying: bool
    space: tuple[int, ...]

    def copy(self, array: Any, sample: int, frames: slice, out: NDArray[np.float32]) -> None:
        """Copy frames of one trajectory into a (t, components, *space) buffer."""
        index: tuple[int | slice, ...] = (sample,) if self.sample_varying else ()
        index += (frames,) if self.time_varying else ()
        # where space has a length of 1, the axis may be absent from the array
        if self.time_varying and self.space == out.shape[2:] and 1 not in self.space:
            tail = array.ndim - len(index) - len(self.space)
            array.read_into(index, self._as_on_disk(out, tail))
            return
        block = array[index]
        lead = block.shape[:1] if self.time_varying else (1,)
        if self.spec.rank == 0:
            np.copyto(out[:, 0], block.reshape(lead + self.space), casting="same_kind")
            return
        # vector and tensor components stand last on disk, whether as D x D or as D² entries
        block = block.reshape(*lead, *self.space, self.spec.components)
        np.copyto(np.moveaxis(out, 1, -1), block, casting="same_kind")

    def _as_on_disk(self, out: NDArray[np.float32], tail: int) -> NDArray[np.float32]:
        """View of a (t, components, *space) buffer, with so many component axes, and last."""
        if tail == 0:
            return out[:, 0]
        if tail == 2:
            # D x D entries instead of D²; splitting an axis never copies
            out = out.reshape(len(out), len(self.space), len(self.space), *self.space)
        return np.moveaxis(out, range(1, 1 + tail), range(-tail, 0))


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
        left_out: Scalars that vary in time; they are no PDE parameters of a trajectory.
        boundary: Boundary codes, shape (1, d, 2) or (B, d, 2).
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
    left_out: tuple[str, ...]
    boundary: NDArray[np.int64]

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
        num_trajectories = int(require(file, "n_trajectories", "attribute"))
        times = np.atleast_2d(
            np.asarray(require(dimensions, "time", "dataset")[()], np.float64)
        )
        lines = [require(dimensions, axis, "dataset") for axis in axes]
        resolution = tuple(int(line.shape[-1]) for line in lines)
        boundary = _read_boundary(file, axes, resolution)
        periodic = tuple(bool(np.all(boundary[:, axis] == 2)) for axis in range(len(axes)))
        ends = [_axis_ends(line, closed) for line, closed in zip(lines, periodic, strict=True)]
        low, high, grid = zip(*ends, strict=True)
        shape = (num_trajectories, int(times.shape[-1]), *resolution)
        fields = _read_fields(file, shape, back_end)
        scalars, left_out = _read_scalars(file, num_trajectories)
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
            left_out=left_out,
            boundary=boundary,
        )


def _axis_ends(line: Any, periodic: bool) -> tuple[float, float, GridKind]:
    """Lower end, upper end and grid kind of an axis, from its coordinates.

    The layout stores points, not the box. Points that begin half a spacing above zero are cell
    centres; otherwise they are vertices, and a periodic axis ends one spacing behind the last.
    """
    points = np.asarray(line[()], np.float64).reshape(-1, line.shape[-1])[0]
    first, last = float(points[0]), float(points[-1])
    spacing = (last - first) / (len(points) - 1) if len(points) > 1 else 1.0
    uniform = bool(np.allclose(np.diff(points), spacing, rtol=1e-3, atol=0.0))
    cell = uniform and math.isclose(first, spacing / 2, rel_tol=1e-3)
    if cell:
        first, last = first - spacing / 2, last + spacing / 2
    elif periodic or len(points) == 1:
        last += spacing
    # a box of length 1 must not become 0.99999994 because its points are stored in float32
    digits = _SINGLE_DIGITS if line.dtype.itemsize < 8 else _DOUBLE_DIGITS
    decimals = digits - 1 - math.floor(math.log10(last - first)) if last > first else digits
    return round(first, decimals), round(last, decimals), "cell" if cell else "vertex"


def _read_fields(file: Any, shape: tuple[int, ...], back_end: str) -> list[WellField]:
    """All fields in channel order: ranks 0, 1, 2, and `field_names` inside a rank."""
    if not any(name in file for name in _FIELD_GROUPS):
        require(file, _FIELD_GROUPS[0], "group")
    fields = []
    for rank, group_name in enumerate(_FIELD_GROUPS):
        if group_name in file:
            group = file[group_name]
            for name in texts(require(group, "field_names", "attribute")):
                dataset = require(group, name, "dataset")
                fields.append(_read_field(dataset, name, rank, shape, back_end))
    return fields


def _read_field(
    dataset: Any, name: str, rank: int, shape: tuple[int, ...], back_end: str
) -> WellField:
    """One field; its array must have the axes that its flags announce."""
    ndim = len(shape) - 2
    sample_varying = bool(require(dataset, "sample_varying", "attribute"))
    time_varying = bool(require(dataset, "time_varying", "attribute"))
    varying = tuple(bool(v) for v in require(dataset, "dim_varying", "attribute"))
    flags = (sample_varying, time_varying, *varying)
    expected = tuple(n for n, flag in zip(shape, flags, strict=True) if flag)
    # the format's text allows one axis of D² entries for tensors, its checker wants D x D
    layouts = {(ndim,) * rank, (ndim**rank,) if rank else ()}
    if tuple(dataset.shape) not in {expected + tail for tail in layouts}:
        raise ValueError(
            f"open_source: expected shape {expected + (ndim,) * rank} of {dataset.name} in "
            f"{dataset.file.filename} from its flags, got {tuple(dataset.shape)}; the file "
            "contradicts itself, generate or download it again"
        )
    if dataset.dtype.kind not in "iufb":
        raise ValueError(
            f"open_source: expected real numbers in {dataset.name} of {dataset.file.filename}, "
            f"got dtype {dataset.dtype}; store real and imaginary parts as two fields"
        )
    space = tuple(n if flag else 1 for n, flag in zip(shape[2:], varying, strict=True))
    spec = FieldSpec(name, rank, ndim**rank, texts(dataset.attrs.get("units", ""))[0])
    return WellField(
        spec, inspect_array(dataset, back_end), sample_varying, time_varying, space
    )


def _read_scalars(
    file: Any, num_trajectories: int
) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...]]:
    """Parameters of each trajectory, and the names of scalars that vary in time."""
    scalars: dict[str, NDArray[np.float64]] = {}
    left_out = []
    group = file.get("scalars", {})
    for name in texts(require(group, "field_names", "attribute")) if group else ():
        dataset = require(group, name, "dataset")
        if bool(require(dataset, "time_varying", "attribute")):
            left_out.append(name)
            continue
        values = np.asarray(dataset[()], np.float64)
        exact = np.asarray(file.attrs.get(name, ""))
        if exact.dtype.kind in "iuf" and np.array_equal(np.float32(exact), np.float32(values)):
            # the root attribute repeats the parameter, and often in double precision
            values = exact.astype(np.float64)
        scalars[name] = np.broadcast_to(values, (num_trajectories,)).copy()
    return scalars, tuple(left_out)


def _read_boundary(
    file: Any, axes: tuple[str, ...], resolution: tuple[int, ...]
) -> NDArray[np.int64]:
    """Code of the low and high face of each axis; OPEN where nothing is said.

    A face is a wall only if its whole edge is masked; open and periodic hold from one point on.
    """
    codes = np.full((1, len(axes), 2), _BOUNDARY_CODES["OPEN"], np.int64)
    for name, group in require(file, "boundary_conditions", "group").items():
        kind = texts(require(group, "bc_type", "attribute"))[0].upper()
        if kind not in _BOUNDARY_CODES:
            raise ValueError(
                f"open_source: expected a boundary type of {sorted(_BOUNDARY_CODES)} in "
                f"boundary_conditions/{name} of {file.filename}, got {kind!r}; correct bc_type"
            )
        dims = texts(require(group, "associated_dims", "attribute"))
        mask = np.asarray(require(group, "mask", "dataset")[()], bool)
        lead = mask.ndim - len(dims)
        samples = (
            mask.shape[0] if lead and bool(group.attrs.get("sample_varying", False)) else 1
        )
        space = tuple(resolution[axes.index(dim)] for dim in dims)
        if lead < 0 or mask.shape[lead:] != space:
            raise ValueError(
                f"open_source: expected a mask of shape {space} in boundary_conditions/{name} "
                f"of {file.filename}, got {mask.shape}; one entry for each point of {dims}"
            )
        mask = mask.reshape(samples, -1, *space)
        if samples > len(codes):
            codes = np.repeat(codes, samples, axis=0)
        for position, dim in enumerate(dims):
            for side, face in ((0, 0), (1, -1)):
                edge = mask.take(face, axis=position + 2).reshape(samples, -1)
                hit = edge.all(axis=1) if kind == "WALL" else edge.any(axis=1)
                face_codes = codes[:, axes.index(dim), side]
                face_codes[np.broadcast_to(hit, face_codes.shape)] = _BOUNDARY_CODES[kind]
    return codes
