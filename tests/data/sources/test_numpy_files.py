"""``.npy`` and ``.npz`` files, whole, damaged and hostile."""

import pickle
import struct
import zipfile

import numpy as np
import pytest

from sciml.data.sources.numpy_files import read_npy, read_npz
from tests.data.array_files import damaged_copies

RNG = np.random.default_rng(2251799813685269)


def npy_bytes(header, numbers=b"\0" * 64):
    text = repr(header) if isinstance(header, dict) else header
    text = text.encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + numbers


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "<i8", "|b1", "<c8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 5), ()])
def test_arrays_are_mapped(tmp_path, kind, order, shape):
    values = (10 * RNG.random(shape)).astype(kind)
    np.save(tmp_path / "a.npy", np.asarray(values, order=order))
    np.savez(tmp_path / "a.npz", b=np.asarray(values, order=order), c=values)
    for stored in (
        read_npy(tmp_path / "a.npy").arrays[""],
        read_npz(tmp_path / "a.npz").arrays["b"],
    ):
        assert stored.mappable
        assert (stored.shape, stored.dtype) == (shape, values.dtype)
        np.testing.assert_array_equal(stored.values(), values)
        assert not stored.direct().flags.writeable
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(stored)).values(), values)


@pytest.mark.parametrize("order", ["C", "F"])
def test_compressed_members_are_streamed_in_blocks(tmp_path, order):
    values = RNG.random((7, 5, 3))
    np.savez_compressed(tmp_path / "a.npz", u=np.asarray(values, order=order))
    stored = read_npz(tmp_path / "a.npz").arrays["u"]
    assert stored.direct() is None
    for limit in (1, 8 * 4, 8 * 15, 8 * 40, 10**6):
        out = np.full(values.shape, np.nan)
        sizes = []
        for index, block in stored.blocks(limit):
            assert np.isnan(out[index]).all()
            out[index] = block
            sizes.append(block.nbytes)
        np.testing.assert_array_equal(out, values)
        assert max(sizes) <= max(limit, 8)


def test_python_objects_are_never_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    values = np.empty(2, object)
    values[0] = Bomb()
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy with Python objects, which are never read"):
        read_npy(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", allow_pickle=True, u=np.ones(3), bomb=values)
    files = read_npz(tmp_path / "a.npz")
    assert list(files.arrays)[:1] == ["u"]
    assert files.refused["bomb"] == "Python objects, which are never read"
    np.save(tmp_path / "r.npy", np.zeros(3, [("a", "f4"), ("b", "f4")]))
    with pytest.raises(ValueError, match="no numbers but"):
        read_npy(tmp_path / "r.npy")


HEADERS = {
    "absurd shape": {"descr": "<f4", "fortran_order": False, "shape": (10**12, 10**12)},
    "shape that overflows": {"descr": "<f8", "fortran_order": False, "shape": (2**62, 8)},
    "negative shape": {"descr": "<f4", "fortran_order": False, "shape": (-1, -4)},
    "one number too many": {"descr": "<f4", "fortran_order": False, "shape": (17,)},
    "no literal": "__import__('os').getpid()",
    "nested": "[" * 5000 + "]" * 5000,
    "unknown dtype": {"descr": "<q9", "fortran_order": False, "shape": (1,)},
    "no shape": {"descr": "<f4", "fortran_order": False},
    "text": "data",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_hostile_headers_are_refused(tmp_path, header):
    (tmp_path / "a.npy").write_bytes(npy_bytes(header))
    with pytest.raises(ValueError, match=r"open_source: expected .*a\.npy.* again"):
        read_npy(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("u.npy", npy_bytes(header))
    with pytest.raises(ValueError, match=r"open_source: expected .*u\.npy of .*a\.npz.* again"):
        read_npz(tmp_path / "a.npz")


def test_zip_bombs_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, u=np.zeros(100_000))
    assert read_npz(path).arrays["u"].values().sum() == 0  # strong but honest compression
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\1\2")
    struct.pack_into("<I", data, central + 24, 2**32 - 2)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"got a declared size of 4294967294; .* hostile"):
        read_npz(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("u.npy", npy_bytes(HEADERS["text"]))
    assert "another method than deflate" in read_npz(path).refused["u"]


def test_damaged_archives_are_refused_or_read(tmp_path):
    path = tmp_path / "a.npz"
    for compress in (np.savez, np.savez_compressed):
        compress(path, u=RNG.random((3, 4, 4, 2)).astype("f4"), t=np.arange(2.0))
        messages = []
        for data in damaged_copies(path.read_bytes(), 200, 524287):
            path.write_bytes(data)
            try:
                for stored in read_npz(path).arrays.values():
                    assert stored.values().shape == stored.shape
            except ValueError as error:
                messages.append(str(error))
        assert len(messages) > 50
        assert all(text.startswith("open_source: expected") for text in messages)
