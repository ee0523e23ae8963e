"""What every file format offers to the rest of the data path: a list of trajectories."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sciml.spec import DatasetSpec, FieldSpec


class Source(ABC):
    """A data set in its files: trajectories of frames, read in place.

    The layout of the file is turned into channels first here, in the copy into the caller's
    buffer, and nowhere else. A source holds no open handle when it is pickled or forked:
    handles belong to the process that opened them.
    """

    @property
    @abstractmethod
    def spec(self) -> DatasetSpec:
        """Self-description, with a history of one frame."""

    @property
    @abstractmethod
    def splits(self) -> Mapping[str, range]:
        """Trajectories of each split that the publisher made; empty when there are none."""

    @property
    @abstractmethod
    def lengths(self) -> NDArray[np.int64]:
        """Number of frames of each trajectory."""

    @property
    @abstractmethod
    def memory_mapped(self) -> bool:
        """Whether reading a frame is a plain copy from mapped memory."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Text that changes with the names, sizes or modification times of the files."""

    @property
    def static_fields(self) -> tuple[FieldSpec, ...]:
        """Fields without time axis; none unless the format has them."""
        return ()

    @property
    def num_trajectories(self) -> int:
        """Number of trajectories over all splits."""
        return len(self.lengths)

    def num_steps(self, trajectory: int) -> int:
        """Number of frames of one trajectory."""
        return int(self.lengths[trajectory])

    @abstractmethod
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        """Copy frames ``start:stop:stride`` into a buffer.

        Args:
            trajectory: Trajectory number over all splits.
            start: First frame.
            stop: End of the frames, exclusive.
            stride: Distance of the frames read.
            out: Buffer of shape (t, c, *space); channels as in ``spec.in_fields``.
        """

    @abstractmethod
    def read_static(self, trajectory: int, out: NDArray[np.float32]) -> None:
        """Copy the static fields of a trajectory into a buffer of shape (c_static, *space)."""

    @abstractmethod
    def times(self, trajectory: int) -> NDArray[np.float64]:
        """Physical time of each frame."""

    @abstractmethod
    def params(self, trajectory: int) -> NDArray[np.float64]:
        """Scalar PDE parameters, in the order of ``spec.params``."""

    @abstractmethod
    def boundary(self, trajectory: int) -> NDArray[np.int64]:
        """Code of the low and high face of each axis, (d, 2): 0 wall, 1 open, 2 periodic."""

    @abstractmethod
    def locate(self, trajectory: int) -> str:
        """File and position in it of a trajectory, for messages."""

    @abstractmethod
    def describe(self) -> str:
        """What the files hold and which back end reads each field, and why."""
