"""Which frames a sample covers: arithmetic on trajectory lengths, no list of windows."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray


@final
@dataclass(frozen=True)
class Windows:
    """Windows of h input frames and t target frames, s frames apart, inside one trajectory.

    A window that starts at frame a covers the frames a, a + s, …, a + s (h + t - 1); it never
    leaves its trajectory. A trajectory of T frames has ``T - first - s (h + t - 1)`` windows,
    none if that is negative.

    With `max_stride`, a training sample draws its stride anew in each epoch, evenly from
    `stride` to `max_stride` as far as its trajectory reaches. Which windows there are, and all
    samples that are not drawn at random, are those of `stride`.

    Args:
        history: Input frames h.
        horizon: Target frames t; 0 where targets are not wanted, and for pairs, which bring
            their own.
        stride: Distance s of the frames of a window; the smallest one of random strides.
        first: First frame at which a window may start.
        per_trajectory: At most so many windows of each trajectory, the earliest ones.
        max_stride: Largest random stride; None where all strides are equal.

    Raises:
        ValueError: If a count is below one, `horizon` or `first` below zero, or `max_stride`
        below `stride`.
    """

    history: int = 1
    horizon: int = 1
    stride: int = 1
    first: int = 0
    per_trajectory: int | None = None
    max_stride: int | None = None

    def __post_init__(self) -> None:
        for name, low in (("history", 1), ("horizon", 0), ("stride", 1), ("first", 0)):
            if getattr(self, name) < low:
                raise ValueError(
                    f"Windows: expected {name} >= {low}, got {getattr(self, name)}; raise it"
                )
        if self.per_trajectory is not None and self.per_trajectory < 1:
            raise ValueError(
                f"Windows: expected per_trajectory >= 1, got {self.per_trajectory}; leave it "
                "out for all windows"
            )
        if self.max_stride is not None and self.max_stride < self.stride:
            raise ValueError(
                f"Windows: expected max_stride >= stride, got {self.max_stride} < "
                f"{self.stride}; leave it out for equal strides"
            )

    @property
    def frames(self) -> int:
        """Frames h + t of one window."""
        return self.history + self.horizon

    @property
    def span(self) -> int:
        """Consecutive frames from the first to the last frame of a window."""
        return self.stride * (self.frames - 1) + 1

    def counts(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of windows in trajectories of the given numbers of frames."""
        counts = np.maximum(lengths - self.first - self.span + 1, 0)
        return (
            counts if self.per_trajectory is None else np.minimum(counts, self.per_trajectory)
        )

    def strides(
        self,
        start: NDArray[np.int64],
        lengths: NDArray[np.int64],
        draws: NDArray[np.float64] | None = None,
    ) -> NDArray[np.int64]:
        """Distance of the frames of each window.

        Args:
            start: First frame of each window.
            lengths: Number of frames of its trajectory.
            draws: A number of [0, 1) for each window, evenly distributed; None for the
                smallest stride.

        Returns:
            Strides from s to min(max_stride, ⌊(T - start - 1) / (h + t - 1)⌋), evenly
            distributed.
        """
        smallest = np.full(len(start), self.stride, np.int64)
        if draws is None or self.max_stride is None or self.frames == 1:
            return smallest
        reach = (lengths - start - 1) // (self.frames - 1)
        choices = np.minimum(reach, self.max_stride) - self.stride + 1
        strides: NDArray[np.int64] = smallest + (draws * choices).astype(np.int64)
        return strides


@final
class WindowIndex:
    """Windows of a list of trajectories, numbered trajectory by trajectory.

    Memory is one integer for each trajectory, whatever the number of windows.

    Args:
        windows: Shape of the windows.
        lengths: Number of frames of each trajectory.
    """

    def __init__(self, windows: Windows, lengths: NDArray[np.int64]) -> None:
        self.windows = windows
        self._ends = np.cumsum(windows.counts(lengths), dtype=np.int64)

    def __len__(self) -> int:
        """Number of windows over all trajectories."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def locate(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Position of the trajectory in the list, and first frame, of each window."""
        position = np.searchsorted(self._ends, indices, side="right")
        before = np.where(position > 0, self._ends[position - 1], 0)
        return position, indices - before + self.windows.first
