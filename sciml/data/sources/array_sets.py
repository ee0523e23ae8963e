"""The arrays of a file by name, and the recipes that say what they mean.

Containers (MATLAB, torch, numpy) say which arrays there are. A recipe knows one published data
set by the names and shapes of its variables, whatever the container.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.array_sets_samples import SampleArray
from sciml.data.sources.array_sets_storage import StoredArray
from sciml.spec import DatasetSpec

_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@final
@dataclass(frozen=True)
class ArraySet:
    """The arrays of one file, of one entry of a list in it, or of files that belong together.

    Args:
        paths: The file or files.
        arrays: Arrays by name. A file that stores one array without a name has the name ``""``.
        refused: Variables that are not read, with the reason in words.
        position: Entry of the list in the file, empty if there is no list.
        back_end: How arrays are read, see `SampleArray`.
    """

    paths: tuple[Path, ...]
    arrays: Mapping[str, StoredArray]
    refused: Mapping[str, str] = field(default_factory=dict)
    position: str = ""
    back_end: str = "auto"

    @property
    def stem(self) -> str:
        """Name of the first file without suffix."""
        return self.paths[0].stem

    @property
    def role(self) -> str:
        """Split that a word of the file's name says it was published for; empty without."""
        words = re.split(r"[^A-Za-z0-9]+", self.stem.lower())
        return next((_ROLES[word] for word in words if word in _ROLES), "")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array; empty if there is none of this name."""
        return self.arrays[name].shape if name in self.arrays else ()

    def samples(self, name: str, order: tuple[int | None, ...]) -> SampleArray:
        """An array with its axes in another order, the sample axis first."""
        return SampleArray(self.arrays[name], order, self.back_end)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """All values of a small array of numbers."""
        array = self.arrays[name]
        if array.dtype.kind not in "iufb":
            raise ValueError(
                f"open_source: expected real numbers in {name!r} of {array.path}, got dtype "
                f"{array.dtype}; the file is of another kind"
            )
        return array.values().astype(np.float64)

    def contents(self) -> str:
        """Variables with their shapes and those that are not read, for messages."""
        known = [f"{name or 'array'} {a.shape} {a.dtype}" for name, a in self.arrays.items()]
        return ", ".join(known + [f"{name} ({why})" for name, why in self.refused.items()])


@final
@dataclass(frozen=True)
class FieldArray:
    """One field.

    Args:
        name: Name of the field.
        values: Its array: (n, t, *space) for trajectories, (n, *space) for pairs and points.
        entry: The field's number on a further axis behind the sample axis.
        shape: Shape to which a sample is reshaped before it is broadcast over the grid.
    """

    name: str
    values: SampleArray
    entry: int | None = None
    shape: tuple[int, ...] | None = None

    def sample(self, number: int) -> NDArray[np.generic]:
        """One sample as it is stored."""
        block = self.values[number if self.entry is None else (number, self.entry)]
        return block if self.shape is None else block.reshape(self.shape)


@final
@dataclass(frozen=True)
class Meaning:
    """What a recipe says about the arrays of a file.

    Args:
        recipe: Name of the recipe, for messages.
        spec: Self-description; fields are named by `inputs` and `targets`.
        inputs: Fields that a model reads.
        targets: Output fields of pairs; empty for trajectories.
        coords: Coordinates of a point cloud: one array (n, points, d), or d arrays (n, points).
        times: Time of each frame.
        scalars: Parameters, one value or one for each sample.
        role: Split that the file was published for.
        split_preset: Split that the benchmark's papers use.
        notes: What is left out and why, for `describe`.
    """

    recipe: str
    spec: DatasetSpec
    inputs: tuple[FieldArray, ...] = ()
    targets: tuple[FieldArray, ...] = ()
    coords: tuple[SampleArray, ...] = ()
    times: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    scalars: Mapping[str, float | NDArray[np.float64]] = field(default_factory=dict)
    role: str = ""
    split_preset: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_samples(self) -> int:
        """Samples of the file."""
        return (self.inputs + self.targets)[0].values.shape[0]


@final
@dataclass(frozen=True)
class Recipe:
    """A published data set, known by the names and shapes of its variables.

    Args:
        name: Its name, for messages.
        expects: Variables that it is known by, in words.
        read: Says what the arrays mean, or None if they are of another kind.
    """

    name: str
    expects: str
    read: Callable[[ArraySet], Meaning | None]
