"""Looking over an HDF5 file's attributes before they are read.

HDF5 trusts what a damaged file says about three things: the sizes of entries in a global heap,
where texts of variable length lie and where an entry of no size makes it loop for ever; the
type of an attribute, which may send it to any place in memory; and the length of a text, which
it allocates and fills. Neither a loop nor a crash can be caught from Python.
"""

import functools
import io
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import h5py
from typing_extensions import override

from sciml.data.sources.hdf5_file import damage_named

_HEAP = b"GCOL\1\0\0\0"
_HEADER = struct.Struct("<HH4xQ")  # number, references and size of an entry
_LARGEST_OFFSET = 2**63 - 1
_VARYING_LENGTH = 9  # class of a type
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
        h5py.File(guarded := _GuardedFile(raw, path), "r") as file,
    ):
        # the sizes of addresses and lengths that all files but very odd ones have
        guarded.usual = tuple(file.id.get_create_plist().get_sizes()) == (8, 8)
        _check_object(file, guarded)
        file.visititems(lambda _, item: _check_object(item, guarded))


def _check_object(item: Any, guarded: "_GuardedFile") -> None:
    """Look at the attributes of one group or data set."""
    for number in range(h5py.h5a.get_num_attrs(item.id)):
        attribute = h5py.h5a.open(item.id, index=number)
        kind, name = attribute.get_type(), attribute.name
        declared = math.prod(attribute.shape or ()) * kind.get_size()
        text = isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
        if text and guarded.usual:
            declared = max(declared, guarded.longest_text(name))
        if declared > _MOST_BYTES or _of_varying_length(kind):
            raise ValueError(
                f"open_source: expected numbers or text of at most {_MOST_BYTES} bytes in the "
                f"attribute {name!r} of {item.name} in {guarded.path}, got {declared} bytes "
                f"of {kind.dtype}; the file is damaged, generate or download it again"
            )
        if text:
            item.attrs[name.decode()]


def _of_varying_length(kind: Any) -> bool:
    """Whether a type holds lists of numbers, which HDF5 may look for anywhere in memory.

    Damage turns logical values into such. MATLAB and netCDF write lists of letters and of
    references, which nobody reads.
    """
    if not kind.detect_class(h5py.h5t.VLEN) or isinstance(kind, h5py.h5t.TypeStringID):
        return False
    lists = isinstance(kind, h5py.h5t.TypeVlenID)
    return not lists or kind.get_super().get_class() not in (
        h5py.h5t.STRING,
        h5py.h5t.REFERENCE,
    )


@final
class _GuardedFile(io.RawIOBase):
    """A file for reading, in which every global heap is inspected as it is read."""

    def __init__(self, raw: io.BufferedReader, path: Path) -> None:
        self.path = path
        self.usual = True  # layout of heaps; others are left to HDF5
        self._raw = raw
        self._blocks: list[bytes] = []
        self._longest: dict[bytes, tuple[int, int]] = {}  # blocks looked at, and largest length

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset > _LARGEST_OFFSET:
            raise OSError(f"address {offset} beyond any file, in {self.path}")
        return self._raw.seek(offset, whence)

    @override
    def readinto(self, buffer: Any) -> int:
        start = self._raw.tell()
        count = self._raw.readinto(buffer)
        content = bytes(buffer[:count])
        found = content.find(_HEAP) if self.usual else -1
        while found >= 0:
            self._check_heap(start + found)
            found = content.find(_HEAP, found + 1)
        self._raw.seek(start + count)
        self._blocks.append(content)
        return count

    def longest_text(self, name: bytes) -> int:
        """Largest declared length of the texts in attributes of a name.

        HDF5 allocates it before it looks for the text. Attributes of this name are looked for
        in all that was read so far, where their messages hold name, type, shape and values.
        """
        done, longest = self._longest.get(name, (0, 0))
        mark = name + b"\0"
        for block in self._blocks[done:]:
            position = block.find(mark)
            while position >= 0:
                for place in _text_places(block, position, len(mark)):
                    (length,) = struct.unpack_from("<I", block, place)
                    longest = max(longest, length)
                position = block.find(mark, position + 1)
        self._longest[name] = (len(self._blocks), longest)
        return longest

    def _check_heap(self, start: int) -> None:
        """Refuse a heap whose entries do not follow each other to its end."""
        self._raw.seek(start + len(_HEAP))
        (size,) = struct.unpack("<Q", self._raw.read(8).ljust(8, b"\0"))
        position = len(_HEAP) + 8
        while position + _HEADER.size <= size:
            self._raw.seek(start + position)
            header = self._raw.read(_HEADER.size)
            number, _, length = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
            # the free rest has the number 0, and its size counts its header
            step = -(-length // 8) * 8 + _HEADER.size if number else length
            if not 0 < step <= size - position:
                raise OSError(
                    f"damaged heap at {start} of {self.path}: an entry of {length} bytes at "
                    f"{position} of {size}"
                )
            position += step


def _text_places(block: bytes, position: int, name_size: int) -> Iterator[int]:
    """Where the lengths of an attribute's texts stand, whose name stands at a position."""
    # versions of the message: bytes from its start to the name, and alignment of the parts
    for version, lead, align in ((1, 8, 8), (2, 8, 1), (3, 9, 1)):
        begin = position - lead
        if begin < 0 or block[begin] != version:
            continue
        sizes = struct.unpack_from("<HHH", block, begin + 2)
        name, kind, space = (-(-size // align) * align for size in sizes)
        shape = position + name + kind
        values = shape + space
        text = sizes[0] == name_size and values < len(block)
        if not text or block[position + name] & 15 != _VARYING_LENGTH:
            continue
        sides = max(space - (8 if block[shape] == 1 else 4), 0)
        lengths = struct.unpack_from(
            f"<{min(block[shape + 1], sides // 8)}Q", block, values - sides
        )
        end = min(values + 16 * math.prod(lengths), len(block) - 3)
        yield from range(values, end, 16)
