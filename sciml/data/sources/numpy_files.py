"""``.npy`` and ``.npz`` files, read through a memory map where the numbers lie in the open.

Python objects are never unpickled, and no declared size is believed before it was compared with
the size of the file.
"""

import struct
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from sciml.data.sources.array_sets import ArraySet
from sciml.data.sources.array_sets_bytes import (
    ARCHIVE_ERRORS,
    MAX_RATIO,
    ByteStream,
    read_exactly,
)
from sciml.data.sources.array_sets_open import open_array_sets
from sciml.data.sources.array_sets_source import ArraySource
from sciml.data.sources.array_sets_storage import MappedArray, StoredArray, StreamedArray
from sciml.data.sources.base import Format
from sciml.data.sources.numpy_header import NpyHeader, read_npy_header

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1


def read_npy(path: Path, back_end: str = "auto") -> ArraySet:
    """The array of one file, under the name ``""``.

    Raises:
        ValueError: If the file is damaged or holds Python objects.
    """
    with path.open("rb") as file:
        header = read_npy_header(file, path.stat().st_size, str(path))
    if header.refusal:
        raise ValueError(
            f"open_source: expected an array of numbers, got {path} with {header.refusal}; "
            "save each array of numbers in a file of its own"
        )
    array = MappedArray(
        path, "", header.shape, header.dtype, header.offset, fortran=header.fortran
    )
    return ArraySet((path,), {"": array}, back_end=back_end)


def read_npz(path: Path, back_end: str = "auto") -> ArraySet:
    """The arrays of an archive; those that are not read are listed as refused.

    Raises:
        ValueError: If the archive is damaged or declares more than it can hold.
    """
    arrays: dict[str, StoredArray] = {}
    refused: dict[str, str] = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                reason = _check_member(path, member)
                if reason:
                    refused[name] = reason
                    continue
                with archive.open(member) as stream:
                    where = f"{member.filename} of {path}"
                    header = read_npy_header(stream, member.file_size, where)
                if header.refusal:
                    refused[name] = header.refusal
                else:
                    arrays[name] = _member_array(path, file, member, header)
    except ARCHIVE_ERRORS as error:
        raise ValueError(
            f"open_source: expected a complete npz archive, got {path} ({error}); delete it "
            "and generate or download it again"
        ) from error
    return ArraySet((path,), arrays, refused, back_end=back_end)


def _check_member(path: Path, member: zipfile.ZipInfo) -> str:
    """Reason why a member is not read, in words; empty if it is.

    Raises:
        ValueError: If it declares more bytes than its compressed ones can hold.
    """
    if member.flag_bits & _ENCRYPTED:
        return "encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "compressed by another method than deflate"
    ratio = MAX_RATIO if member.compress_type == zipfile.ZIP_DEFLATED else 1
    room = path.stat().st_size - member.header_offset
    if member.compress_size > room or member.file_size > ratio * member.compress_size:
        raise ValueError(
            f"open_source: expected at most {ratio} bytes for each of the "
            f"{min(member.compress_size, room)} bytes that {path} can hold of "
            f"{member.filename}, got a declared size of {member.file_size}; the archive is "
            "damaged or hostile, do not use it"
        )
    return ""


def _member_array(
    path: Path, file: IO[bytes], member: zipfile.ZipInfo, header: NpyHeader
) -> StoredArray:
    name = member.filename.removesuffix(".npy")
    if member.compress_type == zipfile.ZIP_STORED:
        file.seek(member.header_offset)
        _, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        start = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        if start + member.file_size > path.stat().st_size:
            raise EOFError(f"{member.filename} ends behind the end of the file")
        return MappedArray(
            path,
            name,
            header.shape,
            header.dtype,
            start + header.offset,
            fortran=header.fortran,
        )
    opened = partial(_open_member, path, member.filename, header.offset)
    return StreamedArray(path, name, header.shape, header.dtype, opened, fortran=header.fortran)


def _open_member(path: Path, member: str, offset: int) -> ByteStream:
    """Stream of a compressed member behind its header."""
    with zipfile.ZipFile(path) as archive:
        stream = archive.open(member)  # keeps the file open for itself
    read_exactly(stream, offset, member)
    return stream


def _open_npy(paths: Sequence[Path], back_end: str) -> list[ArraySource]:
    return open_array_sets([read_npy(path, back_end) for path in paths])


def _open_npz(paths: Sequence[Path], back_end: str) -> list[ArraySource]:
    return open_array_sets([read_npz(path, back_end) for path in paths])


def _any_content(path: Any) -> bool:
    """Every file of the container is ours; what it means is asked when all files are open."""
    return True


FORMATS: tuple[Format, ...] = (
    Format("npy", "npy", _any_content, _open_npy),
    Format("npz", "npz", _any_content, _open_npz),
)
"""One array in a file, and several in an archive."""
