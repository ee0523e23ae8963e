"""Data sets in The Well's layout: one HDF5 file, read in place."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import FileSource, Format
from sciml.data.sources.hdf5 import ArrayReader
from sciml.data.sources.well_fields import WellField
from sciml.data.sources.well_file import read_well_file
from sciml.spec import DatasetSpec, FieldSpec

_MARKS = ("t0_fields", "t1_fields", "t2_fields", "dimensions", "boundary_conditions", "scalars")


def is_well(file: h5py.File) -> bool:
    """Whether an open HDF5 file is meant to follow The Well's layout.

    One of its group names or its attribute is enough, so that a file that lacks a group is
    reported as lacking it and not as unknown.
    """
    return "simulation_parameters" in file.attrs or any(name in file for name in _MARKS)


@final
class WellSource(FileSource):
    """Trajectories of one file.

    Args:
        path: The file.
        back_end: Force how arrays are read; by default the memory map wherever it is possible.

    Raises:
        ValueError: If the file is damaged or contradicts itself.
    """

    def __init__(self, path: Path, back_end: str = "auto") -> None:
        file = read_well_file(path, back_end)
        self._file = file
        self._reader = ArrayReader(
            path, {f.spec.name: f.layout for f in file.fields + file.static_fields}
        )
        fields = tuple(field.spec for field in file.fields)
        if not fields:
            raise ValueError(
                f"open_source: expected at least one field with a time axis, got none in "
                f"{path}; field_names and time_varying say which there are"
            )
        self._inputs = tuple(f for f in file.static_fields if f.spec.name in file.inputs)
        self._static = tuple(f for f in file.static_fields if f.spec.name not in file.inputs)
        if len(self._inputs) != len(file.inputs) or (self._inputs and file.num_steps != 1):
            raise ValueError(
                f"open_source: expected fields without time axis and one frame of the pairs "
                f"with input_fields {list(file.inputs)}, got {file.num_steps} frames and the "
                f"fields {[f.spec.name for f in file.static_fields]} in {path}; correct the "
                "attribute input_fields"
            )
        self._spec = DatasetSpec(
            name=file.name,
            domain=file.domain,
            resolution=file.resolution,
            in_fields=tuple(field.spec for field in self._inputs) or fields,
            out_fields=fields,
            grid=file.grid,
            dt=file.dt,
        )
        self._lengths = np.full(file.num_trajectories, file.num_steps, np.int64)

    @property
    @override
    def spec(self) -> DatasetSpec:
        return self._spec

    @property
    @override
    def static_fields(self) -> tuple[FieldSpec, ...]:
        return tuple(field.spec for field in self._static)

    @property
    @override
    def split_preset(self) -> str | None:
        return self._file.split_preset or None

    @property
    @override
    def paths(self) -> tuple[Path, ...]:
        return (self._file.path,)

    @property
    @override
    def scalars(self) -> Mapping[str, NDArray[np.float64]]:
        return self._file.scalars

    @property
    @override
    def lengths(self) -> NDArray[np.int64]:
        return self._lengths

    @property
    @override
    def memory_mapped(self) -> bool:
        return all(field.layout.memory_mapped for field in self._file.fields + self._inputs)

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        frames = slice(start, stop, stride)
        self._copy(self._inputs or self._file.fields, trajectory, frames, out)

    @override
    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        if not self._inputs:
            super().read_targets(trajectory, out)
        self._copy(self._file.fields, trajectory, slice(None), out[None])

    @override
    def read_static(self, trajectory: int, out: NDArray[np.float32]) -> None:
        self._copy(self._static, trajectory, slice(None), out[None])

    def _copy(
        self,
        fields: tuple[WellField, ...],
        sample: int,
        frames: slice,
        out: NDArray[np.float32],
    ) -> None:
        channel = 0
        for field in fields:
            end = channel + field.spec.components
            field.copy(self._reader[field.spec.name], sample, frames, out[:, channel:end])
            channel = end

    @override
    def times(self, trajectory: int) -> NDArray[np.float64]:
        times = self._file.times
        row: NDArray[np.float64] = times[trajectory if len(times) > 1 else 0]
        return row

    @override
    def boundary(self, trajectory: int) -> NDArray[np.int64]:
        codes = self._file.boundary
        row: NDArray[np.int64] = codes[trajectory if len(codes) > 1 else 0]
        return row

    @override
    def describe(self) -> str:
        file = self._file
        lines = [f"The Well layout, {self._spec.resolution} points"]
        for field in file.fields + file.static_fields:
            kind = "input" if field in self._inputs else "field"
            kind = "static field" if field in self._static else kind
            lines.append(
                f"{kind} {field.spec.name}: rank {field.spec.rank}, {field.layout.back_end} "
                f"({field.layout.reason})"
            )
        return "\n".join([*lines, *file.notes])


def _open_files(paths: Sequence[Path], back_end: str) -> list[WellSource]:
    return [_open_file(path, back_end) for path in paths]


def _open_file(path: Path, back_end: str) -> WellSource:
    """One file; what numpy and HDF5 find wrong inside becomes an error that names the file."""
    try:
        return WellSource(path, back_end)
    except (KeyError, TypeError, ValueError, ArithmeticError, MemoryError) as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(
            f"open_source: expected a sound file in The Well's layout, got damage in {path} "
            f"({error}); generate or download it again"
        ) from error


FORMAT = Format("well", "hdf5", is_well, _open_files)
"""The Well's layout, which is also the one that we write."""
