"""A source that changes something of another one."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import Source
from sciml.spec import DatasetSpec, FieldSpec


class WrappedSource(Source):
    """Another source unchanged; subclasses say what differs.

    Args:
        source: Where everything is read.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    @override
    def spec(self) -> DatasetSpec:
        return self.source.spec

    @property
    @override
    def splits(self) -> Mapping[str, range]:
        return self.source.splits

    @property
    @override
    def lengths(self) -> NDArray[np.int64]:
        return self.source.lengths

    @property
    @override
    def memory_mapped(self) -> bool:
        return self.source.memory_mapped

    @property
    @override
    def fingerprint(self) -> str:
        return self.source.fingerprint

    @property
    @override
    def split_preset(self) -> str | None:
        return self.source.split_preset

    @property
    @override
    def part_sizes(self) -> tuple[int, ...]:
        return self.source.part_sizes

    @property
    @override
    def static_fields(self) -> tuple[FieldSpec, ...]:
        return self.source.static_fields

    @override
    def num_points(self, trajectory: int) -> int:
        return self.source.num_points(trajectory)

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        self.source.read(trajectory, start, stop, stride, out)

    @override
    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        self.source.read_targets(trajectory, out)

    @override
    def read_static(self, trajectory: int, out: NDArray[np.float32]) -> None:
        self.source.read_static(trajectory, out)

    @override
    def read_coords(self, trajectory: int, out: NDArray[np.float32]) -> None:
        self.source.read_coords(trajectory, out)

    @override
    def times(self, trajectory: int) -> NDArray[np.float64]:
        return self.source.times(trajectory)

    @override
    def params(self, trajectory: int) -> NDArray[np.float64]:
        return self.source.params(trajectory)

    @override
    def boundary(self, trajectory: int) -> NDArray[np.int64]:
        return self.source.boundary(trajectory)

    @override
    def locate(self, trajectory: int) -> str:
        return self.source.locate(trajectory)

    @override
    def describe(self) -> str:
        return self.source.describe()
