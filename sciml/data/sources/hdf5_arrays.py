"""Arrays of HDF5 files by the way they are read; all of them give the same bits."""

from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.hdf5_chunks import Index
from sciml.data.sources.hdf5_file import OpenFile, damage_named
from sciml.data.sources.hdf5_layout import ArrayLayout


class HDF5Array(ABC):
    """An array in a file, read when it is indexed. Reading is safe from several threads.

    Args:
        layout: Where it lies.
    """

    def __init__(self, layout: ArrayLayout) -> None:
        self.shape = layout.shape
        self.dtype = layout.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @abstractmethod
    def __getitem__(self, index: Index) -> NDArray[Any]:
        """Values at integers and forward slices, in the dtype of the file."""

    @abstractmethod
    def read_into(self, index: Index, out: NDArray[Any]) -> None:
        """Copy values into a buffer, which may have any strides and another dtype.

        Args:
            index: Integers and forward slices.
            out: Buffer of the shape of the result; values are cast as by numpy's ``same_kind``.

        Raises:
            ValueError: If the shape of `out` is another, or chunks are damaged.
        """


def check_buffer(out: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse a buffer of another shape than the values, which numpy would broadcast."""
    if out.shape != shape:
        raise ValueError(
            f"HDF5Array.read_into: expected a buffer of shape {shape}, got {out.shape}; "
            "allocate it by the index"
        )


@final
class MappedArray(HDF5Array):
    """One block of a file, through a memory map of it."""

    def __init__(self, layout: ArrayLayout, file: OpenFile) -> None:
        super().__init__(layout)
        self._array = file.mapped(layout.shape, layout.dtype, layout.offset or 0)

    @override
    def __getitem__(self, index: Index) -> NDArray[Any]:
        """View of the map: nothing is read before it is used."""
        return np.asarray(self._array[index], self.dtype)

    @override
    def read_into(self, index: Index, out: NDArray[Any]) -> None:
        block = np.asarray(self._array[index])
        check_buffer(out, block.shape)
        np.copyto(out, block, casting="same_kind")


@final
class LibraryArray(HDF5Array):
    """Anything else that HDF5 reads, through h5py."""

    def __init__(self, layout: ArrayLayout, file: OpenFile) -> None:
        super().__init__(layout)
        self._path = file.path
        with damage_named(file.path):
            self._dataset = file.dataset(layout.key)

    @override
    def __getitem__(self, index: Index) -> NDArray[Any]:
        """Values, read by h5py; its own ways of indexing work as well."""
        with damage_named(self._path):
            return np.asarray(self._dataset[index], self.dtype)

    @override
    def read_into(self, index: Index, out: NDArray[Any]) -> None:
        block = self[index]
        check_buffer(out, block.shape)
        np.copyto(out, block, casting="same_kind")
