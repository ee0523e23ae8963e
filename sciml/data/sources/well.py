"""Data sets in The Well's layout: files of trajectories, read in place."""

import hashlib
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import Source
from sciml.data.sources.hdf5 import ArrayReader
from sciml.data.sources.well_file import WellField, WellFile, read_well_file
from sciml.spec import DatasetSpec, FieldSpec

_MARKS = ("t0_fields", "t1_fields", "t2_fields", "dimensions", "boundary_conditions", "scalars")


def is_well(file: h5py.File) -> bool:
    """Whether an open HDF5 file is meant to follow The Well's layout.

    One of its group names or its attribute is enough, so that a file that lacks a group is
    reported as lacking it and not as unknown.
    """
    return "simulation_parameters" in file.attrs or any(name in file for name in _MARKS)


@final
class WellSource(Source):
    """Trajectories of all files of a data set, numbered split by split and file by file.

    Scalars that differ between trajectories are the PDE parameters ``spec.params``; equal ones
    are ``spec.constants``.

    Args:
        files: Files of each split; the single key ``""`` when there are no splits.
        back_end: Force how arrays are read; by default the memory map wherever it is possible.

    Raises:
        ValueError: If a file is damaged or contradicts itself, or files differ in what they
        hold.
    """

    def __init__(self, files: Mapping[str, list[Path]], back_end: str = "auto") -> None:
        paths = [path for group in files.values() for path in group]
        self._files = [read_well_file(path, back_end) for path in paths]
        first = self._files[0]
        for other in self._files[1:]:
            _check_agreement(first, other)
        counts = [file.num_trajectories for file in self._files]
        self._starts = list(accumulate(counts, initial=0))
        self._lengths = np.repeat([file.num_steps for file in self._files], counts).astype(
            np.int64
        )
        self._splits = self._number_splits(files)
        self._readers = [
            ArrayReader(file.path, {f.spec.name: f.layout for f in _all_fields(file)})
            for file in self._files
        ]
        scalars = {
            name: np.concatenate([file.scalars[name] for file in self._files])
            for name in first.scalars
        }
        constant = {name: bool(np.all(values == values[0])) for name, values in scalars.items()}
        params = tuple(name for name, same in constant.items() if not same)
        self._params = np.array([scalars[name] for name in params], np.float64).reshape(
            len(params), len(self._lengths)
        )
        fields = tuple(field.spec for field in first.fields)
        if not fields:
            raise ValueError(
                f"open_source: expected at least one field with a time axis, got none in "
                f"{first.path}; field_names and time_varying say which there are"
            )
        self._spec = DatasetSpec(
            name=first.name,
            domain=first.domain,
            resolution=first.resolution,
            in_fields=fields,
            out_fields=fields,
            params=params,
            grid=first.grid,
            dt=next((file.dt for file in self._files if file.dt is not None), None),
            constants={
                name: float(scalars[name][0]) for name, same in constant.items() if same
            },
        )

    def _number_splits(self, files: Mapping[str, list[Path]]) -> dict[str, range]:
        splits = {}
        position = 0
        for name, group in files.items():
            stop = position + len(group)
            if name:
                splits[name] = range(self._starts[position], self._starts[stop])
            position = stop
        return splits

    @property
    @override
    def spec(self) -> DatasetSpec:
        return self._spec

    @property
    @override
    def static_fields(self) -> tuple[FieldSpec, ...]:
        return tuple(field.spec for field in self._files[0].static_fields)

    @property
    @override
    def splits(self) -> Mapping[str, range]:
        return self._splits

    @property
    @override
    def lengths(self) -> NDArray[np.int64]:
        return self._lengths

    @property
    @override
    def memory_mapped(self) -> bool:
        return all(
            field.layout.offset is not None for file in self._files for field in file.fields
        )

    @property
    @override
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for file in self._files:
            state = file.path.stat()
            digest.update(f"{file.path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def _find(self, trajectory: int) -> tuple[int, int]:
        """Number of the file, and of the trajectory inside it."""
        number = bisect_right(self._starts, trajectory) - 1
        return number, trajectory - self._starts[number]

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        number, sample = self._find(trajectory)
        self._copy(self._files[number].fields, number, sample, slice(start, stop, stride), out)

    @override
    def read_static(self, trajectory: int, out: NDArray[np.float32]) -> None:
        number, sample = self._find(trajectory)
        self._copy(self._files[number].static_fields, number, sample, slice(None), out[None])

    def _copy(
        self,
        fields: tuple[WellField, ...],
        number: int,
        sample: int,
        frames: slice,
        out: NDArray[np.float32],
    ) -> None:
        reader = self._readers[number]
        channel = 0
        for field in fields:
            end = channel + field.spec.components
            field.copy(reader[field.spec.name], sample, frames, out[:, channel:end])
            channel = end

    @override
    def times(self, trajectory: int) -> NDArray[np.float64]:
        number, sample = self._find(trajectory)
        times = self._files[number].times
        row: NDArray[np.float64] = times[sample if len(times) > 1 else 0]
        return row

    @override
    def params(self, trajectory: int) -> NDArray[np.float64]:
        return self._params[:, trajectory]

    @override
    def boundary(self, trajectory: int) -> NDArray[np.int64]:
        number, sample = self._find(trajectory)
        codes = self._files[number].boundary
        row: NDArray[np.int64] = codes[sample if len(codes) > 1 else 0]
        return row

    @override
    def locate(self, trajectory: int) -> str:
        number, sample = self._find(trajectory)
        return f"{self._files[number].path}, trajectory {sample}"

    @override
    def describe(self) -> str:
        first = self._files[0]
        lines = [
            f"{self._spec.name}: The Well layout, {len(self._files)} files, "
            f"{self.num_trajectories} trajectories, {self._spec.resolution} points"
        ]
        for field in _all_fields(first):
            readers = Counter(
                f"{f.layout.back_end} ({f.layout.reason})"
                for file in self._files
                for f in _all_fields(file)
                if f.spec.name == field.spec.name
            )
            how = ", ".join(f"{reader} in {count} files" for reader, count in readers.items())
            kind = "static field" if field in first.static_fields else "field"
            lines.append(f"{kind} {field.spec.name}: rank {field.spec.rank}, {how}")
        if first.left_out:
            lines.append(f"scalars that vary in time, not read: {', '.join(first.left_out)}")
        return "\n".join(lines)


def _all_fields(file: WellFile) -> tuple[WellField, ...]:
    return file.fields + file.static_fields


def _snap(step: float | None, reference: float) -> float | None:
    """The reference where it is the same but for the rounding of times in single precision."""
    same = step is not None and math.isclose(step, reference, rel_tol=1e-5)
    return reference if same else step


def _check_agreement(first: WellFile, other: WellFile) -> None:
    """Two files of one data set must hold the same fields on the same grid.

    Raises:
        ValueError: Naming the odd file, what differs and both values.
    """

    def contents(file: WellFile) -> dict[str, Any]:
        step = file.dt or first.dt or other.dt
        return {
            "dataset_name": file.name,
            "axes": file.domain.axes,
            "resolution": file.resolution,
            "periodicity": file.domain.periodic,
            "domain": (file.domain.low, file.domain.high, file.grid),
            "fields": [f.spec for f in file.fields],
            "static fields": [f.spec for f in file.static_fields],
            "scalars": sorted(file.scalars),
            # a file with one frame has no time step to disagree about
            "time step": step if first.dt is None else _snap(step, first.dt),
        }

    expected, got = contents(first), contents(other)
    for name, value in expected.items():
        if got[name] != value:
            raise ValueError(
                f"open_source: expected {name} {value} as in {first.path.name}, got "
                f"{got[name]} in {other.path}; move the file out of the folder or generate it "
                "again"
            )
