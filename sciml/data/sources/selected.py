"""Some of the fields of a data set."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import Source
from sciml.data.sources.wrapped import WrappedSource
from sciml.spec import DatasetSpec, FieldSpec


@final
class SelectedSource(WrappedSource):
    """The named fields of another source, in the order of the files; static fields all stay.

    Args:
        source: The source with all fields.
        fields: Names of the fields to keep, in any order; of pairs, input and output fields.

    Raises:
        ValueError: If there is no such field (naming the nearest), one is named twice, or no
            input or no output field is left.
    """

    def __init__(self, source: Source, fields: Sequence[str]) -> None:
        super().__init__(source)
        spec = source.spec
        names = list(dict.fromkeys(f.name for f in spec.in_fields + spec.out_fields))
        for name in fields:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"open_dataset: expected fields of {names}, got {name!r}; did you mean "
                    f"{near!r}?"
                )
        self._inputs = _channels(spec.in_fields, fields)
        self._outputs = _channels(spec.out_fields, fields)
        if len(set(fields)) != len(fields) or not self._inputs or not self._outputs:
            raise ValueError(
                "open_dataset: expected each field once, with at least one of the inputs "
                f"{[f.name for f in spec.in_fields]} and one of the outputs "
                f"{[f.name for f in spec.out_fields]}, got {list(fields)}; add what is missing"
            )
        self._spec = replace(
            spec,
            in_fields=tuple(f for f in spec.in_fields if f.name in fields),
            out_fields=tuple(f for f in spec.out_fields if f.name in fields),
        )

    @property
    @override
    def spec(self) -> DatasetSpec:
        return self._spec

    @property
    @override
    def fingerprint(self) -> str:
        kept = dict.fromkeys(f.name for f in self._spec.in_fields + self._spec.out_fields)
        return f"{self.source.fingerprint} fields {','.join(kept)}"

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        channels = self.source.spec.frame_channels
        everything = np.empty((out.shape[0], channels, *out.shape[2:]), np.float32)
        self.source.read(trajectory, start, stop, stride, everything)
        for channel, wanted in enumerate(self._inputs):
            out[:, channel] = everything[:, wanted]

    @override
    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        channels = self.source.spec.out_channels
        everything = np.empty((channels, *out.shape[1:]), np.float32)
        self.source.read_targets(trajectory, everything)
        for channel, wanted in enumerate(self._outputs):
            out[channel] = everything[wanted]

    @override
    def describe(self) -> str:
        share = len(self._inputs) / self.source.spec.frame_channels
        return (
            f"{self.source.describe()}\nonly the fields "
            f"{', '.join(f.name for f in self._spec.in_fields)} ({share:.0%} of what is read)"
        )


def _channels(fields: Sequence[FieldSpec], names: Sequence[str]) -> list[int]:
    """Channel numbers of the named fields."""
    chosen: list[int] = []
    first = 0
    for field in fields:
        if field.name in names:
            chosen += range(first, first + field.components)
        first += field.components
    return chosen
