"""MATLAB v7.3 files: HDF5 with all axes reversed.

MATLAB stores arrays in column-major order, HDF5 in row-major order, so that the last axis of a
variable is the first one on disk. Logical and character arrays are unsigned integers, complex
ones are pairs of members, sparse matrices are groups.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.array_sets import ArraySet
from sciml.data.sources.array_sets_storage import LoadedArray, StoredArray
from sciml.data.sources.hdf5 import (
    ArrayLayout,
    ArrayReader,
    inspect_array,
    open_hdf5,
    require,
    texts,
)
from sciml.data.sources.matlab_values import NUMBER_CLASSES, dense, refuse_class, text_rows

_LAYOUT = "MATLAB's v7.3 layout"


def is_matlab73(file: Any) -> bool:
    """Whether an open HDF5 file holds variables as MATLAB marks them."""
    with _naming_damage(file.filename):
        items = (file.get(name) for name in file)
        return any(item is not None and "MATLAB_class" in item.attrs for item in items)


@contextmanager
def _naming_damage(path: Any) -> Iterator[None]:
    """Name the file in what h5py raises on damaged bytes, which are errors of many kinds."""
    try:
        yield
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        if str(error).startswith("open_source:"):
            raise
        raise ValueError(
            f"open_source: expected readable variables in {path}, got damaged ones ({error}); "
            "delete it and generate or download it again"
        ) from error


@final
class _ReversedArray:
    """An HDF5 array that is indexed with its axes in another order.

    Args:
        array: The array, which opens its file when it is read.
        axes: Axis on disk of each axis as indexed.
    """

    def __init__(self, array: "MatlabArray", axes: tuple[int, ...]) -> None:
        self._array = array
        self._axes = axes

    def transpose(self, order: tuple[int, ...]) -> "_ReversedArray":
        """The same with its axes in another order."""
        return _ReversedArray(self._array, tuple(self._axes[axis] for axis in order))

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read the values at integers and forward slices."""
        parts = index if isinstance(index, tuple) else (index,)
        full: list[Any] = [slice(None)] * len(self._axes)
        for axis, part in zip(self._axes, parts, strict=False):
            full[axis] = part if isinstance(part, slice) else int(part)
        block = self._array.read(tuple(full))
        kept = [axis for axis in self._axes if isinstance(full[axis], slice)]
        return block.transpose([sorted(kept).index(axis) for axis in kept])


@final
class MatlabArray(StoredArray):
    """A numeric or logical variable.

    Args:
        path: The file.
        name: The variable.
        layout: Where it lies.
        dtype: Dtype of its values.
    """

    def __init__(
        self, path: Path, name: str, layout: ArrayLayout, dtype: np.dtype[Any]
    ) -> None:
        axes = tuple(range(len(layout.shape)))[::-1]
        storage = f"{layout.back_end}, axes reversed: {layout.reason}"
        super().__init__(path, name, layout.shape[::-1], dtype, axes, storage)
        self.back_end = layout.back_end
        self.mappable = layout.memory_mapped
        self.grain = layout.chunks.shape[::-1] if layout.chunks else ()
        self._reader = ArrayReader(path, {name: layout})

    def read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Values at an index in the order of the disk."""
        with _naming_damage(self.path):
            return self._reader[self.name][index]

    @override
    def direct(self) -> Any:
        return _ReversedArray(self, self.disk_order)


def read_matlab73(path: Path, back_end: str = "auto") -> ArraySet:
    """The variables of a file.

    Raises:
        ValueError: If the file is damaged or declares absurd sizes.
    """
    arrays: dict[str, StoredArray] = {}
    refused: dict[str, str] = {}
    with _naming_damage(path), open_hdf5(path) as file:
        for name in file:
            if name.startswith("#"):  # MATLAB's own book-keeping
                continue
            item = file.get(name)
            if item is None:
                refused[name] = "a link that leads nowhere"
                continue
            kind = _class_of(item)
            reason = _refusal(item, kind)
            if reason:
                refused[name] = reason
            else:
                arrays[name] = _variable(path, name, item, kind, back_end)
    return ArraySet((path,), arrays, refused, back_end=back_end)


def _class_of(item: Any) -> str:
    kind = texts(item.attrs.get("MATLAB_class", ""))
    return "sparse" if "MATLAB_sparse" in item.attrs else (kind or ("",))[0]


def _refusal(item: Any, kind: str) -> str:
    """Why a variable is not read, in words; empty if it is."""
    if "MATLAB_empty" in item.attrs and bool(np.any(item.attrs["MATLAB_empty"])):
        return "empty"
    if kind == "sparse":
        return "" if isinstance(item, h5py.Group) else "damaged sparse matrix"
    if kind not in ("char", "logical", *NUMBER_CLASSES):
        return refuse_class(kind or "no MATLAB class")
    if not isinstance(item, h5py.Dataset) or item.shape is None or not item.size:
        return "damaged or empty"
    number = item.dtype.kind in "iuf" or item.dtype.names == ("real", "imag")
    return "" if number else f"dtype {item.dtype}"


def _variable(path: Path, name: str, item: Any, kind: str, back_end: str) -> StoredArray:
    if kind == "sparse":
        members = {key: require(item, key, "dataset", _LAYOUT) for key in ("ir", "jc", "data")}
        shape = (int(item.attrs["MATLAB_sparse"]), len(members["jc"]) - 1)
        load = partial(_load_sparse, path, name, shape)
        return LoadedArray(path, name, shape, np.dtype(np.float64), "sparse matrix", load)
    shape = item.shape[::-1]
    if kind == "char":
        dtype = np.dtype(f"U{shape[-1]}")
        load = partial(_load_text, path, name)
        return LoadedArray(path, name, shape[:-1], dtype, "text", load)
    if item.dtype.names is not None:
        dtype = np.result_type(item.dtype["real"], np.complex64)
        load = partial(_load_complex, path, name)
        return LoadedArray(path, name, shape, dtype, "complex numbers", load)
    forced = "h5py" if back_end == "h5py" else "auto"
    dtype = np.dtype(np.bool_) if kind == "logical" else item.dtype
    return MatlabArray(path, name, inspect_array(item, forced), dtype)


def _load_sparse(path: Path, name: str, shape: tuple[int, int]) -> NDArray[Any]:
    with _naming_damage(path), open_hdf5(path) as file:
        rows, starts, data = (
            np.asarray(require(file[name], key, "dataset", _LAYOUT)[()])
            for key in ("ir", "jc", "data")
        )
    if data.dtype.names is not None:
        data = data["real"] + 1j * data["imag"]
    return dense(path, name, shape, (rows, starts, data))


def _load_text(path: Path, name: str) -> NDArray[Any]:
    with _naming_damage(path), open_hdf5(path) as file:
        return text_rows(np.asarray(require(file, name, "dataset", _LAYOUT)[()]).T)


def _load_complex(path: Path, name: str) -> NDArray[Any]:
    with _naming_damage(path), open_hdf5(path) as file:
        values = np.asarray(require(file, name, "dataset", _LAYOUT)[()]).T
    joined: NDArray[Any] = values["real"] + 1j * values["imag"]
    return joined
