"""Arrays by sample, whatever their order on disk.

MATLAB and Fortran-ordered tensors store the sample axis as the fastest one, so that a sample is
scattered over the whole file. Such an array is turned once: a small one in memory, a large one
into the cache of `sciml.data.sources.cache`, in blocks of bounded memory.
"""

import hashlib
import math
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.array_sets_storage import StoredArray
from sciml.data.sources.cache import ArrayCache

SMALL_BYTES = 32 * 2**20
"""Arrays up to this size, as float32, are turned in memory."""

_BLOCK_BYTES = 256 * 2**20


@final
class SampleArray:
    """A stored array of real numbers with its axes in a chosen order, the sample axis first.

    Args:
        stored: The array.
        order: Its axes in the new order; a leading None is a new axis of one sample.
        back_end: ``"auto"`` turns the array when samples are not contiguous on disk; any other
            name reads it in place.

    Raises:
        ValueError: If the array does not hold real numbers, or cannot be read in place though
            that is asked for.
    """

    def __init__(
        self, stored: StoredArray, order: tuple[int | None, ...], back_end: str = "auto"
    ) -> None:
        if stored.dtype.kind not in "iufb":
            raise ValueError(
                f"open_source: expected real numbers in {stored.name or 'the array'!r} of "
                f"{stored.path}, got dtype {stored.dtype}; store real and imaginary parts as "
                "two fields"
            )
        if back_end not in ("auto", stored.back_end):
            raise ValueError(
                f"open_source: expected an array that the back end {back_end} can read, got "
                f"{stored.name!r} of {stored.path} ({stored.storage}); use back_end='auto'"
            )
        self.stored = stored
        self._order = tuple(axis for axis in order if axis is not None)
        self._single = len(self._order) < len(order)
        self.shape = (1,) * self._single + tuple(stored.shape[axis] for axis in self._order)
        if back_end != "auto" or _lies_in_order(stored, self._order):
            self._placement = "in place"
        elif 4 * math.prod(self.shape) <= SMALL_BYTES:
            self._placement = "memory"
        else:
            self._placement = "cache"
        # maps and copies in memory survive a fork; there are no handles here
        self._array: Any = None
        self._reason = ""

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Leave maps and copies behind; another process makes its own."""
        return {**self.__dict__, "_array": None}

    @property
    def memory_mapped(self) -> bool:
        """Whether reading a sample is a plain copy from mapped or resident memory."""
        return self._placement != "in place" or self.stored.mappable

    def describe(self) -> str:
        """How it is read, in words."""
        how = {
            "in place": self.stored.storage,
            "memory": f"turned in memory at first use ({self.stored.storage})",
            "cache": f"turned into the cache at first use, then memory map "
            f"({self.stored.storage})",
        }[self._placement]
        return f"{how}; not cached: {self._reason}" if self._reason else how

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a part; the numbers are not copied where they are mapped.

        Args:
            index: Number of a sample, or a tuple that begins with it.
        """
        if self._array is None:
            self._array = self._open()
        if self._single:
            index = index[1:] if isinstance(index, tuple) else ()
        part: NDArray[Any] = self._array[index]
        return part

    def _open(self) -> Any:
        self.stored.check_unchanged()
        if self._placement == "memory":
            turned = np.empty(self.shape[self._single :], np.float32)
            self._fill(turned)
            return turned
        if self._placement == "cache":
            try:
                return ArrayCache().obtain(self._key(), self.shape[self._single :], self._fill)
            except OSError as error:
                self._reason = str(error)
                self._placement = "in place"
        direct = self.stored.direct()
        if direct is None:
            raise ValueError(
                "open_source: expected room in the cache for the compressed variable "
                f"{self.stored.name!r} of {self.stored.path}, which cannot be read by sample, "
                f"got: {self._reason}"
            )
        return direct.transpose(self._order)

    def _fill(self, turned: NDArray[np.float32]) -> None:
        """Copy all values, block by block in the order of the disk."""
        logical = turned.transpose(np.argsort(self._order))
        for index, block in self.stored.blocks(_BLOCK_BYTES):
            np.copyto(logical[index], block, casting="same_kind")

    def _key(self) -> str:
        """Text that changes with the file and with what is made of it."""
        state = self.stored.path.stat()
        path = hashlib.blake2b(bytes(self.stored.path.resolve()), digest_size=16).hexdigest()
        return (
            f"{path} {state.st_size} {state.st_mtime_ns} {self.stored.place} "
            f"{self.stored.dtype.str} {self.stored.shape} {self._order}"
        )


def _lies_in_order(stored: StoredArray, order: tuple[int, ...]) -> bool:
    """Whether the array lies on disk in the wanted order; axes of length 1 have no place."""
    long = [axis for axis in order if stored.shape[axis] > 1]
    disk = [axis for axis in stored.disk_order if stored.shape[axis] > 1]
    return stored.mappable and long == disk
