"""What every file format offers to the rest of the data path."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.spec import DatasetSpec, FieldSpec

Container = Literal["hdf5", "matlab5", "torch", "npy", "npz"]
"""Kinds of files, told apart by their signatures."""


class Source(ABC):
    """A data set in its files, read in place.

    There are two kinds. A set of *trajectories* (``spec.paired`` false) holds frames of the
    same fields over time, and models predict the following frames. A set of *pairs*
    (``spec.paired`` true) holds input fields and, on the same points, the output fields that
    belong to them; each pair is a trajectory of one frame with `read_targets` beside it.

    The layout of the file is turned into channels first here, in the copy into the caller's
    buffer, and nowhere else. A source holds no open handle when it is pickled or forked:
    handles belong to the process that opened them. Reading is safe from several threads.
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
        """Number of frames of each trajectory; 1 for a pair."""

    @property
    @abstractmethod
    def memory_mapped(self) -> bool:
        """Whether reading a frame is a plain copy from mapped memory."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Text that changes with the names, sizes or modification times of the files."""

    @property
    def split_preset(self) -> str | None:
        """Name of the split that the benchmark's papers use, see `sciml.data.splits`."""
        return None

    @property
    def static_fields(self) -> tuple[FieldSpec, ...]:
        """Fields without time axis; none unless the format has them."""
        return ()

    @property
    def part_sizes(self) -> tuple[int, ...]:
        """Number of trajectories of each file, in their order."""
        return (self.num_trajectories,)

    @property
    def num_trajectories(self) -> int:
        """Number of trajectories over all splits."""
        return len(self.lengths)

    def num_steps(self, trajectory: int) -> int:
        """Number of frames of one trajectory."""
        return int(self.lengths[trajectory])

    def num_points(self, trajectory: int) -> int:
        """Points of a trajectory's point cloud, at most ``spec.resolution[0]``."""
        return self.spec.resolution[0]

    @abstractmethod
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        """Copy frames ``start:stop:stride`` of the input fields into a buffer.

        Args:
            trajectory: Trajectory number over all splits.
            start: First frame.
            stop: End of the frames, exclusive.
            stride: Distance of the frames read.
            out: Buffer of shape (t, c, *space); channels as in ``spec.in_fields``. Point clouds
                have (t, c, n) with n = `num_points`.
        """

    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        """Copy the output fields of a pair into a buffer (c_out, *space).

        Raises:
            TypeError: If the source holds trajectories.
        """
        raise self._lacks("read_targets", "pairs of fields (spec.paired)", "trajectories")

    def read_static(self, trajectory: int, out: NDArray[np.float32]) -> None:
        """Copy the static fields of a trajectory into a buffer (c_static, *space).

        Raises:
            TypeError: If there are none.
        """
        raise self._lacks("read_static", "static fields", "none")

    def read_coords(self, trajectory: int, out: NDArray[np.float32]) -> None:
        """Copy the coordinates of a point cloud into a buffer (n, d).

        Raises:
            TypeError: If the source holds fields on grids.
        """
        raise self._lacks("read_coords", "point clouds (spec.unstructured)", "a grid")

    def _lacks(self, method: str, wanted: str, found: str) -> TypeError:
        """What to raise where a source of this kind has nothing to read."""
        return TypeError(
            f"{type(self).__name__}.{method}: expected a source with {wanted}, got {found} in "
            f"{self.spec.name}; ask spec and static_fields before reading"
        )

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


class FileSource(Source):
    """The trajectories of one file, or of files that belong together like inputs and outputs.

    `JoinedSource` makes a data set of such parts. A part does not know which of its scalars
    vary over the data set, so they stand in `scalars` and not in ``spec.params``.
    """

    @property
    @abstractmethod
    def paths(self) -> tuple[Path, ...]:
        """The file or files."""

    @property
    @abstractmethod
    def scalars(self) -> Mapping[str, NDArray[np.float64]]:
        """Scalar PDE parameters by name, one value for each trajectory."""

    @property
    def role(self) -> str:
        """Split that the file's publisher made it for (``train``, ...); empty if not known."""
        return ""

    @property
    @override
    def splits(self) -> Mapping[str, range]:
        return {}

    @property
    @override
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for path in self.paths:
            state = path.stat()
            digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    @override
    def params(self, trajectory: int) -> NDArray[np.float64]:
        return np.zeros(0)

    @override
    def boundary(self, trajectory: int) -> NDArray[np.int64]:
        codes = [2 if periodic else 1 for periodic in self.spec.periodic]
        return np.repeat(np.array(codes, np.int64)[:, None], 2, axis=1)

    @override
    def locate(self, trajectory: int) -> str:
        return f"{self.paths[0]}, trajectory {trajectory}"


@final
@dataclass(frozen=True)
class Format:
    """A file format.

    Args:
        name: Its name, for ``format=`` and messages.
        container: Kind of file that it lives in.
        recognise: Whether the content is of this format: handed an open `h5py.File` for the
            container ``"hdf5"``, else the path.
        open_files: Opens the files of one folder or split as parts of a data set; takes the
            paths and the name of the back end.
    """

    name: str
    container: Container
    recognise: Callable[[Any], bool]
    open_files: Callable[[Sequence[Path], str], Sequence[FileSource]]
