"""MATLAB v5 files: against scipy, on a genuine file, and on damaged ones."""

import itertools
import pickle
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from sciml.data.sources.matlab5 import read_matlab5
from tests.data.array_files import damaged_copies, golden_file

RNG = np.random.default_rng(4503599627370517)


def element(kind, content, order="<"):
    return struct.pack(f"{order}II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def short_element(kind, content, order="<"):
    return struct.pack(f"{order}I", len(content) << 16 | kind) + content.ljust(4, b"\0")


def variable(name, shape, data, *, flags=6, order="<"):
    """A matrix element with the sub-elements `data` behind its header."""
    body = (
        element(6, struct.pack(f"{order}II", flags, 0), order)
        + element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
        + element(1, name, order)
        + data
    )
    return struct.pack(f"{order}II", 14, len(body)) + body


def write(path, *elements, order="<"):
    mark = b"IM" if order == "<" else b"MI"
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x0100) + mark
    path.write_bytes(head + b"".join(elements))
    return path


def compressed(body):
    packed = zlib.compress(body)
    return struct.pack("<II", 15, len(packed)) + packed


@pytest.mark.parametrize("compression", [False, True])
def test_numbers_of_every_class_as_scipy_reads_them(tmp_path, compression):
    kinds = ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]
    shapes = [(1, 1), (1, 7), (5, 1), (3, 4), (2, 3, 5), (3, 1, 2, 4)]
    arrays = {}
    for kind, shape in itertools.product(kinds, shapes):
        values = (100 * RNG.random(shape)).astype("i8") % (2 if kind == "?" else 101)
        arrays[f"v{len(arrays)}"] = values.astype(kind)
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, arrays, do_compression=compression)
    files = read_matlab5(path)
    assert files.arrays.keys() == arrays.keys()
    expected = scipy.io.loadmat(path)
    for name, stored in files.arrays.items():
        assert stored.shape == arrays[name].shape
        assert (stored.dtype == np.bool_) == (arrays[name].dtype == np.bool_)
        assert stored.mappable != compression
        np.testing.assert_array_equal(stored.values(), expected[name])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(stored)).values(), arrays[name])


@pytest.mark.parametrize("compression", [False, True])
def test_complex_text_and_sparse_as_scipy_reads_them(tmp_path, compression):
    sparse = scipy.sparse.random(7, 5, 0.3, "csc", random_state=73)
    arrays = {
        "z": RNG.random((3, 4, 2)) + 1j * RNG.random((3, 4, 2)),
        "text": "vorticity",
        "rows": np.array(["ab", "cd", "ef"]),
        "S": sparse,
        "Z": (sparse + 2j * sparse).tocsc(),
    }
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, arrays, do_compression=compression)
    found = read_matlab5(path).arrays
    np.testing.assert_array_equal(found["z"].values(), arrays["z"])
    assert found["text"].values().tolist() == ["vorticity"]
    assert found["rows"].values().tolist() == ["ab", "cd", "ef"]
    np.testing.assert_array_equal(found["S"].values(), sparse.toarray())
    np.testing.assert_array_equal(found["Z"].values(), arrays["Z"].toarray())


def test_cells_structs_and_functions_are_refused_in_words(tmp_path):
    cell = np.empty((1, 2), object)
    cell[:] = [[np.ones(3), "text"]]
    arrays = {"c": cell, "s": {"inner": np.ones(3)}, "u": np.ones((2, 2)), "e": np.ones((0, 3))}
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    function = variable(b"f", (1, 1), b"", flags=16)
    path = tmp_path / "a.mat"
    path.write_bytes(path.read_bytes() + function)
    files = read_matlab5(path)
    assert list(files.arrays) == ["u"]
    assert files.refused == {
        "c": "cell: save each array in it as a variable of its own",
        "s": "struct: save each array in it as a variable of its own",
        "f": "function handle: save each array in it as a variable of its own",
        "e": "empty",
    }
    assert "c (cell: save each" in files.contents()


@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_orders_and_short_elements(tmp_path, order):
    values = RNG.random((3, 5))
    numbers = element(9, values.astype(f"{order}f8").tobytes("F"), order)
    one = short_element(4, np.array([513], f"{order}u2").tobytes(), order)
    path = write(
        tmp_path / "a.mat",
        variable(b"u", (3, 5), numbers, order=order),
        variable(b"n", (1, 1), one, order=order),
        order=order,
    )
    files = read_matlab5(path)
    np.testing.assert_array_equal(files.arrays["u"].values(), values)
    np.testing.assert_array_equal(files.arrays["n"].values(), [[513]])


def test_genuine_file():
    path = golden_file("mat_v5_pyamg_airfoil.mat")
    files, expected = read_matlab5(path), scipy.io.loadmat(path)
    assert {name: stored.shape for name, stored in files.arrays.items()} == {
        "A": (260, 260),
        "B": (260, 1),
        "vertices": (322, 2),
        "elements": (582, 3),
    }
    np.testing.assert_array_equal(files.arrays["A"].values(), expected["A"].toarray())
    for name in ("B", "vertices", "elements"):
        np.testing.assert_array_equal(files.arrays[name].values(), expected[name])


ABSURD = {
    "more numbers than bytes": variable(b"u", (1000, 1000), element(9, b"\0" * 64)),
    "shape that overflows": variable(b"u", (2**31 - 1,) * 5, element(9, b"\0" * 64)),
    "negative shape": variable(b"u", (-1, -8), element(9, b"\0" * 64)),
    "count behind the end": variable(b"u", (8, 1), struct.pack("<II", 9, 2**31)),
    "no numbers": variable(b"u", (8, 1), element(77, b"\0" * 64)),
    "long name": variable(b"u" * 5000, (8, 1), element(9, b"\0" * 64)),
    "many axes": variable(b"u", (1,) * 40, element(9, b"\0" * 8)),
    "cut": variable(b"u", (8, 1), element(9, b"\0" * 64))[:-30],
    "other element": element(3, b"\0" * 64),
    "compressed, absurd": compressed(
        variable(b"u", (2**30, 1), struct.pack("<II", 9, 2**31 - 8) + b"\0" * 1000)
    ),
    "compressed, not a matrix": compressed(element(9, b"\0" * 64)),
    "not compressed": struct.pack("<II", 15, 64) + b"\1" * 64,
    "sparse of three axes": variable(b"u", (8, 1, 1), element(5, b"\0" * 64), flags=5),
}


@pytest.mark.parametrize("body", ABSURD.values(), ids=ABSURD.keys())
def test_absurd_files_are_refused(tmp_path, body):
    path = write(tmp_path / "a.mat", body)
    with pytest.raises(ValueError, match=r"open_source: expected .*a\.mat.* again"):
        read_matlab5(path)


def test_absurd_contents_are_refused_when_they_are_read(tmp_path):
    rows, starts = np.array([0, 900], "<i4"), np.array([0, 2], "<i4")
    parts = element(5, rows.tobytes()) + element(5, starts.tobytes())
    sparse = variable(b"S", (3, 1), parts + element(9, np.ones(2).tobytes()), flags=5)
    half = variable(b"z", (2, 1), element(9, b"\0" * 16) + element(9, b"\0" * 8), flags=0x806)
    huge = variable(b"H", (2**20, 2**20), parts + element(9, b"\0" * 16), flags=5)
    cut = compressed(variable(b"c", (90, 1), struct.pack("<II", 9, 720) + b"\0" * 64))
    files = read_matlab5(write(tmp_path / "a.mat", sparse, half, huge, cut))
    with pytest.raises(ValueError, match=r"'S' in .* parts that contradict each other"):
        files.arrays["S"].direct()
    with pytest.raises(ValueError, match="2 real and 1 imaginary parts of 2"):
        files.arrays["z"].direct()
    with pytest.raises(ValueError, match="sparse matrix of at most"):
        files.arrays["H"].direct()
    with pytest.raises(ValueError, match=r"720 more bytes of 'c' in .*, got 64"):
        files.arrays["c"].values()


@pytest.mark.parametrize("compression", [False, True])
def test_damaged_files_give_errors_and_nothing_else(tmp_path, compression):
    path = tmp_path / "a.mat"
    arrays = {
        "u": RNG.random((3, 4, 4, 2)),
        "t": np.arange(2.0),
        "S": scipy.sparse.random(7, 5, 0.3, "csc", random_state=79),
        "text": "words",
        "z": np.ones((2, 2)) + 1j,
    }
    scipy.io.savemat(path, arrays, do_compression=compression)
    whole = path.read_bytes()
    messages = []
    for data in damaged_copies(whole, 300, 8191 + compression, first=128):
        path.write_bytes(data)
        try:
            for stored in read_matlab5(path).arrays.values():
                assert stored.nbytes < 2**31
                if stored.nbytes < 2**20:
                    assert stored.values().shape == stored.shape
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(text.startswith("open_source: expected") for text in messages)
