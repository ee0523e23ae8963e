import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from sciml.data.sources import hdf5_filters
from sciml.data.sources.hdf5_filters import (
    Decoder,
    Filter,
    read_filters,
    require_filters,
    undecodable,
)
from tests.data.sources.hdf5_files import STORAGE, write_storage

DEFLATE, SHUFFLE, LZF = Filter(1, (4,)), Filter(2, (4,)), Filter(32000, (4, 261, 64))


def stored_bytes(path, number):
    """Raw bytes, mask and values of one chunk."""
    with h5py.File(path) as file:
        dataset = file["group/u"]
        offset = dataset.id.get_chunk_info(number).chunk_offset
        mask, raw = dataset.id.read_direct_chunk(offset)
        index = tuple(slice(o, o + c) for o, c in zip(offset, dataset.chunks, strict=True))
        return np.frombuffer(raw, np.uint8), mask, dataset[index], read_filters(dataset)


DECODED = [
    "gzip, shuffle",
    "lzf, shuffle",
    "lzf of noise",
    "bitshuffle",
    "bitshuffle without lz4",
    "blosc",
    "blosc2",
    "blosc2 of noise",
    "lz4",
]


@pytest.fixture(params=[*DECODED, "gzip, shuffle, plain", "lzf, shuffle, plain"])
def chunk(tmp_path, request, monkeypatch):
    name = request.param.removesuffix(", plain")
    if STORAGE[name].package:
        pytest.importorskip("hdf5plugin")
    if name != request.param:  # zlib and h5py's LZF
        monkeypatch.setattr(hdf5_filters, "_codec", lambda _: None)
    write_storage(tmp_path / "a.h5", STORAGE[name])
    return stored_bytes(tmp_path / "a.h5", 1)


def test_decodes_to_what_h5py_reads(chunk):
    raw, mask, values, filters = chunk
    assert undecodable(filters) is None
    decoded = Decoder(filters, values.nbytes)(raw, mask)
    assert decoded.tobytes() == values.tobytes()


def test_damaged_bytes_are_refused_or_have_the_right_size(chunk):
    raw, mask, values, filters = chunk
    decode = Decoder(filters, values.nbytes)
    generator = np.random.default_rng(31_337)
    refused = 0
    for _ in range(60):
        bad = raw.copy()
        if generator.random() < 0.5:
            bad = bad[: generator.integers(0, len(bad))]
        else:
            where = generator.integers(0, len(bad), 5)
            bad[where] = generator.integers(0, 256, 5)
        try:
            assert len(decode(bad, mask)) == values.nbytes
        except ValueError:
            refused += 1
    assert refused > 0


def test_a_filter_that_the_mask_leaves_out_is_not_undone():
    values = np.arange(64, dtype=np.uint8)
    planes = values.reshape(16, 4).T.copy().reshape(-1)
    packed = np.frombuffer(zlib.compress(planes.tobytes()), np.uint8)
    decode = Decoder((SHUFFLE, DEFLATE), 64)
    assert decode(packed, 0).tobytes() == values.tobytes()
    assert decode(packed, 0b01).tobytes() == planes.tobytes()
    assert decode(planes, 0b10).tobytes() == values.tobytes()
    assert decode(values, 0b11).tobytes() == values.tobytes()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_shuffle_keeps_the_bytes_behind_the_last_element(size):
    count = 3 * hdf5_filters._SHUFFLE_BLOCK // 2
    values = np.random.default_rng(7_919).integers(0, 256, count * size + 1, dtype=np.uint8)
    whole = (len(values) // size) * size
    planes = values.copy()
    planes[:whole] = values[:whole].reshape(-1, size).T.reshape(-1)
    decoded = Decoder((Filter(2, (size,)),), len(values))(planes, 0)
    np.testing.assert_array_equal(decoded, values)


@pytest.mark.parametrize("package", ["imagecodecs", "zlib"])
def test_deflate_of_another_size_is_refused(monkeypatch, package):
    if package == "zlib":
        monkeypatch.setattr(hdf5_filters, "_codec", lambda name: None)
    else:
        pytest.importorskip("imagecodecs")
    bomb = np.frombuffer(zlib.compress(bytes(10**7)), np.uint8)
    exact = np.frombuffer(zlib.compress(bytes(4096)), np.uint8)
    assert not Decoder((DEFLATE,), 4096)(exact, 0).any()
    for stored, size in ((bomb, 4096), (exact, 4095), (exact, 4097)):
        with pytest.raises(ValueError):  # noqa: PT011  the library's words
            Decoder((DEFLATE,), size)(stored, 0)


@pytest.mark.parametrize("name", ["bitshuffle", "blosc", "blosc2", "lz4"])
def test_a_header_of_another_size_is_refused_before_memory_is_taken(tmp_path, name):
    pytest.importorskip("hdf5plugin")
    write_storage(tmp_path / "a.h5", STORAGE[name])
    raw, mask, values, filters = stored_bytes(tmp_path / "a.h5", 1)
    with pytest.raises(ValueError, match=r"a header of \d+ bytes instead of 64"):
        Decoder(filters, 64)(raw, mask)
    with pytest.raises(ValueError, match=r"a header cut at 3 bytes"):
        Decoder(filters, values.nbytes)(raw[:3], mask)


def test_names_and_what_is_left_to_hdf5():
    assert [Filter(code, ()).name for code in (1, 2, 3, 32000, 40000)] == [
        "gzip",
        "shuffle",
        "fletcher32",
        "lzf",
        "filter 40000",
    ]
    assert undecodable((SHUFFLE, DEFLATE)) is None
    left = undecodable((SHUFFLE, Filter(3, ())))
    assert left is not None
    assert left.name == "fletcher32"


def test_a_missing_filter_is_named():
    with pytest.raises(ValueError, match=r"got filter 40000 in u of a\.h5; pip install hdf5pl"):
        require_filters((DEFLATE, Filter(40000, ())), "u of a.h5")


def test_without_the_packages_built_in_filters_are_decoded(tmp_path):
    """In a process of its own, as plug-ins that were registered once stay registered."""
    for name in ("gzip, shuffle", "lzf, shuffle"):
        write_storage(tmp_path / f"{name}.h5", STORAGE[name])
    code = """
import sys
sys.modules["hdf5plugin"] = sys.modules["imagecodecs"] = None
from pathlib import Path
from sciml.data.sources.hdf5 import ArrayReader, inspect_array, open_hdf5
from sciml.data.sources.hdf5_filters import Filter, require_filters
import h5py
for path in sorted(Path(sys.argv[1]).glob("*.h5")):
    with open_hdf5(path) as file:
        layout = inspect_array(file["group/u"])
        expected = file["group/u"][...]
    assert layout.back_end == "direct_chunk", layout
    assert (ArrayReader(path, {"u": layout})["u"][...] == expected).all()
try:
    require_filters((Filter(32008, ()),), "u")
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "got bitshuffle in u; pip install hdf5plugin" in done.stdout
