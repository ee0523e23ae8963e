"""HDF5 arrays of every kind of storage, and the back end that is to read them."""

from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

SHAPE = (3, 7, 10, 9)
"""Trajectories, frames and two axes of space."""


@dataclass(frozen=True)
class Storage:
    back_end: str
    options: dict[str, Any] = field(default_factory=dict)
    dtype: str = "<f4"
    package: str = ""
    userblock: int = 0
    partly: bool = False
    compressible: bool = True


def chunked(chunks: Any, **options: Any) -> dict[str, Any]:
    return {"chunks": chunks, **options}


FRAME = (1, 1, 10, 9)
GZIP = {"compression": "gzip", "shuffle": True}
STORAGE = {
    "contiguous": Storage("mmap"),
    "frame chunks": Storage("chunk_table", chunked(FRAME)),
    "chunks of two frames, ragged": Storage("chunk_table", chunked((1, 2, 10, 9))),
    "trajectory chunks": Storage("chunk_table", chunked((1, 7, 10, 9))),
    "chunks of two trajectories": Storage("chunk_table", chunked((2, 7, 10, 9))),
    "ragged in all axes": Storage("chunk_table", chunked((2, 3, 4, 5))),
    "one chunk": Storage("chunk_table", chunked(SHAPE)),
    "chunk wider than the array": Storage(
        "chunk_table", chunked((1, 2, 16, 16), maxshape=(None, None, 16, 16))
    ),
    "columns": Storage("chunk_table", chunked((1, 1, 10, 2))),
    "chunks never written": Storage("chunk_table", chunked(FRAME, fillvalue=-3.5), partly=True),
    "filtered chunks never written": Storage(
        "direct_chunk", chunked((1, 2, 10, 9), fillvalue=2.5, **GZIP), partly=True
    ),
    "gzip": Storage("direct_chunk", chunked(FRAME, compression="gzip", compression_opts=9)),
    "gzip, shuffle": Storage("direct_chunk", chunked(FRAME, **GZIP)),
    "gzip, shuffle, ragged": Storage("direct_chunk", chunked((2, 3, 4, 5), **GZIP)),
    "gzip, shuffle, double": Storage("direct_chunk", chunked((1, 7, 10, 9), **GZIP), "<f8"),
    "gzip of noise": Storage(
        "direct_chunk", chunked(FRAME, compression="gzip"), compressible=False
    ),
    "shuffle alone": Storage("direct_chunk", chunked(FRAME, shuffle=True)),
    "lzf": Storage("direct_chunk", chunked(FRAME, compression="lzf")),
    "lzf, shuffle": Storage(
        "direct_chunk", chunked((1, 7, 10, 9), compression="lzf", shuffle=True)
    ),
    # LZF stores what it cannot shrink as it is, and says so in the chunk's mask
    "lzf of noise": Storage(
        "direct_chunk", chunked(FRAME, compression="lzf"), compressible=False
    ),
    "fletcher32": Storage("h5py", chunked(FRAME, fletcher32=True)),
    "gzip, fletcher32": Storage("h5py", chunked(FRAME, fletcher32=True, **GZIP)),
    "scaleoffset": Storage("h5py", chunked(FRAME, scaleoffset=2)),
    "big-endian": Storage("mmap", {}, ">f4"),
    "big-endian chunks": Storage("chunk_table", chunked((1, 2, 4, 9)), ">f8"),
    "big-endian gzip": Storage("direct_chunk", chunked((1, 2, 10, 9), **GZIP), ">f4"),
    "double": Storage("mmap", {}, "<f8"),
    "half": Storage("mmap", {}, "<f2"),
    "half lzf": Storage("direct_chunk", chunked(FRAME, compression="lzf", shuffle=True), "<f2"),
    "boolean": Storage("mmap", {}, "?"),
    "boolean chunks": Storage("chunk_table", chunked(FRAME), "?"),
    "boolean gzip": Storage("direct_chunk", chunked(FRAME, **GZIP), "?"),
    "int8": Storage("mmap", {}, "i1"),
    "uint16 gzip": Storage("direct_chunk", chunked(FRAME, **GZIP), "<u2"),
    "int64": Storage("mmap", {}, "<i8"),
    "user block": Storage("mmap", userblock=512),
    "user block, chunks": Storage("chunk_table", chunked(FRAME), userblock=2048),
    "user block, gzip": Storage("direct_chunk", chunked(FRAME, **GZIP), userblock=512),
    "bitshuffle": Storage("direct_chunk", chunked(FRAME), package="Bitshuffle:lz4"),
    "bitshuffle, trajectory": Storage(
        "direct_chunk", chunked((1, 7, 10, 9)), package="Bitshuffle:lz4"
    ),
    "bitshuffle without lz4": Storage(
        "direct_chunk", chunked(FRAME), package="Bitshuffle:none"
    ),
    "bitshuffle, double": Storage(
        "direct_chunk", chunked((2, 3, 4, 5)), "<f8", package="Bitshuffle:lz4"
    ),
    "blosc": Storage("direct_chunk", chunked((1, 7, 10, 9)), package="Blosc"),
    "blosc2": Storage("direct_chunk", chunked((1, 7, 10, 9)), package="Blosc2"),
    "blosc2 of noise": Storage(
        "direct_chunk", chunked(FRAME), package="Blosc2", compressible=False
    ),
    "lz4": Storage("direct_chunk", chunked(FRAME), package="LZ4"),
    "zstd": Storage("h5py", chunked(FRAME), package="Zstd"),
}


def package_options(package: str) -> dict[str, Any]:
    """Options of `create_dataset` for a filter of hdf5plugin."""
    import hdf5plugin

    name, _, codec = package.partition(":")
    return dict(getattr(hdf5plugin, name)(**({"cname": codec} if codec else {})))


def write_storage(path: Any, storage: Storage, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Write the array ``/group/u`` and return what it holds."""
    generator = np.random.default_rng(77_713)
    values = generator.standard_normal(shape)
    if storage.compressible:
        values = np.round(values, 1) + np.arange(shape[-1])
    values = values.astype(storage.dtype) if storage.dtype != "?" else values > 0.5
    options = dict(storage.options)
    if storage.package:
        options |= package_options(storage.package)
    with h5py.File(path, "w", userblock_size=storage.userblock) as file:
        dataset = file.create_dataset("group/u", shape, storage.dtype, **options)
        if storage.partly:
            dataset[1, 2:5] = values[1, 2:5]
            dataset[2, 6] = values[2, 6]
        else:
            dataset[...] = values
    # not before it is closed: HDF5 would return what it has not yet sent through the filters
    with h5py.File(path) as file:
        return np.asarray(file["group/u"][...])
