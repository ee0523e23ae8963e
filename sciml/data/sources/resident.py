"""Trajectories kept in memory after their first read."""

import math
import os
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import Source
from sciml.data.sources.wrapped import WrappedSource

_SHARE_OF_MEMORY = 0.25


def fits_in_memory(source: Source) -> bool:
    """Whether all frames, as float32, need less than a quarter of the available memory."""
    return frame_bytes(source) < _SHARE_OF_MEMORY * available_bytes()


def frame_bytes(source: Source, trajectories: NDArray[np.int64] | None = None) -> int:
    """Bytes of all frames, or of some trajectories', and of outputs of pairs, as float32."""
    spec = source.spec
    channels = spec.frame_channels + (spec.out_channels if spec.paired else 0)
    lengths = source.lengths if trajectories is None else source.lengths[trajectories]
    return 4 * channels * math.prod(spec.resolution) * int(lengths.sum())


def available_bytes() -> int:
    """Memory that can be had without swapping, page cache included where the system says so."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@final
class ResidentSource(WrappedSource):
    """Another source, with each trajectory kept as a float32 array once it was read.

    Worth its memory where reading is slow: compressed or chunked files, other dtypes. What a
    process has read stays in that process and is not pickled.

    Args:
        source: Where trajectories are read.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._frames: dict[int, NDArray[np.float32]] = {}
        self._targets: dict[int, NDArray[np.float32]] = {}

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Leave the frames behind; another process reads them for itself."""
        return {**self.__dict__, "_frames": {}, "_targets": {}}

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        frames = self._frames.get(trajectory)
        if frames is None:
            steps = self.source.num_steps(trajectory)
            frames = np.empty((steps, *out.shape[1:]), np.float32)
            self.source.read(trajectory, 0, steps, 1, frames)
            self._frames[trajectory] = frames
        np.copyto(out, frames[start:stop:stride])

    @override
    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        targets = self._targets.get(trajectory)
        if targets is None:
            targets = np.empty(out.shape, np.float32)
            self.source.read_targets(trajectory, targets)
            self._targets[trajectory] = targets
        np.copyto(out, targets)

    @override
    def describe(self) -> str:
        return f"{self.source.describe()}\nkept in memory after the first read"
