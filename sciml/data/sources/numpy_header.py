"""Headers of ``.npy`` files and members, checked before anything is allocated."""

import tokenize
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from sciml.data.sources.array_sets_bytes import ByteStream, check_declared_bytes

_MAX_HEADER = 65536
_PARSER_ERRORS = (
    ValueError,
    SyntaxError,
    TypeError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
)


@final
@dataclass(frozen=True)
class NpyHeader:
    """What a header declares.

    Args:
        shape: Shape of the array.
        dtype: Its dtype.
        fortran: Whether the first axis is the fastest one on disk.
        offset: Byte at which the numbers begin.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def refusal(self) -> str:
        """Why the array is not read, in words; empty for numbers."""
        if self.dtype.hasobject:
            return "Python objects, which are never read"
        return "" if self.dtype.kind in "iufbc" else f"no numbers but {self.dtype}"


def read_npy_header(file: ByteStream, size: int, where: str) -> NpyHeader:
    """Parse the header at the position of a file and compare it with the file's size.

    Args:
        file: The file, at its beginning.
        size: Bytes of the file, header included.
        where: Its name, for messages.

    Raises:
        ValueError: If the header is damaged or declares more numbers than the file holds.
    """
    try:
        version = np.lib.format.read_magic(file)
        # 2.0 is read for 3.0 too: it differs in the encoding of record names only
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file, max_header_size=_MAX_HEADER)
    # the header is a Python literal, and its parser raises all of these on damaged text
    except _PARSER_ERRORS as error:
        raise ValueError(
            f"open_source: expected a numpy array with a readable header, got {where} "
            f"({error}); delete it and generate or download it again"
        ) from error
    header = NpyHeader(tuple(int(n) for n in shape), dtype, bool(fortran), file.tell())
    if not header.refusal:
        check_declared_bytes(where, header.shape, dtype, size - header.offset)
    return header
