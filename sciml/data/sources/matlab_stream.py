"""Elements of MATLAB v5 files as streams of sub-elements, compressed or not.

Source: MathWorks, MAT-File Format, "Level 5 MAT-file format".
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer, override

from sciml.data.sources.array_sets_bytes import ByteStream, read_exactly

_FILE_HEADER, _TAG = 128, 8
_MATRIX, _COMPRESSED = 14, 15
_INPUT_BYTES = 2**18
NUMBER_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
"""Dtypes of sub-elements by their type."""


@final
@dataclass(frozen=True)
class Element:
    """One variable of a file.

    Args:
        path: The file.
        offset: Byte at which its contents begin, behind its tag.
        size: Bytes of its contents in the file.
        compressed: Whether they are compressed.
        byte_order: ``"<"`` or ``">"``.
    """

    path: Path
    offset: int
    size: int
    compressed: bool
    byte_order: str

    @property
    def where(self) -> str:
        """Place of the element, for messages."""
        return f"the variable at byte {self.offset} of {self.path}"

    def damaged(self, what: str) -> ValueError:
        """Error that says what is wrong with it."""
        return ValueError(
            f"open_source: expected a whole MATLAB variable, got {what} in {self.where}; the "
            "file is damaged, generate or download it again"
        )


def list_elements(path: Path) -> Iterator[Element]:
    """Elements of a file, in order.

    Raises:
        ValueError: If the file is cut or no element of it is a variable.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = bytes(read_exactly(file, _FILE_HEADER, f"the header of {path}"))
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
        if order is None:
            raise ValueError(
                f"open_source: expected the byte order IM or MI in the header of {path}, got "
                f"{head[126:128]!r}; the file is damaged, generate or download it again"
            )
        position = _FILE_HEADER
        while position < size:
            file.seek(position)
            tag = bytes(read_exactly(file, _TAG, f"the tag at byte {position} of {path}"))
            kind, count = struct.unpack(f"{order}II", tag)
            element = Element(path, position + _TAG, count, kind == _COMPRESSED, order)
            if kind not in (_MATRIX, _COMPRESSED):
                raise element.damaged(f"an element of type {kind}")
            if element.offset + count > size:
                raise element.damaged(f"{size - element.offset} of {count} bytes")
            yield element
            position = element.offset + count


class _Inflater(io.RawIOBase):
    """Decompressed bytes of a part of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size
        self._inflate = zlib.decompressobj()

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer, /) -> int:
        out = memoryview(buffer).cast("B")
        data = b""
        while not data and not self._inflate.eof:
            waiting = self._inflate.unconsumed_tail
            if not waiting:
                waiting = self._file.read(min(_INPUT_BYTES, self._left))
                self._left -= len(waiting)
                if not waiting:
                    break
            data = self._inflate.decompress(waiting, len(out))
        out[: len(data)] = data
        return len(data)

    @override
    def close(self) -> None:
        self._file.close()
        super().close()


def open_element(element: Element, skip: int = 0) -> ByteStream:
    """Stream of the sub-elements of a variable.

    Args:
        element: The variable.
        skip: Bytes of sub-elements to pass over.

    Raises:
        ValueError: If it holds no variable or ends before.
    """
    file = element.path.open("rb")
    try:
        file.seek(element.offset)
        if not element.compressed:
            file.seek(skip, io.SEEK_CUR)
            return file
        stream = _Inflater(file, element.size)
        tag = bytes(read_exactly(stream, _TAG, element.where))
        if struct.unpack(f"{element.byte_order}II", tag)[0] != _MATRIX:
            raise element.damaged("compressed contents that are none")
        while skip:
            part = min(skip, _INPUT_BYTES)
            read_exactly(stream, part, element.where)
            skip -= part
    except BaseException:
        file.close()
        raise
    return stream


@final
class SubElements:
    """Sub-elements of a variable, in order.

    Args:
        element: The variable.
        stream: Its bytes from `position` on.
        position: Bytes that were passed over.
    """

    def __init__(self, element: Element, stream: ByteStream, position: int = 0) -> None:
        self._element = element
        self._stream = stream
        self.position = position

    def _bytes(self, count: int) -> bytes:
        self.position += count
        return bytes(read_exactly(self._stream, count, self._element.where))

    def tag(self) -> tuple[int, int, bool]:
        """Type and number of bytes of the next one, and whether it is a short one."""
        order = self._element.byte_order
        (kind,) = struct.unpack(f"{order}I", self._bytes(4))
        if kind >> 16:
            return kind & 0xFFFF, kind >> 16, True
        (count,) = struct.unpack(f"{order}I", self._bytes(4))
        return kind, count, False

    def data(self, limit: int) -> tuple[int, bytes]:
        """Type and contents of the next one, of at most `limit` bytes."""
        kind, count, short = self.tag()
        if count > (4 if short else limit):
            raise self._element.damaged(f"{count} bytes where at most {limit} can stand")
        padding = -count % (4 if short else 8)
        return kind, self._bytes(count + padding)[:count]

    def numbers(self, limit: int) -> NDArray[Any]:
        """The next one as numbers."""
        kind, content = self.data(limit)
        dtype = self.dtype(kind)
        if len(content) % dtype.itemsize:
            raise self._element.damaged(f"{len(content)} bytes of {dtype}")
        return np.frombuffer(content, dtype)

    def dtype(self, kind: int) -> np.dtype[Any]:
        """Dtype of a type of numbers."""
        if kind not in NUMBER_TYPES:
            raise self._element.damaged(f"elements of type {kind} instead of numbers")
        return np.dtype(self._element.byte_order + NUMBER_TYPES[kind])
