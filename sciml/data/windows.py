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

    Args:
        history: Input frames h.
        horizon: Target frames t; 0 where targets are not wanted, and for pairs, which bring
            their own.
        stride: Distance s of the frames of a window.
        first: First frame at which a window may start.
        per_trajectory: At most so many windows of each trajectory, the earliest ones.

    Raises:
        ValueError: If a count is below one, or `horizon` or `first` below zero.
    """

    history: int = 1
    horizon: int = 1
    stride: int = 1
    first: int = 0
    per_trajectory: int | None = None

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
