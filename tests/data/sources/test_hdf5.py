import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from sciml.data.sources import hdf5, hdf5_filters
from sciml.data.sources.hdf5 import (
    BACK_ENDS,
    ArrayReader,
    inspect_array,
    open_hdf5,
    require,
    texts,
)
from tests.data.sources.hdf5_files import FRAME, GZIP, SHAPE, STORAGE, chunked, write_storage

INDICES = [
    (),
    (0,),
    (2, 3),
    (-1, slice(1, 6)),
    (1, slice(0, 7, 3)),
    (slice(None), 4),
    (slice(0, 3, 2), slice(2, 3), slice(3, 10, 4), slice(1, 9, 5)),
    (Ellipsis, 5),
    (1, Ellipsis, slice(2, 8)),
    (0, 0, 0, 0),
    (1, slice(3, 3)),
    (slice(None), slice(5, 99)),
]


def open_array(path, back_end="auto", key="group/u"):
    with open_hdf5(path) as file:
        layout = inspect_array(file[key], back_end)
    return layout, ArrayReader(path, {"u": layout})


def skip_without_package(storage):
    if storage.package:
        pytest.importorskip("hdf5plugin")


@pytest.mark.parametrize("storage", STORAGE.values(), ids=STORAGE.keys())
def test_every_storage_reads_as_by_h5py(tmp_path, storage):
    skip_without_package(storage)
    expected = write_storage(tmp_path / "a.h5", storage)
    layout, reader = open_array(tmp_path / "a.h5", storage.back_end)
    assert layout.back_end == storage.back_end, layout.reason
    chosen = open_array(tmp_path / "a.h5")[0]
    assert chosen.back_end == ("h5py" if storage.package else storage.back_end)
    assert chosen.reason.endswith("fast codec") == bool(chosen.back_end != storage.back_end)
    library = open_array(tmp_path / "a.h5", "h5py")[1]["u"]
    array = reader["u"]
    assert (array.shape, array.dtype, array.ndim) == (SHAPE, expected.dtype, 4)
    for index in INDICES:
        want = np.asarray(expected[index], expected.dtype)
        for got in (array[index], library[index]):
            assert got.dtype == want.dtype
            assert got.shape == want.shape
            assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("storage", STORAGE.values(), ids=STORAGE.keys())
def test_read_into_strided_buffers_casts_on_the_way(tmp_path, storage):
    skip_without_package(storage)
    expected = write_storage(tmp_path / "a.h5", storage)
    for back_end in (storage.back_end, "h5py"):
        array = open_array(tmp_path / "a.h5", back_end)[1]["u"]
        for index in INDICES:
            want = expected[index].astype("f4")
            # every second value of the last axis, with the first axis moved behind the others
            shape = (*want.shape[1:], want.shape[0]) if want.ndim else ()
            buffer = np.full((*shape, 2), np.nan, "f4")
            out = np.moveaxis(buffer[..., 0], -1, 0) if want.ndim else buffer[..., 0]
            array.read_into(index, out)
            np.testing.assert_array_equal(out, want)
            assert np.isnan(buffer[..., 1]).all()
            with pytest.raises(ValueError, match=r"read_into: expected a buffer of shape"):
                array.read_into(index, np.empty((*want.shape, 2), "f4"))


def test_a_buffer_of_another_kind_is_refused(tmp_path):
    for name in ("contiguous", "frame chunks", "gzip, shuffle"):
        path = tmp_path / f"{STORAGE[name].back_end}.h5"
        write_storage(path, STORAGE[name])
        for back_end in ("auto", "h5py"):
            array = open_array(path, back_end)[1]["u"]
            with pytest.raises(TypeError, match="same_kind"):
                array.read_into(0, np.empty(SHAPE[1:], "i4"))


def test_bad_indices(tmp_path):
    for name in ("frame chunks", "gzip, shuffle"):
        write_storage(tmp_path / "a.h5", STORAGE[name])
        array = open_array(tmp_path / "a.h5")[1]["u"]
        with pytest.raises(IndexError, match="range object index out of range"):
            array[3]
        with pytest.raises(IndexError, match="expected at most 4 indices, got 5"):
            array[0, 0, 0, 0, 0]
        with pytest.raises(ValueError, match="expected forward slices"):
            array[::-1]
        with pytest.raises(TypeError):
            array[[0, 1]]


@pytest.mark.parametrize(
    ("kind", "back_end"),
    [
        ("gzip, shuffle", "mmap"),
        ("gzip, shuffle", "chunk_table"),
        ("frame chunks", "direct_chunk"),
        ("contiguous", "chunk_table"),
        ("fletcher32", "direct_chunk"),
    ],
)
def test_a_forced_back_end_that_cannot_read_is_refused(tmp_path, kind, back_end):
    write_storage(tmp_path / "a.h5", STORAGE[kind])
    with pytest.raises(ValueError, match=r"expected an array .*got /group/u in .*a\.h5 \("):
        open_array(tmp_path / "a.h5", back_end)


def test_forced_back_ends_are_taken(tmp_path):
    for name in ("contiguous", "frame chunks", "gzip, shuffle"):
        write_storage(tmp_path / "a.h5", STORAGE[name])
        own = STORAGE[name].back_end
        assert open_array(tmp_path / "a.h5", own)[0].back_end == own
        layout, _ = open_array(tmp_path / "a.h5", "h5py")
        assert (layout.back_end, layout.reason) == ("h5py", "forced")
        assert layout.memory_mapped is False
    assert {storage.back_end for storage in STORAGE.values()} == set(BACK_ENDS) - {"auto"}


def test_reasons(tmp_path):
    reasons = {}
    for name in ("contiguous", "frame chunks", "gzip, shuffle", "scaleoffset"):
        write_storage(tmp_path / "a.h5", STORAGE[name])
        layout, _ = open_array(tmp_path / "a.h5")
        reasons[name] = (layout.reason, layout.memory_mapped)
    assert reasons == {
        "contiguous": ("contiguous", True),
        "frame chunks": ("chunks (1, 1, 10, 9), no filter", True),
        "gzip, shuffle": ("chunks (1, 1, 10, 9), shuffle, gzip", False),
        "scaleoffset": (
            "chunks (1, 1, 10, 9), scaleoffset: scaleoffset is left to HDF5",
            False,
        ),
    }


def test_bytes_that_differ_from_h5py_are_left_to_h5py(tmp_path, monkeypatch):
    mapped = hdf5.OpenFile.mapped
    for shift in (-4, 10**6):
        for name in ("contiguous", "frame chunks"):
            write_storage(tmp_path / "a.h5", STORAGE[name])
            with monkeypatch.context() as patch:
                # as with a library that counts a user block otherwise
                patch.setattr(
                    hdf5.OpenFile,
                    "mapped",
                    lambda file, shape, dtype, offset, shift=shift: mapped(
                        file, shape, dtype, offset + shift
                    ),
                )
                layout, _ = open_array(tmp_path / "a.h5")
            assert layout.back_end == "h5py"
            assert layout.reason.endswith("but the values differ from h5py's")


@pytest.mark.parametrize("kind", ["gzip, shuffle", "lzf, shuffle"])
def test_decoders_that_differ_from_h5py_are_left_to_h5py(tmp_path, monkeypatch, kind):
    write_storage(tmp_path / "a.h5", STORAGE[kind])
    decode = hdf5_filters.Decoder.__call__
    monkeypatch.setattr(
        hdf5_filters.Decoder, "__call__", lambda *values: decode(*values)[::-1].copy()
    )
    assert open_array(tmp_path / "a.h5")[0].back_end == "h5py"


def test_other_storage_is_left_to_h5py(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_FLOAT, space, compact)
        file["compact"][...] = np.arange(4)
        file.create_dataset("never written", (5, 6), "f4", fillvalue=1.5)
        file["scalar"] = 3.25
        file["empty"] = np.zeros((0, 3), "f4")
        short = h5py.h5t.NATIVE_INT32.copy()
        short.set_precision(20)
        h5py.h5d.create(file.id, b"20 bits", short, space)
        file["20 bits"][...] = np.arange(4) - 2
        file["complex"] = np.ones(3, "c8")
    expected = {
        "compact": ("compact", np.arange(4)),
        "never written": ("never written", np.full((5, 6), 1.5)),
        "scalar": ("scalar or empty", np.array(3.25)),
        "empty": ("scalar or empty", np.zeros((0, 3))),
        "20 bits": ("HDF5 converts", np.arange(4) - 2),
        "complex": ("dtype complex64", np.ones(3)),
    }
    for key, (reason, values) in expected.items():
        layout, reader = open_array(tmp_path / "a.h5", key=key)
        assert layout.back_end == "h5py"
        assert reason in layout.reason
        np.testing.assert_array_equal(reader["u"][()], values)


@pytest.mark.parametrize("kind", ["contiguous", "frame chunks", "gzip, shuffle", "fletcher32"])
def test_pickled_after_a_read_and_shared_by_threads(tmp_path, kind):
    expected = write_storage(tmp_path / "a.h5", STORAGE[kind])
    reader = open_array(tmp_path / "a.h5")[1]
    reader["u"][0]
    copy = pickle.loads(pickle.dumps(reader))
    # the copy is opened for the first time by eight threads at once
    results = []

    def work():
        for number in range(40):
            index = (number % 3, slice(number % 4, 7))
            results.append((copy["u"][index] == expected[index]).all())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 320
    assert all(results)


@pytest.mark.parametrize("kind", ["contiguous", "frame chunks", "gzip, shuffle", "fletcher32"])
def test_a_file_that_changes_or_goes_is_named(tmp_path, kind):
    path = tmp_path / "a.h5"
    write_storage(path, STORAGE[kind])
    _, reader = open_array(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match=r"expected .*a\.h5 as it was when .* open the data"):
        reader["u"]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the file .*a\.h5, which was there"):
        reader["u"]


def num_open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_open_files_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "_MOST_OPEN_READERS", 3)
    readers = []
    for number in range(10):
        path = tmp_path / f"{number}.h5"
        kinds = ["contiguous", "frame chunks", "gzip, shuffle", "fletcher32"]
        expected = write_storage(path, STORAGE[kinds[number % 4]])
        readers.append(open_array(path)[1])
    before = num_open_files()
    for _ in range(3):
        for reader in readers:
            np.testing.assert_array_equal(reader["u"][1, 2].shape, expected[1, 2].shape)
            assert num_open_files() <= before + 3 * 2
    assert sum(bool(reader._opened) for reader in readers) == 3
    # tables of chunks outlive the open files
    monkeypatch.setattr(hdf5.OpenFile, "read_chunk_table", None)
    for reader in readers:
        reader["u"][0]
    del reader
    readers.clear()
    assert num_open_files() == before


def test_filters_reach_a_new_process(tmp_path):
    pytest.importorskip("hdf5plugin")
    for name in ("zstd", "bitshuffle"):
        expected = write_storage(tmp_path / f"{name}.h5", STORAGE[name])
        _, reader = open_array(tmp_path / f"{name}.h5")
        (tmp_path / "reader.pickle").write_bytes(pickle.dumps(reader))
        code = (
            "import pickle, pathlib, sys;"
            "reader = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes());"
            "sys.stdout.buffer.write(reader['u'][...].tobytes())"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "reader.pickle")]
        done = subprocess.run(command, capture_output=True, check=True)
        assert done.stdout == expected.tobytes()


def test_damage_to_a_chunk_is_named(tmp_path):
    write_storage(tmp_path / "a.h5", STORAGE["gzip, shuffle"])
    with h5py.File(tmp_path / "a.h5") as file:
        info = file["group/u"].id.get_chunk_info(8)
    _, reader = open_array(tmp_path / "a.h5")
    state = (tmp_path / "a.h5").stat()
    with (tmp_path / "a.h5").open("r+b") as file:
        file.seek(info.byte_offset)
        file.write(b"\xff" * info.size)
    os.utime(tmp_path / "a.h5", ns=(state.st_atime_ns, state.st_mtime_ns))
    reader["u"][0]
    with pytest.raises(ValueError, match=r"whole chunk \(1, 1, 0, 0\) of /group/u in .*a\.h5"):
        reader["u"][1]


def test_a_cut_or_damaged_file_is_named(tmp_path):
    path = tmp_path / "a.h5"
    write_storage(path, STORAGE["gzip, shuffle"])
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"open_source: .*a\.h5"):
        open_array(path)


def test_a_file_that_the_process_holds_open_with_a_lock(tmp_path):
    for name in ("contiguous", "frame chunks", "fletcher32"):
        path = tmp_path / f"{STORAGE[name].back_end}.h5"
        expected = write_storage(path, STORAGE[name])
        with h5py.File(path, "r"):
            _, reader = open_array(path)
            np.testing.assert_array_equal(reader["u"][1], expected[1])


def test_require_names_the_layout(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = np.arange(3.0)
    with open_hdf5(tmp_path / "a.h5") as file:
        assert require(file, "u", "dataset").shape == (3,)
        with pytest.raises(
            ValueError, match=r"dataset 'v' in / of .* \['u'\].*PDEBench layout"
        ):
            require(file, "v", "dataset", "the PDEBench layout")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_file_that_may_not_be_read_is_no_damage(tmp_path, monkeypatch):
    (tmp_path / "a.h5").touch()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "a.h5")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: 'a\.h5'"):
        open_array(tmp_path / "a.h5")


def test_what_h5py_cannot_read_is_named(tmp_path):
    path = tmp_path / "a.h5"
    write_storage(path, STORAGE["fletcher32"])
    with h5py.File(path) as file:
        info = file["group/u"].id.get_chunk_info(8)
    _, reader = open_array(path)
    state = path.stat()
    with path.open("r+b") as file:
        file.seek(info.byte_offset)
        file.write(b"\xff" * 8)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    reader["u"][0]
    with pytest.raises(ValueError, match=r"damaged one, .*a\.h5 \(.*; delete it and generate"):
        reader["u"][1]


def test_texts():
    assert texts(np.array([b"x", b"y"])) == ("x", "y")
    assert texts("velocity") == ("velocity",)
    assert texts(h5py.Empty("S1")) == ()


def test_chunks_used_in_part_are_decoded_once(tmp_path, monkeypatch):
    count = []
    decode = hdf5_filters.Decoder.__call__
    monkeypatch.setattr(
        hdf5_filters.Decoder, "__call__", lambda *values: count.append(1) or decode(*values)
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("trajectories", SHAPE, "f4", **chunked((1, 7, 10, 9), **GZIP))
        file["trajectories"][...] = np.ones(SHAPE)
        file.create_dataset("frames", SHAPE, "f4", **chunked(FRAME, **GZIP))
        file["frames"][...] = np.ones(SHAPE)
    for key, expected in (("trajectories", 2), ("frames", 8)):
        _, reader = open_array(tmp_path / "a.h5", key=key)
        count.clear()
        for index in ((0, slice(0, 2)), (0, slice(1, 3)), (1, slice(0, 2)), (0, slice(5, 7))):
            reader["u"][index]
        assert len(count) == expected
