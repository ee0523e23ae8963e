"""A source that reads each of its trajectories from one of several others."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import Source
from sciml.spec import DatasetSpec, FieldSpec


class ComposedSource(Source):
    """Trajectories of several sources under numbers of their own.

    Subclasses set what describes the whole, and say where each trajectory is.
    """

    _sources: Sequence[Source]
    _spec: DatasetSpec
    _splits: Mapping[str, range]
    _lengths: NDArray[np.int64]

    @abstractmethod
    def _find(self, trajectory: int) -> tuple[Source, int]:
        """The member that holds a trajectory, and its number there."""

    @property
    @override
    def spec(self) -> DatasetSpec:
        return self._spec

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
    def static_fields(self) -> tuple[FieldSpec, ...]:
        return self._sources[0].static_fields

    @property
    @override
    def memory_mapped(self) -> bool:
        return all(source.memory_mapped for source in self._sources)

    @override
    def num_points(self, trajectory: int) -> int:
        source, number = self._find(trajectory)
        return source.num_points(number)

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        source, number = self._find(trajectory)
        source.read(number, start, stop, stride, out)

    @override
    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        source, number = self._find(trajectory)
        source.read_targets(number, out)

    @override
    def read_static(self, trajectory: int, out: NDArray[np.float32]) -> None:
        source, number = self._find(trajectory)
        source.read_static(number, out)

    @override
    def read_coords(self, trajectory: int, out: NDArray[np.float32]) -> None:
        source, number = self._find(trajectory)
        source.read_coords(number, out)

    @override
    def times(self, trajectory: int) -> NDArray[np.float64]:
        source, number = self._find(trajectory)
        return source.times(number)

    @override
    def boundary(self, trajectory: int) -> NDArray[np.int64]:
        source, number = self._find(trajectory)
        return source.boundary(number)

    @override
    def locate(self, trajectory: int) -> str:
        source, number = self._find(trajectory)
        return source.locate(number)
