"""Bytes of arrays: what a file can hold of them, and in which pieces they are read."""

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np

MAX_RATIO = 1100
"""Deflate shrinks nothing by more than 1032, so a larger declared ratio is a lie."""


ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    UnicodeDecodeError,
)
"""What reading a damaged zip archive raises; an encrypted member is a RuntimeError."""


@runtime_checkable
class ByteStream(Protocol):
    """What is read from front to back: a file, a member of an archive, inflated bytes."""

    def read(self, size: int = ..., /) -> bytes:
        """The next bytes, at most so many; none at the end."""

    def tell(self) -> int:
        """Bytes read so far."""

    def __enter__(self) -> "ByteStream": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


def check_declared_bytes(
    where: str, shape: tuple[int, ...], dtype: np.dtype[Any], stored: int
) -> None:
    """Refuse an array that declares more bytes than can be in the file.

    Args:
        where: File and variable, for messages.
        shape: Declared shape.
        dtype: Declared dtype.
        stored: Bytes that the file can hold of it.

    Raises:
        ValueError: If the shape is negative or too large.
    """
    declared = dtype.itemsize
    for n in shape:  # Python integers do not overflow
        declared *= n
    if any(n < 0 for n in shape) or declared > stored:
        raise ValueError(
            f"open_source: expected at most {stored} bytes of numbers in {where}, got a header "
            f"that declares shape {shape} of {dtype}, {declared} bytes; the file is cut or "
            "damaged, delete it and generate or download it again"
        )


def cut(
    shape: tuple[int, ...],
    order: tuple[int, ...],
    limit: int,
    grain: tuple[int, ...] = (),
) -> Iterator[tuple[slice, ...]]:
    """Cut an array into boxes of at most `limit` entries.

    Args:
        shape: Shape of the array.
        order: Its axes from the slowest to the fastest one; boxes follow each other, and are
            contiguous, in this order.
        limit: Entries of a box; one chunk may hold more.
        grain: Shape of the chunks; boxes begin where chunks begin.
    """
    index = [slice(0, n) for n in shape]
    chunks = grain or (1,) * len(shape)

    def below(depth: int, room: int) -> Iterator[tuple[slice, ...]]:
        axis = order[depth]
        inner = max(1, math.prod(shape[other] for other in order[depth + 1 :]))
        step = max(1, room // inner // chunks[axis]) * chunks[axis]
        for start in range(0, shape[axis], step):
            index[axis] = slice(start, min(start + step, shape[axis]))
            if step * inner > room and depth + 1 < len(order):
                yield from below(depth + 1, max(1, room // step))
            else:
                yield tuple(index)
        index[axis] = slice(0, shape[axis])

    return below(0, limit) if order else iter([()])


def read_exactly(stream: ByteStream, size: int, where: str) -> bytearray:
    """Read a number of bytes.

    Raises:
        ValueError: If the stream ends before or is damaged.
    """
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        try:
            part = stream.read(min(size - filled, 2**22))
        except ARCHIVE_ERRORS as error:
            raise ValueError(
                f"open_source: expected readable compressed numbers of {where}, got {error}; "
                "delete the file and generate or download it again"
            ) from error
        if not part:
            raise ValueError(
                f"open_source: expected {size} more bytes of {where}, got {filled}; the file "
                "is cut or damaged, delete it and generate or download it again"
            )
        view[filled : filled + len(part)] = part
        filled += len(part)
    return data
