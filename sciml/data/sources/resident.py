"""Trajectories kept in memory after their first read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import Source
from sciml.spec import DatasetSpec, FieldSpec

_SHARE_OF_MEMORY = 0.25


def fits_in_memory(source: Source) -> bool:
    """Whether all frames, as float32, need less than a quarter of the available memory."""
    frame = source.spec.frame_channels * int(np.prod(source.spec.resolution))
    return 4 * frame * int(source.lengths.sum()) < _SHARE_OF_MEMORY * _available_bytes()


def _available_bytes() -> int:
    """Memory that can be had without swapping, page cache included where the system says so."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@final
class ResidentSource(Source):
    """Another source, with each trajectory kept as a float32 array once it was read.

    Worth its memory where reading is slow: compressed or chunked files, other dtypes. What a
    process has read stays in that process and is not pickled.

    Args:
        source: Where trajectories are read.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._frames: dict[int, NDArray[np.float32]] = {}

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Leave the frames behind; another process reads them for itself."""
        return {**self.__dict__, "_frames": {}}

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        frames = self._frames.get(trajectory)
        if frames is None:
            spec, steps = self._source.spec, self._source.num_steps(trajectory)
            frames = np.empty((steps, spec.frame_channels, *spec.resolution), np.float32)
            self._source.read(trajectory, 0, steps, 1, frames)
            self._frames[trajectory] = frames
        np.copyto(out, frames[start:stop:stride])

    @override
    def read_static(self, trajectory: int, out: NDArray[np.float32]) -> None:
        self._source.read_static(trajectory, out)

    @property
    @override
    def spec(self) -> DatasetSpec:
        return self._source.spec

    @property
    @override
    def static_fields(self) -> tuple[FieldSpec, ...]:
        return self._source.static_fields

    @property
    @override
    def splits(self) -> Mapping[str, range]:
        return self._source.splits

    @property
    @override
    def lengths(self) -> NDArray[np.int64]:
        return self._source.lengths

    @property
    @override
    def memory_mapped(self) -> bool:
        return self._source.memory_mapped

    @property
    @override
    def fingerprint(self) -> str:
        return self._source.fingerprint

    @override
    def times(self, trajectory: int) -> NDArray[np.float64]:
        return self._source.times(trajectory)

    @override
    def params(self, trajectory: int) -> NDArray[np.float64]:
        return self._source.params(trajectory)

    @override
    def boundary(self, trajectory: int) -> NDArray[np.int64]:
        return self._source.boundary(trajectory)

    @override
    def locate(self, trajectory: int) -> str:
        return self._source.locate(trajectory)

    @override
    def describe(self) -> str:
        return f"{self._source.describe()}\nkept in memory after the first read"
