"""What the named-array formats (MATLAB, torch) can hold of a source, and how it is read.

These formats store one scalar field and no coordinates. A source on another domain than the one
that readers assume is refused, because it would silently come back as something else.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any, final

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.base import Source
from sciml.spec import DatasetSpec

_BLOCK_BYTES = 2**26


@final
@dataclass(frozen=True)
class ScalarSelection:
    """Trajectories or pairs of scalar fields, of equal length.

    Args:
        function: Writer's name, for messages.
        source: Where they are read.
        trajectories: Their numbers.

    Raises:
        ValueError: If there are none, they differ in length, or hold more than scalar fields on
            a grid.
    """

    function: str
    source: Source
    trajectories: tuple[int, ...]

    def __post_init__(self) -> None:
        spec = self.spec
        scalar = spec.frame_channels == 1 and sum(f.components for f in spec.out_fields) == 1
        if spec.unstructured or not scalar or self.source.static_fields:
            raise self.refusal(
                "one scalar field, or a pair of them, on a grid",
                f"{[f.name for f in spec.in_fields]} and {[f.name for f in spec.out_fields]}",
            )
        steps = {self.source.num_steps(trajectory) for trajectory in self.trajectories}
        if len(steps) != 1:
            raise self.refusal("trajectories of one length", f"lengths {sorted(steps)}")

    @property
    def spec(self) -> DatasetSpec:
        """The source's self-description."""
        return self.source.spec

    @property
    def num_samples(self) -> int:
        """Number of trajectories or pairs."""
        return len(self.trajectories)

    @property
    def times(self) -> NDArray[np.float64]:
        """Time of each frame, which has to be the same in all trajectories."""
        rows = [self.source.times(trajectory) for trajectory in self.trajectories]
        if any(not np.array_equal(row, rows[0]) for row in rows):
            raise self.refusal("trajectories of the same times", "several")
        return rows[0]

    @property
    def viscosity(self) -> float | None:
        """The one parameter that the formats know; None if the source has none.

        Raises:
            ValueError: If it differs between trajectories or there are other parameters.
        """
        spec = self.spec
        if spec.params:
            raise self.refusal("the same parameters in all trajectories", f"{spec.params}")
        return spec.constants.get("viscosity")

    def fills(self, extent: float, *, periodic: bool) -> bool:
        """Whether the domain is [0, extent] on every axis and all are periodic, or none."""
        box = self.spec.domain
        return (
            all(low == 0.0 for low in box.low)
            and all(math.isclose(high, extent, rel_tol=1e-6) for high in box.high)
            and all(kind == periodic for kind in box.periodic)
            and all(kind == "vertex" for kind in self.spec.grid)
        )

    def refusal(self, expected: str, got: str) -> ValueError:
        """Error that says what the format cannot hold."""
        return ValueError(
            f"{self.function}: expected {expected}, got {got} in {self.spec.name}; choose "
            "trajectories that agree, or write The Well's layout"
        )

    def frames(self, number: int) -> NDArray[np.float32]:
        """All frames of the field, (t, *space)."""
        trajectory = self.trajectories[number]
        steps = self.source.num_steps(trajectory)
        out = np.empty((steps, 1, *self.spec.resolution), np.float32)
        self.source.read(trajectory, 0, steps, 1, out)
        return out.reshape(steps, *self.spec.resolution)

    def first_frame(self, number: int) -> NDArray[np.float32]:
        """The first frame, or the input of a pair."""
        out = np.empty((1, 1, *self.spec.resolution), np.float32)
        self.source.read(self.trajectories[number], 0, 1, 1, out)
        return out.reshape(self.spec.resolution)

    def target(self, number: int) -> NDArray[np.float32]:
        """The output of a pair."""
        out = np.empty((1, *self.spec.resolution), np.float32)
        self.source.read_targets(self.trajectories[number], out)
        return out.reshape(self.spec.resolution)


def reserve(file: IO[Any], offset: int, size: int) -> None:
    """Make a file long enough, and take the space where the system can do that.

    A write through a map of a file on a full disk kills the process; this raises an error.

    Args:
        file: File open for writing.
        offset: First byte.
        size: Number of bytes.

    Raises:
        OSError: If the disk is full.
    """
    file.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), offset, size)
    else:
        os.truncate(file.fileno(), offset + size)


def select(
    function: str, source: Source, trajectories: Sequence[int] | None
) -> ScalarSelection:
    """The trajectories to write; all by default."""
    numbers = range(source.num_trajectories) if trajectories is None else trajectories
    return ScalarSelection(function, source, tuple(int(number) for number in numbers))


def fill_samples(
    out: NDArray[np.float32],
    read: Callable[[int], NDArray[np.float32]],
    progress: Callable[[int], object] | None = None,
) -> None:
    """Copy sample by sample, in blocks of bounded memory.

    Args:
        out: Array to fill, sample axis first, of any strides.
        read: Reads a sample by its number.
        progress: Called with the number of samples copied so far, after each block.
    """
    sample = max(1, out[:1].nbytes)
    step = max(1, _BLOCK_BYTES // sample)
    for start in range(0, len(out), step):
        numbers = range(start, min(start + step, len(out)))
        # where samples are the fastest axis on disk, a whole block is much faster than each one
        out[start : numbers.stop] = np.stack([read(number) for number in numbers])
        if progress is not None:
            progress(numbers.stop)
