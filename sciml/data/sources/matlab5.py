"""MATLAB v5 files: a list of variables, compressed or not.

Only headers are parsed on opening. Numbers that lie in the open are memory-mapped, compressed
ones are streamed. No declared size is believed before it was compared with the file's size.

Source: MathWorks, MAT-File Format, "Level 5 MAT-file format".
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.array_sets import ArraySet
from sciml.data.sources.array_sets_bytes import MAX_RATIO, check_declared_bytes
from sciml.data.sources.array_sets_storage import (
    LoadedArray,
    MappedArray,
    StoredArray,
    StreamedArray,
)
from sciml.data.sources.matlab_stream import Element, SubElements, list_elements, open_element
from sciml.data.sources.matlab_values import NUMBER_CLASSES, dense, refuse_class, text_rows

_CLASSES = {
    1: "cell",
    2: "struct",
    3: "object",
    4: "char",
    5: "sparse",
    16: "function_handle",
    17: "opaque",
    **dict(enumerate(NUMBER_CLASSES, start=6)),
}
_COMPLEX, _LOGICAL = 0x08, 0x02
_MAX_NAME, _MAX_AXES = 4096, 32
_UTF8 = 16


@final
@dataclass(frozen=True)
class _Header:
    """What a variable declares.

    Args:
        name: Its name.
        kind: Its MATLAB class.
        shape: Its shape.
        flags: Whether it is logical, complex or global.
        position: Bytes of its sub-elements in front of its values.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    flags: int
    position: int


def read_matlab5(path: Path, back_end: str = "auto") -> ArraySet:
    """The variables of a file.

    Raises:
        ValueError: If the file is damaged or declares absurd sizes.
    """
    arrays: dict[str, StoredArray] = {}
    refused: dict[str, str] = {}
    for element in list_elements(path):
        with open_element(element) as stream:
            parts = SubElements(element, stream)
            header = _read_header(element, parts)
            if not header.name:  # MATLAB's own book-keeping of objects
                continue
            known = ("char", "sparse", *NUMBER_CLASSES)
            if header.kind not in known:
                refused[header.name] = refuse_class(header.kind)
            elif 0 in header.shape:
                refused[header.name] = "empty"
            else:
                arrays[header.name] = _variable(element, header, parts)
    return ArraySet((path,), arrays, refused, back_end=back_end)


def _read_header(element: Element, parts: SubElements) -> _Header:
    flags = parts.numbers(8)
    if len(flags) != 2 or flags.dtype.itemsize != 4:
        raise element.damaged("no array flags")
    kind = _CLASSES.get(int(flags[0]) & 0xFF, f"code {int(flags[0]) & 0xFF}")
    if kind == "opaque":  # its name stands where others have their shape
        _, name = parts.data(_MAX_NAME)
        shape: tuple[int, ...] = ()
    else:
        shape = tuple(int(n) for n in parts.numbers(4 * _MAX_AXES))
        _, name = parts.data(_MAX_NAME)
    if any(n < 0 for n in shape):
        raise element.damaged(f"the shape {shape}")
    text = name.decode("latin-1").rstrip("\0")
    return _Header(text, kind, shape, int(flags[0]) >> 8 & 0xFF, parts.position)


def _variable(element: Element, header: _Header, parts: SubElements) -> StoredArray:
    path, name, shape = element.path, header.name, header.shape
    where = f"{name!r} of {path}"
    room = element.size * (MAX_RATIO if element.compressed else 1)
    if header.kind == "sparse":
        if len(shape) != 2:
            raise element.damaged(f"a sparse matrix of shape {shape}")
        kind = np.complex128 if header.flags & _COMPLEX else np.float64
        load = partial(_load_sparse, element, header, room)
        return LoadedArray(path, name, shape, np.dtype(kind), "sparse matrix", load)
    if header.kind == "char":
        check_declared_bytes(where, shape, np.dtype(np.uint8), room)
        load = partial(_load_text, element, header, room)
        dtype = np.dtype(f"U{shape[-1]}")
        return LoadedArray(path, name, shape[:-1], dtype, "text", load)
    code, count, _ = parts.tag()
    dtype = parts.dtype(code)
    check_declared_bytes(where, shape, dtype, min(room, count))
    if header.flags & _COMPLEX:
        values = np.result_type(dtype, np.complex64)
        load = partial(_load_complex, element, header, room)
        return LoadedArray(path, name, shape, values, "complex numbers", load)
    if header.flags & _LOGICAL and dtype.itemsize == 1:
        dtype = np.dtype(np.bool_)
    if element.compressed:
        opened = partial(open_element, element, parts.position)
        return StreamedArray(path, name, shape, dtype, opened, fortran=True)
    offset = element.offset + parts.position
    return MappedArray(path, name, shape, dtype, offset, fortran=True)


def _load_complex(element: Element, header: _Header, room: int) -> NDArray[Any]:
    with open_element(element, header.position) as stream:
        parts = SubElements(element, stream)
        real, imaginary = parts.numbers(room), parts.numbers(room)
    size = int(np.prod(header.shape))
    if not len(real) == len(imaginary) == size:
        raise element.damaged(
            f"{len(real)} real and {len(imaginary)} imaginary parts of {size}"
        )
    joined: NDArray[Any] = (real + 1j * imaginary).reshape(header.shape, order="F")
    return joined


def _load_sparse(element: Element, header: _Header, room: int) -> NDArray[Any]:
    with open_element(element, header.position) as stream:
        parts = SubElements(element, stream)
        rows, starts, values = (parts.numbers(room) for _ in range(3))
        if header.flags & _COMPLEX:
            imaginary = parts.numbers(room)
            if len(imaginary) != len(values):
                raise element.damaged("real and imaginary parts of different numbers")
            values = values + 1j * imaginary
    shape = (header.shape[0], header.shape[1])
    return dense(element.path, header.name, shape, (rows, starts, values))


def _load_text(element: Element, header: _Header, room: int) -> NDArray[Any]:
    with open_element(element, header.position) as stream:
        parts = SubElements(element, stream)
        code, content = parts.data(room)
    if code == _UTF8:
        codes = np.frombuffer(content.decode("utf-8", "replace").encode("utf-16-le"), "<u2")
    else:
        if len(content) % parts.dtype(code).itemsize:
            raise element.damaged("half a character")
        codes = np.frombuffer(content, parts.dtype(code)).astype("<u2")
    if len(codes) != int(np.prod(header.shape)):
        raise element.damaged(f"{len(codes)} characters for shape {header.shape}")
    return text_rows(codes.reshape(header.shape, order="F"))
