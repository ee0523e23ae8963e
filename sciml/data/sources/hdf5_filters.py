"""Filters of HDF5 chunks, decoded outside HDF5's global lock.

HDF5 runs one call at a time in a process, decompression included. Here the bytes of a chunk are
decoded by zlib (libdeflate where imagecodecs is installed) or by the filter function of the
library that HDF5 itself would call (h5py's LZF, the plug-ins of hdf5plugin), so that several
threads decode at once and the values are HDF5's.

Source: HDF5 file format specification 3.0, filter pipeline message; H5Zpublic.h for the
signature of filter functions; the registered filters' own documents for their headers.
"""

import ctypes
import importlib
import struct
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray

_DEFLATE, _SHUFFLE, _LZF, _BITSHUFFLE = 1, 2, 32000, 32008
_BLOSC, _LZ4, _BLOSC2 = 32001, 32004, 32026
_PLUGINS = {_BITSHUFFLE: "h5bshuf", _BLOSC: "h5blosc", _LZ4: "h5lz4", _BLOSC2: "h5blosc2"}
_NAMES = {
    _DEFLATE: "gzip",
    _SHUFFLE: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    _LZF: "lzf",
    _BITSHUFFLE: "bitshuffle",
    _BLOSC: "blosc",
    _LZ4: "lz4",
    _BLOSC2: "blosc2",
    32015: "zstd",
}
_REVERSE = 0x0100  # H5Z_FLAG_REVERSE: decode
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
            _plugin_package()
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
        return _inflate_function()
    if stage.code == _SHUFFLE:
        size = stage.values[0] if stage.values else 1
        return partial(_unshuffle, max(size, 1))
    native = _native_function(stage.code)
    return None if native is None else _LibraryFilter(stage, native)


@cache
def _native_function(code: int) -> Any:
    """Filter function in a loaded library, None where there is none."""
    if sys.platform == "win32":  # a library's buffers may come from another C runtime's heap
        return None
    if code == _LZF:
        return _lzf_function()
    package = _plugin_package() if code in _PLUGINS else None
    if package is None:
        return None
    library = next(Path(package.PLUGIN_PATH).glob(f"*{_PLUGINS[code]}.*"), None)
    if library is None:
        return None
    plugin = ctypes.CDLL(str(library))
    plugin.H5PLget_plugin_info.restype = ctypes.POINTER(_FilterClass)
    description = plugin.H5PLget_plugin_info().contents
    if description.version != 1 or description.code != code:
        return None
    return _FILTER_TYPE(description.filter)


@cache
def _plugin_package() -> ModuleType | None:
    """The hdf5plugin package, which registers its filters with HDF5 when imported."""
    try:
        import hdf5plugin  # optional, and it registers filters when imported
    except ImportError:
        return None
    package: ModuleType = hdf5plugin
    return package


@cache
def _inflate_function() -> FilterFunction:
    """Deflate of libdeflate, about twice as fast as zlib, where imagecodecs is installed."""
    try:
        codecs = importlib.import_module("imagecodecs")
        decode, damage = codecs.deflate_decode, codecs.DeflateError
    except (ImportError, AttributeError):
        return _inflate

    def inflate(data: NDArray[np.uint8], num_bytes: int) -> NDArray[np.uint8]:
        try:
            values = decode(data, out=np.empty(num_bytes, np.uint8))
        except damage as error:
            raise ValueError(str(error)) from error
        return np.frombuffer(values, np.uint8)

    return inflate


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


class _FilterClass(ctypes.Structure):
    """H5Z_class2_t."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("code", ctypes.c_int),
        ("encoder_present", ctypes.c_uint),
        ("decoder_present", ctypes.c_uint),
        ("name", ctypes.c_char_p),
        ("can_apply", ctypes.c_void_p),
        ("set_local", ctypes.c_void_p),
        ("filter", ctypes.c_void_p),
    )


# H5Z_func_t(flags, number of values, values, bytes, buffer size, buffer); ctypes releases the
# interpreter's lock around the call
_FILTER_TYPE = ctypes.CFUNCTYPE(
    ctypes.c_size_t,
    ctypes.c_uint,
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_uint),
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_size_t),
    ctypes.POINTER(ctypes.c_void_p),
)


def _lzf_function() -> Any:
    """LZF of the library that h5py carries; None where it does not export it."""
    try:
        function = ctypes.CDLL(h5py.h5z.__file__).lzf_filter
    except (AttributeError, OSError):
        return None
    return _FILTER_TYPE(ctypes.cast(function, ctypes.c_void_p).value or 0)


@cache
def _heap() -> tuple[Any, Any]:
    """``malloc`` and ``free`` of the process."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    library.free.restype, library.free.argtypes = None, (ctypes.c_void_p,)
    return library.malloc, library.free


class _Allocation(ctypes.c_void_p):
    """Memory of malloc, which filter functions replace, freed with this object."""

    free: Any

    def __del__(self) -> None:
        self.free(self)


@final
class _LibraryFilter:
    """Calls a filter function as HDF5 does: on memory of malloc, which it may replace."""

    def __init__(self, stage: Filter, function: Any) -> None:
        self._stage = stage
        self._function = function
        self._malloc, self._free = _heap()
        self._num_values = len(stage.values)
        self._values = (ctypes.c_uint * self._num_values)(*stage.values)

    def __call__(self, data: NDArray[np.uint8], num_bytes: int) -> NDArray[np.uint8]:
        """Decode the bytes of a chunk."""
        declared = self._declared_bytes(data)
        if declared is not None and declared != num_bytes:
            # filters allocate what the header says, before they look at the data
            raise ValueError(f"a header of {declared} bytes instead of {num_bytes}")
        count = len(data)
        memory = _Allocation(self._malloc(max(count, 1)))
        memory.free = self._free
        if memory.value is None:
            raise MemoryError(f"open_source: no memory for a chunk of {count} bytes")
        # what `data.ctypes.data` is, in a third of its time
        ctypes.memmove(memory, data.__array_interface__["data"][0], count)
        size = ctypes.c_size_t(count)
        got = self._function(
            _REVERSE,
            self._num_values,
            self._values,
            count,
            ctypes.byref(size),
            ctypes.byref(memory),
        )
        if got == 0 or got > num_bytes:
            raise ValueError(f"{got} bytes instead of {num_bytes}")
        result = (ctypes.c_ubyte * got).from_address(memory.value)
        result.memory = memory  # lives as long as the array that shows it
        return np.frombuffer(result, np.uint8)

    def _declared_bytes(self, data: NDArray[np.uint8]) -> int | None:
        """Decoded bytes that a chunk's own header announces, None if it has none."""
        code, values = self._stage.code, self._stage.values
        if code == _LZ4 or (code == _BITSHUFFLE and len(values) > 4 and values[4] != 0):
            return _integer(">Q", data, 0)
        if code == _BLOSC:
            return _integer("<I", data, 4)
        if code == _BLOSC2:
            return _integer(">Q", data, 30)
        return None


def _integer(kind: str, data: NDArray[np.uint8], offset: int) -> int:
    """An integer in a chunk's header."""
    try:
        value: int = struct.unpack_from(kind, data.data, offset)[0]
    except struct.error as error:
        raise ValueError(f"a header cut at {len(data)} bytes") from error
    return value
