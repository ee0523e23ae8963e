import pickle
import threading

import h5py
import numpy as np
import pytest

from sciml.data.sources import open_source
from tests.data.well_files import Field, Scalar, read_all, write_well

FLAGS = {
    "scalar": [Field("a")],
    "two scalars": [Field("b"), Field("a")],
    "vector": [Field("v", 1), Field("a")],
    "tensor": [Field("t", 2)],
    "flat tensor": [Field("t", 2, flat_tensor=True)],
    "all ranks": [Field("t", 2), Field("v", 1), Field("a")],
    "no sample axis": [Field("a", sample_varying=False), Field("b")],
    "no x axis": [Field("a", dim_varying=(False, True))],
    "no y axis": [Field("v", 1, dim_varying=(True, False))],
    "no space": [Field("a", dim_varying=(False, False)), Field("b")],
    "x axis of length 1": [Field("a", dim_varying=(False, True), keep_axes=True)],
    "axes of length 1": [Field("v", 1, dim_varying=(False, False), keep_axes=True)],
    "time only": [Field("t", 2, sample_varying=False, dim_varying=(False, False))],
    "static": [Field("a"), Field("mask", time_varying=False)],
    "static for all": [Field("a"), Field("w", 1, time_varying=False, sample_varying=False)],
    "static column": [Field("a"), Field("m", time_varying=False, dim_varying=(True, False))],
    "double": [Field("a", dtype="<f8")],
    "half": [Field("a", dtype="<f2")],
    "integer": [Field("a", dtype="<i4")],
    "boolean": [Field("a", dtype="?")],
    "big-endian": [Field("a", dtype=">f4")],
    "chunked": [Field("a", options={"chunks": (1, 2, 4, 3)})],
    "gzip": [Field("v", 1, options={"compression": "gzip", "shuffle": True})],
}


@pytest.mark.parametrize("back_end", ["auto", "h5py"])
@pytest.mark.parametrize("fields", FLAGS.values(), ids=FLAGS.keys())
def test_every_flag_is_broadcast_back(tmp_path, fields, back_end):
    frames, static = write_well(tmp_path / "a.hdf5", fields=fields)
    source = open_source(tmp_path, back_end=back_end)
    np.testing.assert_array_equal(np.stack(read_all(source)), frames.astype("f4"))
    ranks = [f for rank in range(3) for f in fields if f.rank == rank]
    assert [f.name for f in source.spec.in_fields] == [f.name for f in ranks if f.time_varying]
    assert [f.name for f in source.static_fields] == [
        f.name for f in ranks if not f.time_varying
    ]
    out = np.full(static.shape[1:], np.nan, "f4")
    for i in range(3):
        source.read_static(i, out)
        np.testing.assert_array_equal(out, static[i].astype("f4"))


@pytest.mark.parametrize("resolution", [(7,), (5, 6), (3, 4, 5)], ids=["1-D", "2-D", "3-D"])
def test_dimensions_and_channel_order(tmp_path, resolution):
    fields = [Field("v", 1), Field("t", 2), Field("a")]
    frames, _ = write_well(tmp_path / "a", resolution=resolution, fields=fields)
    source = open_source(tmp_path / "a")
    ndim = len(resolution)
    assert source.spec.resolution == resolution
    assert [(f.name, f.components) for f in source.spec.in_fields] == [
        ("a", 1),
        ("v", ndim),
        ("t", ndim**2),
    ]
    # the builder lists fields as given inside a rank, and ranks ascending, as the layout does
    np.testing.assert_array_equal(np.stack(read_all(source)), frames.astype("f4"))


def test_back_ends_are_bit_equal_and_described(tmp_path):
    fields = [Field("a"), Field("v", 1), Field("c", options={"chunks": True})]
    write_well(tmp_path / "a.h5", fields=fields)
    mapped, library = open_source(tmp_path), open_source(tmp_path, back_end="h5py")
    for x, y in zip(read_all(mapped), read_all(library), strict=True):
        assert x.tobytes() == y.tobytes()
    assert "field a: rank 0, mmap (contiguous)" in mapped.describe()
    assert "field c: rank 0, chunk_table (chunks" in mapped.describe()
    assert "field a: rank 0, h5py (forced)" in library.describe()
    assert mapped.memory_mapped
    assert not library.memory_mapped
    with pytest.raises(ValueError, match=r"memory-mapped, got /t0_fields/c.*chunk_table"):
        open_source(tmp_path, back_end="mmap")


def test_user_block_is_read_through_the_map(tmp_path):
    frames, _ = write_well(tmp_path / "plain.h5")
    with (
        h5py.File(tmp_path / "plain.h5") as plain,
        h5py.File(tmp_path / "block.h5", "w", userblock_size=1024) as block,
    ):
        for key in plain:
            plain.copy(key, block)
        for key, value in plain.attrs.items():
            block.attrs[key] = value
    source = open_source(tmp_path / "block.h5")
    np.testing.assert_array_equal(np.stack(read_all(source)), frames.astype("f4"))


@pytest.mark.parametrize("back_end", ["mmap", "h5py"])
def test_frame_ranges_with_stride(tmp_path, back_end):
    frames, _ = write_well(tmp_path / "a.h5", num_steps=11, fields=[Field("v", 1)])
    source = open_source(tmp_path, back_end=back_end)
    out = np.empty((3, 2, 6, 4), "f4")
    source.read(2, 1, 10, 4, out)
    np.testing.assert_array_equal(out, frames[2, 1:10:4])


@pytest.mark.parametrize("back_end", ["mmap", "h5py"])
def test_pickled_after_a_read_and_shared_by_threads(tmp_path, back_end):
    for number in range(4):
        write_well(tmp_path / f"{number}.h5", seed=number + 7717)
    source = open_source(tmp_path, back_end=back_end)
    expected = read_all(source)
    copies = [pickle.loads(pickle.dumps(source)), pickle.loads(pickle.dumps(source))]
    for x, y in zip(expected, read_all(copies[0]), strict=True):
        np.testing.assert_array_equal(x, y)
    # the second copy is opened for the first time by eight threads at once
    results = [None] * 8

    def work(slot):
        results[slot] = read_all(copies[1])

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        for x, y in zip(expected, result, strict=True):
            np.testing.assert_array_equal(x, y)


def test_scalars_that_vary_are_params_and_equal_ones_constants(tmp_path):
    scalars = [
        Scalar("viscosity", 1e-3),
        Scalar("angle", [0.5, 1.5, 2.5], sample_varying=True),
        Scalar("same", [4.0, 4.0, 4.0], sample_varying=True),
        Scalar("load", np.arange(5.0), time_varying=True),
    ]
    write_well(tmp_path / "a.h5", scalars=scalars)
    source = open_source(tmp_path)
    assert source.spec.params == ("angle",)
    # exactly 1e-3: the root attribute is in double precision, the scalar in single
    assert source.spec.constants == {"viscosity": 1e-3, "same": 4.0}
    assert source.params(1).tolist() == [1.5]
    assert "scalars that vary in time, not read: load" in source.describe()


def test_scalars_that_differ_between_files_are_params(tmp_path):
    for number, value in enumerate([0.5, 0.25]):
        write_well(tmp_path / f"{number}.h5", scalars=[Scalar("beta", value)])
    source = open_source(tmp_path)
    assert source.spec.params == ("beta",)
    assert source.spec.constants == {}
    assert [float(source.params(i)[0]) for i in range(6)] == [0.5] * 3 + [0.25] * 3


def test_splits_number_trajectories_in_order(tmp_path):
    arrays = {}
    for name, count in (("valid", 1), ("train", 3), ("test", 2)):
        for shard in range(2):
            path = tmp_path / "set" / "data" / name / f"{shard}.hdf5"
            arrays[name, shard], _ = write_well(
                path, num_trajectories=count, seed=1009 + 10 * count + shard
            )
    source = open_source(tmp_path / "set")
    assert dict(source.splits) == {
        "train": range(6),
        "valid": range(6, 8),
        "test": range(8, 12),
    }
    order = [("train", 0), ("train", 1), ("valid", 0), ("valid", 1), ("test", 0), ("test", 1)]
    expected = np.concatenate([arrays[key] for key in order]).astype("f4")
    np.testing.assert_array_equal(np.stack(read_all(source)), expected)
    assert source.locate(9).endswith("0.hdf5, trajectory 1")


def test_lengths_may_differ_between_files(tmp_path):
    for number, steps in enumerate([5, 8, 3]):
        write_well(tmp_path / f"{number}.h5", num_steps=steps, num_trajectories=2)
    source = open_source(tmp_path)
    assert source.lengths.tolist() == [5, 5, 8, 8, 3, 3]
    assert source.times(3).shape == (8,)
    assert source.spec.dt == 0.1


def test_time_of_each_trajectory(tmp_path):
    times = np.arange(5.0)[None] + np.array([[0.0], [10.0], [20.0]])
    write_well(tmp_path / "a.h5", times=times)
    source = open_source(tmp_path)
    assert source.times(2).tolist() == [20.0, 21.0, 22.0, 23.0, 24.0]
    assert source.spec.dt == 1.0


def test_fingerprint_follows_the_files(tmp_path):
    write_well(tmp_path / "a.h5")
    before = open_source(tmp_path).fingerprint
    assert open_source(tmp_path).fingerprint == before
    write_well(tmp_path / "b.h5")
    assert open_source(tmp_path).fingerprint != before


def test_one_frame(tmp_path):
    frames, _ = write_well(tmp_path / "a.h5", num_steps=1)
    source = open_source(tmp_path)
    assert source.spec.dt is None
    assert source.lengths.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(np.stack(read_all(source)), frames.astype("f4"))


def test_split_preset_is_the_file_s(tmp_path):
    write_well(tmp_path / "a.h5")
    assert open_source(tmp_path).split_preset is None
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["split_preset"] = "fno_ns"
    assert open_source(tmp_path).split_preset == "fno_ns"
