"""A data set made of named arrays, once a recipe has said what they mean."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.array_sets import ArraySet, Meaning
from sciml.data.sources.array_sets_samples import SampleArray
from sciml.data.sources.base import FileSource
from sciml.spec import DatasetSpec, FieldSpec


@final
class ArraySource(FileSource):
    """Samples of one file, or of files that belong together.

    Args:
        files: Where the arrays lie.
        meaning: What they mean.
        notes: Further remarks for `describe`.

    Raises:
        ValueError: If the arrays disagree in the number of samples.
    """

    def __init__(self, files: ArraySet, meaning: Meaning, notes: tuple[str, ...] = ()) -> None:
        self._files = files
        self._meaning = meaning
        self._notes = meaning.notes + notes
        inputs = tuple(FieldSpec(item.name) for item in meaning.inputs)
        outputs = tuple(FieldSpec(item.name) for item in meaning.targets) or inputs
        self._spec = replace(meaning.spec, in_fields=inputs, out_fields=outputs)
        samples = meaning.num_samples
        for array in self._arrays():
            if 0 in array.shape:
                raise ValueError(
                    f"open_source: expected samples in {array.stored.name!r} of "
                    f"{array.stored.path}, got shape {array.stored.shape}; generate or "
                    "download the file again"
                )
            if array.shape[0] != samples:
                raise ValueError(
                    f"open_source: expected {samples} samples in every variable of "
                    f"{files.paths[0]}, got {array.shape[0]} in {array.stored.name!r}; the "
                    "file is damaged or of another kind"
                )
        self._lengths = np.full(samples, len(meaning.times), np.int64)
        self._scalars = {
            name: np.broadcast_to(np.asarray(value, np.float64), samples)
            for name, value in meaning.scalars.items()
        }

    def _arrays(self) -> list[SampleArray]:
        fields = [item.values for item in self._meaning.inputs + self._meaning.targets]
        return fields + list(self._meaning.coords)

    @property
    @override
    def spec(self) -> DatasetSpec:
        return self._spec

    @property
    @override
    def paths(self) -> tuple[Path, ...]:
        return self._files.paths

    @property
    @override
    def scalars(self) -> Mapping[str, NDArray[np.float64]]:
        return self._scalars

    @property
    @override
    def role(self) -> str:
        return self._meaning.role or self._files.role

    @property
    @override
    def split_preset(self) -> str | None:
        return self._meaning.split_preset

    @property
    @override
    def lengths(self) -> NDArray[np.int64]:
        return self._lengths

    @property
    @override
    def memory_mapped(self) -> bool:
        return all(array.memory_mapped for array in self._arrays())

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        for channel, item in enumerate(self._meaning.inputs):
            if self._meaning.targets:
                np.copyto(out[0, channel], item.sample(trajectory), casting="same_kind")
            else:
                frames = item.values[trajectory, start:stop]
                np.copyto(out[:, channel], frames[::stride], casting="same_kind")

    @override
    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        if not self._meaning.targets:
            super().read_targets(trajectory, out)
        for channel, item in enumerate(self._meaning.targets):
            np.copyto(out[channel], item.sample(trajectory), casting="same_kind")

    @override
    def read_coords(self, trajectory: int, out: NDArray[np.float32]) -> None:
        coords = self._meaning.coords
        if not coords:
            super().read_coords(trajectory, out)
        for axis, column in enumerate(coords):
            part = out if len(coords) == 1 else out[:, axis]
            np.copyto(part, column[trajectory], casting="same_kind")

    @override
    def times(self, trajectory: int) -> NDArray[np.float64]:
        return self._meaning.times

    @override
    def locate(self, trajectory: int) -> str:
        place = f", {self._files.position}" if self._files.position else ""
        return f"{self.paths[0]}{place}, trajectory {trajectory}"

    @override
    def describe(self) -> str:
        lines = [f"{self._meaning.recipe}, {self._spec.resolution} points"]
        if self._meaning.coords:
            lines[0] = f"{self._meaning.recipe}, point clouds"
            lines.append(f"coordinates: {self._meaning.coords[0].describe()}")
        lines += [f"field {f.name}: {f.values.describe()}" for f in self._meaning.inputs]
        lines += [f"output {f.name}: {f.values.describe()}" for f in self._meaning.targets]
        return "\n".join([*lines, *self._notes])
