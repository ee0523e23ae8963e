"""Looking over an HDF5 file's attributes before they are read.

HDF5 trusts what a damaged file says about two things: the sizes of entries in a global heap,
where texts of variable length lie and where an entry of no size makes it loop for ever, and the
type of an attribute, which may send it to any place in memory. Neither a loop nor a crash can be
caught from Python.
"""

import functools
import io
import math
import struct
from pathlib import Path
from typing import Any, final

import h5py
from typing_extensions import override

from sciml.data.sources.hdf5_file import damage_named

_HEAP = b"GCOL\1\0\0\0"
_HEADER = struct.Struct("<HH4xQ")  # number, references and size of an entry
_LARGEST_OFFSET = 2**63 - 1
_MOST_BYTES = 2**24  # of an attribute; classic files allow 2**16


def check_attributes(path: Path) -> None:
    """Refuse attributes that HDF5 cannot read without harm.

    All attributes of all objects are looked at, and those in global heaps are read through a
    file object that inspects each heap before HDF5 sees it. A file that has not changed since
    is not looked at again.

    Args:
        path: The file.

    Raises:
        ValueError: If there is such an attribute, or none can be looked at for damage.
        OSError: If the file is missing or may not be read.
    """
    status = path.stat()
    _check_file(path, (status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=4096)
def _check_file(path: Path, state: tuple[int, int]) -> None:
    """Look at a file in a state, its size and modification time."""
    with (
        damage_named(path),
        path.open("rb") as raw,
        h5py.File(_GuardedFile(raw, path), "r") as file,
    ):
        _check_object(file, path)
        file.visititems(lambda _, item: _check_object(item, path))


def _check_object(item: Any, path: Path) -> None:
    """Look at the attributes of one group or data set."""
    for number in range(h5py.h5a.get_num_attrs(item.id)):
        attribute = h5py.h5a.open(item.id, index=number)
        kind = attribute.get_type()
        declared = math.prod(attribute.shape) * kind.get_size()
        if declared > _MOST_BYTES or _of_varying_length(kind):
            raise ValueError(
                f"open_source: expected numbers or text of at most {_MOST_BYTES} bytes in the "
                f"attribute {attribute.name!r} of {item.name} in {path}, got {declared} bytes "
                f"of {kind.dtype}; the file is damaged, generate or download it again"
            )
        if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
            name = attribute.name
            item.attrs[name.decode() if isinstance(name, bytes) else name]


def _of_varying_length(kind: Any) -> bool:
    """Whether a type holds lists of numbers, which HDF5 may look for anywhere in memory.

    Damage turns logical values into such. MATLAB and netCDF write lists of letters and of
    references, which nobody reads.
    """
    if not kind.detect_class(h5py.h5t.VLEN) or isinstance(kind, h5py.h5t.TypeStringID):
        return False
    lists = isinstance(kind, h5py.h5t.TypeVlenID)
    return not lists or kind.get_super().get_class() not in (h5py.h5t.STRING, h5py.h5t.REFERENCE)


@final
class _GuardedFile(io.RawIOBase):
    """A file for reading, in which every global heap is inspected as it is read."""

    def __init__(self, raw: io.BufferedReader, path: Path) -> None:
        self._raw = raw
        self._path = path

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset > _LARGEST_OFFSET:
            raise OSError(f"address {offset} beyond any file, in {self._path}")
        return self._raw.seek(offset, whence)

    @override
    def readinto(self, buffer: Any) -> int:
        start = self._raw.tell()
        count = self._raw.readinto(buffer)
        content = bytes(buffer[:count])
        found = content.find(_HEAP)
        while found >= 0:
            self._check_heap(start + found)
            found = content.find(_HEAP, found + 1)
        self._raw.seek(start + count)
        return count

    def _check_heap(self, start: int) -> None:
        """Refuse a heap whose entries do not follow each other to its end."""
        self._raw.seek(start + len(_HEAP))
        (size,) = struct.unpack("<Q", self._raw.read(8))
        position = len(_HEAP) + 8
        while position + _HEADER.size <= size:
            self._raw.seek(start + position)
            header = self._raw.read(_HEADER.size)
            number, _, length = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
            # the free rest has the number 0, and its size counts its header
            step = -(-length // 8) * 8 + _HEADER.size if number else length
            if not 0 < step <= size - position:
                raise OSError(
                    f"damaged heap at {start} of {self._path}: an entry of {length} bytes at "
                    f"{position} of {size}"
                )
            position += step
