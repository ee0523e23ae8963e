"""MATLAB v7.3 files: reversed axes, MATLAB's classes, a genuine file, hostile ones."""

import pickle

import h5py
import numpy as np
import pytest
import scipy.sparse

from sciml.data.sources.hdf5 import open_hdf5
from sciml.data.sources.matlab73 import is_matlab73, read_matlab73
from tests.data.array_files import (
    damaged_copies,
    golden_file,
    open_files,
    read_frames,
    write_matlab73,
)

RNG = np.random.default_rng(9007199254740881)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "cache"))


def add(path, name, values, kind, **attributes):
    with h5py.File(path, "a") as file:
        dataset = file.create_dataset(name, data=values)
        dataset.attrs["MATLAB_class"] = np.bytes_(kind)
        for key, value in attributes.items():
            dataset.attrs[key] = value


@pytest.mark.parametrize("options", [{}, {"chunks": True}, {"compression": "gzip"}])
@pytest.mark.parametrize("shape", [(1, 7), (5, 3), (2, 3, 5), (4, 3, 5, 2)])
def test_axes_are_reversed(tmp_path, shape, options):
    values = RNG.random(shape)
    write_matlab73(tmp_path / "a.mat", {"u": values}, **options)
    stored = read_matlab73(tmp_path / "a.mat").arrays["u"]
    assert stored.shape == shape
    np.testing.assert_array_equal(stored.values(), values)
    direct = pickle.loads(pickle.dumps(stored)).direct()
    order = tuple(RNG.permutation(len(shape)).tolist())
    turned = values.transpose(order)
    np.testing.assert_array_equal(
        direct.transpose(order)[np.int64(1) % turned.shape[0]], turned[1 % turned.shape[0]]
    )
    np.testing.assert_array_equal(direct[0:, 1:3], values[:, 1:3])
    np.testing.assert_array_equal(direct[0, 1], values[0, 1])


def test_classes(tmp_path):
    path = tmp_path / "a.mat"
    z = RNG.random((3, 4)) + 1j * RNG.random((3, 4))
    write_matlab73(path, {"flag": np.array([[True, False, True]]), "n": np.ones((2, 3), "i4")})
    pairs = np.empty((4, 3), [("real", "f8"), ("imag", "f8")])
    pairs["real"], pairs["imag"] = z.real.T, z.imag.T
    add(path, "z", pairs, "double")
    add(path, "text", np.array([[ord(c)] for c in "vorticity"], "u2"), "char")
    add(path, "none", np.array([0, 3], "u8"), "double", MATLAB_empty=1)
    add(path, "half", np.array([[1.0]]), "datetime")
    sparse = scipy.sparse.random(7, 5, 0.3, "csc", random_state=83)
    with h5py.File(path, "a") as file:
        group = file.create_group("S")
        group.attrs["MATLAB_class"] = np.bytes_("double")
        group.attrs["MATLAB_sparse"] = np.uint64(7)
        group["data"], group["ir"], group["jc"] = sparse.data, sparse.indices, sparse.indptr
        file.create_group("s").attrs["MATLAB_class"] = np.bytes_("struct")
        cell = file.create_dataset("c", data=[file["n"].ref], dtype=h5py.ref_dtype)
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        file.create_group("#refs#")
        file["nowhere"] = h5py.SoftLink("/missing")
        file["plain"] = np.ones(3)
    files = read_matlab73(path)
    assert files.arrays["flag"].dtype == np.bool_
    np.testing.assert_array_equal(files.arrays["flag"].values(), [[True, False, True]])
    np.testing.assert_array_equal(files.arrays["z"].values(), z)
    assert files.arrays["z"].dtype == np.complex128
    assert files.arrays["text"].values().tolist() == ["vorticity"]
    np.testing.assert_array_equal(files.arrays["S"].values(), sparse.toarray())
    assert files.refused == {
        "none": "empty",
        "half": "class datetime",
        "s": "struct: save each array in it as a variable of its own",
        "c": "cell: save each array in it as a variable of its own",
        "nowhere": "a link that leads nowhere",
        "plain": "class no MATLAB class",
    }


def test_genuine_file():
    path = golden_file("mat_v73_scipy_testhdf5.mat")
    with open_hdf5(path) as file:
        assert is_matlab73(file)
    stored = read_matlab73(path).arrays["testdouble"]
    assert stored.shape == (1, 9)
    np.testing.assert_allclose(stored.values(), [np.arange(9) * np.pi / 4], rtol=1e-15)


def test_other_hdf5_files_are_not_taken(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = np.ones(3)
        file["nowhere"] = h5py.SoftLink("/missing")
        assert not is_matlab73(file)


def test_back_ends_are_bit_equal(tmp_path):
    path, values = tmp_path / "a.mat", RNG.standard_normal((5, 7, 7, 4))
    write_matlab73(path, {"u": values})
    sources = {name: open_files("matlab73", [path], name) for name in ("auto", "mmap", "h5py")}
    for name, source in sources.items():
        for i in range(5):
            expected = np.moveaxis(values[i], -1, 0).astype("f4")
            np.testing.assert_array_equal(read_frames(source, i)[:, 0], expected)
            np.testing.assert_array_equal(read_frames(source, i, 1, 4, 2)[:, 0], expected[1::2])
        assert source.memory_mapped == (name != "h5py")
    with pytest.raises(ValueError, match=r"back end chunk_table can read"):
        open_files("matlab73", [path], "chunk_table")


def test_absurd_and_contradicting_files_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    with h5py.File(path, "w") as file:
        huge = file.create_dataset("u", (2**20, 2**20, 4), "f8", chunks=(1, 1024, 4))
        huge.attrs["MATLAB_class"] = np.bytes_("double")
    with pytest.raises(ValueError, match=r"array that \d+ bytes of file can hold"):
        read_matlab73(path)
    with h5py.File(path, "w") as file:
        group = file.create_group("S")
        group.attrs["MATLAB_sparse"] = np.uint64(3)
        group["data"], group["ir"], group["jc"] = np.ones(2), [0, 900], [0, 2]
    with pytest.raises(ValueError, match=r"'S' in .* parts that contradict each other"):
        read_matlab73(path).arrays["S"].direct()
    with h5py.File(path, "a") as file:
        del file["S"]["ir"]
    with pytest.raises(ValueError, match=r"expected the dataset 'ir' in /S .* v7\.3 layout"):
        read_matlab73(path)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}])
def test_damaged_files_give_errors_and_nothing_else(tmp_path, options):
    path = tmp_path / "a.mat"
    write_matlab73(path, {"u": RNG.random((3, 4, 4, 2)), "t": np.arange(2.0)}, **options)
    messages = []
    for data in damaged_copies(path.read_bytes(), 200, 2147483647):
        path.write_bytes(data)
        try:
            for stored in read_matlab73(path).arrays.values():
                assert stored.nbytes < 2**31
                if stored.nbytes < 2**20:
                    assert stored.values().shape == stored.shape
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all(text.startswith("open_source: expected") for text in messages)
