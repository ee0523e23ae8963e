"""Filters of HDF5 chunks, decoded outside HDF5's global lock.

HDF5 runs one call at a time in a process, decompression included. Here the bytes of a chunk are
decoded by zlib or by the filter function of the library that HDF5 itself would call (h5py's
LZF, the plug-ins of hdf5plugin), so that several threads decode at once and the values are
HDF5's. Where imagecodecs is installed, its libdeflate and liblzf take about half the time.

Source: HDF5 file format specification 3.0, filter pipeline message; H5Zpublic.h for the
signature of filter functions; the registered filters' own documents for their headers.
"""

import importlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.hdf5_plugins import (
    PLUGIN_NAMES,
    LibraryFilter,
    filter_function,
    plugin_package,
)

_DEFLATE, _SHUFFLE, _LZF = 1, 2, 32000
_NAMES = {
    _DEFLATE: "gzip",
    _SHUFFLE: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    32015: "zstd",
} | PLUGIN_NAMES
_SHUFFLE_BLOCK = 16384  # elements whose source and target planes stay in the first-level cache

FilterFunction = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""Decodes bytes, to about as many as are given; more of them are an error."""


@final
@dataclass(frozen=True)
class Filter:
    """One stage of a filter pipeline.

    Args:
        code: Registered number.
        values: Client data, as the file stores them.
    """

    code: int
    values: tuple[int, ...]

    @property
    def name(self) -> str:
        """Usual name, the number for an unknown filter."""
        return _NAMES.get(self.code, f"filter {self.code}")


def read_filters(dataset: Any) -> tuple[Filter, ...]:
    """Pipeline of an `h5py.Dataset`, in the order of writing."""
    plist = dataset.id.get_create_plist()
    stages = (plist.get_filter(number) for number in range(plist.get_nfilters()))
    return tuple(Filter(int(stage[0]), tuple(stage[2])) for stage in stages)


def require_filters(filters: Sequence[Filter], where: str) -> None:
    """Make HDF5 able to read a pipeline, by loading its plug-ins if they are needed.

    Args:
        filters: The pipeline.
        where: Data set and file, for the message.

    Raises:
        ValueError: If HDF5 lacks a filter.
    """
    for stage in filters:
        if not h5py.h5z.filter_avail(stage.code):
            plugin_package()
        if not h5py.h5z.filter_avail(stage.code):
            raise ValueError(
                f"open_source: expected filters that HDF5 has here, got {stage.name} in "
                f"{where}; pip install hdf5plugin"
            )


def undecodable(filters: Sequence[Filter]) -> Filter | None:
    """First filter of a pipeline that is left to HDF5, None if there is none."""
    return next((stage for stage in filters if _function(stage) is None), None)


@final
class Decoder:
    """Turns the stored bytes of a chunk into its values' bytes.

    Args:
        filters: The pipeline, all of it decodable.
        num_bytes: Bytes of a decoded chunk.
    """

    def __init__(self, filters: Sequence[Filter], num_bytes: int) -> None:
        self._num_bytes = num_bytes
        self._stages = [
            (1 << number, function)
            for number, stage in enumerate(filters)
            if (function := _function(stage)) is not None
        ][::-1]

    def __call__(self, stored: NDArray[np.uint8], mask: int) -> NDArray[np.uint8]:
        """Decode one chunk.

        Args:
            stored: Its bytes in the file.
            mask: Bit i is set where stage i was left out in writing.

        Raises:
            ValueError: If the bytes are damaged.
        """
        data = stored
        for bit, function in self._stages:
            if not mask & bit:
                data = function(data, self._num_bytes)
        if len(data) != self._num_bytes:
            raise ValueError(f"{len(data)} bytes instead of {self._num_bytes}")
        return data


def _function(stage: Filter) -> FilterFunction | None:
    """Decoding function of a filter, None if there is none here."""
    if stage.code == _DEFLATE:
        return _codec("deflate") or _inflate
    if stage.code == _SHUFFLE:
        size = stage.values[0] if stage.values else 1
        return partial(_unshuffle, max(size, 1))
    codec = _codec("lzf") if stage.code == _LZF else None
    if codec is not None:
        return codec
    function = filter_function(stage.code)
    return None if function is None else LibraryFilter(stage.code, stage.values, function)


@cache
def _codec(name: str) -> FilterFunction | None:
    """Decoder of imagecodecs, None where that is not installed or lacks it."""
    try:
        codecs = importlib.import_module("imagecodecs")
        decode = getattr(codecs, f"{name}_decode")
        damage = getattr(codecs, f"{name.capitalize()}Error")
    except (ImportError, AttributeError):
        return None

    def run(data: NDArray[np.uint8], num_bytes: int) -> NDArray[np.uint8]:
        try:
            values = decode(data, out=np.empty(num_bytes, np.uint8))
        except damage as error:
            raise ValueError(str(error)) from error
        return np.frombuffer(values, np.uint8)

    return run


def _inflate(data: NDArray[np.uint8], num_bytes: int) -> NDArray[np.uint8]:
    """Decode deflate by zlib, to at most one byte more than a chunk has."""
    try:
        values = zlib.decompressobj().decompress(data.data, num_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(values, np.uint8)


def _unshuffle(size: int, planes: NDArray[np.uint8], num_bytes: int) -> NDArray[np.uint8]:
    """Undo the shuffle filter, which stores the first bytes of all elements, then the second.

    Bytes behind the last whole element stand as they are.
    """
    whole = len(planes) // size
    result = np.empty(len(planes), np.uint8)
    source = planes[: whole * size].reshape(size, whole)
    target = result[: whole * size].reshape(whole, size)
    for start in range(0, whole, _SHUFFLE_BLOCK):
        part = slice(start, start + _SHUFFLE_BLOCK)
        for byte in range(size):
            target[part, byte] = source[byte, part]
    result[whole * size :] = planes[whole * size :]
    return result
