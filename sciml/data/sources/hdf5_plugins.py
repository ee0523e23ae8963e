"""Filter functions of the libraries that HDF5 itself calls: h5py's LZF and hdf5plugin's.

They have one signature, take and return memory of ``malloc``, and keep no state, so they can be
called without HDF5, and by several threads at once.

Source: H5Zpublic.h (H5Z_func_t, H5Z_class2_t) and H5PLextern.h of HDF5 1.14; the filters' own
documents for the headers of their chunks.
"""

import ctypes
import struct
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray

_LZF, _BLOSC, _LZ4, _BITSHUFFLE, _BLOSC2 = 32000, 32001, 32004, 32008, 32026
PLUGIN_NAMES = {
    _LZF: "lzf",
    _BLOSC: "blosc",
    _LZ4: "lz4",
    _BITSHUFFLE: "bitshuffle",
    _BLOSC2: "blosc2",
}
"""Filters of this module by their registered numbers."""

_LIBRARIES = {_BITSHUFFLE: "h5bshuf", _BLOSC: "h5blosc", _LZ4: "h5lz4", _BLOSC2: "h5blosc2"}
FASTER_IN_HDF5 = frozenset(_LIBRARIES)
"""Codecs so fast that HDF5's own pipeline beats ours, on two threads too (measured by
``benchmarks/data_loading.py``); a forced back end decodes them all the same."""

_REVERSE = 0x0100  # H5Z_FLAG_REVERSE: decode


@cache
def plugin_package() -> ModuleType | None:
    """The hdf5plugin package, which registers its filters with HDF5 when imported."""
    try:
        import hdf5plugin  # optional, and it registers filters when imported
    except ImportError:
        return None
    package: ModuleType = hdf5plugin
    return package


@cache
def filter_function(code: int) -> Any:
    """Filter function in a loaded library, None where there is none."""
    if sys.platform == "win32":  # a library's buffers may come from another C runtime's heap
        return None
    if code == _LZF:
        return _lzf_function()
    package = plugin_package() if code in _LIBRARIES else None
    if package is None:
        return None
    library = next(Path(package.PLUGIN_PATH).glob(f"*{_LIBRARIES[code]}.*"), None)
    if library is None:
        return None
    plugin = ctypes.CDLL(str(library))
    plugin.H5PLget_plugin_info.restype = ctypes.POINTER(_FilterClass)
    description = plugin.H5PLget_plugin_info().contents
    if description.version != 1 or description.code != code:
        return None
    return _FILTER_TYPE(description.filter)


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
class LibraryFilter:
    """Calls a filter function as HDF5 does: on memory of malloc, which it may replace.

    Args:
        code: Registered number of the filter.
        values: Its client data, as the file stores them.
        function: The function, see `filter_function`.
    """

    def __init__(self, code: int, values: tuple[int, ...], function: Any) -> None:
        self._code = code
        self._plain_values = values
        self._function = function
        self._malloc, self._free = _heap()
        self._num_values = len(values)
        self._values = (ctypes.c_uint * len(values))(*values)

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
        code, values = self._code, self._plain_values
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
