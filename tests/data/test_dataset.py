import multiprocessing
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sciml.data.dataset import WindowedDataset, open_dataset
from sciml.data.draws import Draw
from sciml.data.generate import generate_splits, recipe_spec
from sciml.data.sources.resident import ResidentSource, fits_in_memory
from sciml.data.windows import Windows
from tests.data.well_files import Field, Scalar, write_well

FIELDS = (Field("a"), Field("v", 1))


def unchanged(batch):
    return batch


def write_splits(folder, counts=(5, 1, 2), fields=FIELDS, steps=8, **options):
    frames = []
    for number, (name, count) in enumerate(
        zip(("train", "valid", "test"), counts, strict=True)
    ):
        path = folder / "data" / name / "0.hdf5"
        options |= {"num_trajectories": count, "num_steps": steps, "fields": fields}
        frames.append(write_well(path, seed=5501 + number, **options)[0])
    return np.concatenate(frames).astype("f4")


def same(left, right):
    for name in ("inputs", "targets", "params", "static", "times", "index", "boundary"):
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b), name
    return True


@pytest.mark.parametrize("residence", ["stream", "ram"])
@pytest.mark.parametrize("stride", [1, 2])
def test_batch_holds_the_frames_of_its_windows(tmp_path, residence, stride):
    frames = write_splits(tmp_path)
    dataset = open_dataset(tmp_path, history=2, horizon=2, stride=stride, residence=residence)
    assert len(dataset) == 8 * (8 - 3 * stride)
    indices = np.random.default_rng(90_187).permutation(len(dataset))[:9]
    for _ in range(2):  # the second read of a resident source comes from memory
        batch = dataset.batch(indices)
        assert batch.inputs.shape == (9, 6, 6, 4)
        assert batch.targets.shape == (9, 2, 3, 6, 4)
        for sample, (trajectory, start) in enumerate(batch.index.tolist()):
            own = frames[trajectory, start : start + 3 * stride + 1 : stride]
            np.testing.assert_array_equal(batch.inputs[sample], own[:2].reshape(6, 6, 4))
            np.testing.assert_array_equal(batch.targets[sample], own[2:])
            times = np.arange(8, dtype="f4") * np.float32(0.1)
            expected = times[start + stride * np.arange(1, 4)]
            np.testing.assert_array_equal(batch.times[sample], expected)
    per_trajectory = 8 - 3 * stride
    expected = np.stack([indices // per_trajectory, indices % per_trajectory], axis=1)
    np.testing.assert_array_equal(batch.index, expected)


def test_inputs_and_targets_are_views_of_one_buffer(tmp_path):
    write_splits(tmp_path)
    batch = open_dataset(tmp_path, history=3).batch([4, 0])
    storage = batch.inputs.untyped_storage()
    assert storage.data_ptr() == batch.targets.untyped_storage().data_ptr()
    assert storage.nbytes() == 4 * (batch.inputs.numel() + batch.targets.numel())


def test_everything_else_of_a_batch(tmp_path):
    fields = [Field("a"), Field("mask", time_varying=False), Field("w", 1, time_varying=False)]
    scalars = [Scalar("nu", [0.5, 0.25, 2.0], sample_varying=True), Scalar("rho", 3.0)]
    _, static = write_well(
        tmp_path / "a.h5", fields=fields, scalars=scalars, boundary={"x": "WALL"}
    )
    dataset = open_dataset(tmp_path / "a.h5", history=2)
    batch = dataset.batch([7, 0, -1])
    assert batch.params.tolist() == [[2.0], [0.5], [2.0]]
    assert batch.boundary.tolist() == [[[0, 0], [1, 1]]] * 3
    np.testing.assert_array_equal(batch.static, static[[2, 0, 2]].astype("f4"))
    assert batch.index.tolist() == [[2, 1], [0, 0], [2, 2]]
    assert dataset.spec.params == ("nu",)
    assert dataset.spec.constants == {"rho": 3.0}
    assert same(dataset[7], dataset.batch([7]))
    assert same(dataset.__getitems__([3, 1]), dataset.batch([3, 1]))
    assert len(dataset[2]) == 1


def test_spec_follows_the_windows(tmp_path):
    write_splits(tmp_path)
    spec = open_dataset(tmp_path, history=3, stride=2).spec
    assert (spec.history, spec.in_channels, spec.out_channels) == (3, 9, 3)
    assert spec.dt == pytest.approx(0.2)
    assert spec.autoregressive


def test_splits_and_other_windows(tmp_path):
    frames = write_splits(tmp_path)
    dataset = open_dataset(tmp_path)
    assert dataset.split_names == ("train", "valid", "test")
    test = dataset.split("test")
    assert (test.num_trajectories, test.trajectories.tolist()) == (2, [6, 7])
    assert same(test[0], open_dataset(tmp_path, split="test")[0])
    np.testing.assert_array_equal(test[0].inputs[0], frames[6, 0])
    rollout = test.windowed(history=2, horizon=4, first=2, per_trajectory=1)
    assert len(rollout) == 2
    assert rollout.batch([1]).index.tolist() == [[7, 2]]
    np.testing.assert_array_equal(rollout.batch([1]).targets[0], frames[7, 4:8])
    with pytest.raises(ValueError, match=r"one of \['train', 'valid', 'test'\], got 'val'"):
        dataset.split("val")
    with pytest.raises(
        ValueError, match=r"one of \[\], got 'train'; take a split of the whole"
    ):
        test.split("train")


def test_splits_of_files_without_any(tmp_path):
    write_well(tmp_path / "a.h5", num_trajectories=10)
    dataset = open_dataset(tmp_path / "a.h5")
    assert [dataset.split(name).num_trajectories for name in dataset.split_names] == [8, 1, 1]
    dataset = open_dataset(tmp_path / "a.h5", splits={"train": (0, 6), "test": (-2, 0)})
    assert dataset.split("test").trajectories.tolist() == [8, 9]
    with pytest.raises(ValueError, match="sum at most 10"):
        open_dataset(tmp_path / "a.h5", splits={"train": 11})


def test_plain_names_are_looked_up(tmp_path, monkeypatch):
    write_splits(tmp_path / "here" / "burgers")
    write_splits(tmp_path / "there" / "darcy")
    monkeypatch.setenv("SCIML_DATA", str(tmp_path / "there"))
    root = tmp_path / "here"
    assert (
        len(open_dataset("burgers", root=root)) == len(open_dataset("darcy", root=root)) == 56
    )
    with pytest.raises(FileNotFoundError, match=r"here/burger; did you mean .*here/burgers\?"):
        open_dataset("burger", root=root)


def test_random_strides_are_drawn_for_training_only(tmp_path):
    frames = write_splits(tmp_path, steps=12)
    dataset = open_dataset(tmp_path, history=2, horizon=2, max_stride=3)
    assert len(dataset) == 8 * 9
    seen = set()
    for epoch in range(8):
        indices = np.arange(0, 72, 5)
        batch = dataset.batch(indices, draw=Draw(61_001, epoch))
        for sample, (trajectory, start) in enumerate(batch.index.tolist()):
            steps = np.diff(batch.times[sample].numpy())
            stride = round(float(steps[0]) / 0.1)
            seen.add((11 - start, stride))
            own = frames[trajectory, start : start + 3 * stride + 1 : stride]
            np.testing.assert_array_equal(batch.inputs[sample], own[:2].reshape(6, 6, 4))
            np.testing.assert_array_equal(batch.targets[sample], own[2:])
    # every stride that fits occurs
    assert {stride for reach, stride in seen if reach >= 9} == {1, 2, 3}
    assert {stride for reach, stride in seen if reach < 6} == {1}
    assert same(
        dataset.batch([3, 9]), open_dataset(tmp_path, history=2, horizon=2).batch([3, 9])
    )
    assert dataset.spec.dt == pytest.approx(0.1)


def test_refusals(tmp_path):
    write_splits(tmp_path)
    dataset = open_dataset(tmp_path)
    for indices in ([56], [-57], []):
        with pytest.raises(IndexError, match="window numbers below 56"):
            dataset.batch(indices)
    with pytest.raises(ValueError, match=r"at least 11 frames .* got at most 8 frames in toy"):
        dataset.windowed(horizon=10)
    with pytest.raises(ValueError, match=r"residence of .*'ram'.*, got 'disk'"):
        open_dataset(tmp_path, residence="disk")


def test_memory_is_used_only_where_it_helps(tmp_path, monkeypatch):
    write_well(tmp_path / "mapped.h5")
    write_well(tmp_path / "packed.h5", fields=[Field("a", options={"compression": "gzip"})])
    mapped, packed = open_dataset(tmp_path / "mapped.h5"), open_dataset(tmp_path / "packed.h5")
    assert not isinstance(mapped.source, ResidentSource)
    assert isinstance(packed.source, ResidentSource)
    assert packed.source.describe().endswith("kept in memory after the first read")
    # 3 trajectories of 5 frames of 24 float32 values
    for available, fits in ((4 * 1440, False), (4 * 1440 + 1, True)):
        monkeypatch.setattr(
            "sciml.data.sources.resident.available_bytes", lambda a=available: a
        )
        assert fits_in_memory(packed.source) == fits
        kept = open_dataset(tmp_path / "packed.h5").source
        assert isinstance(kept, ResidentSource) == fits


@pytest.mark.parametrize("residence", ["stream", "ram"])
def test_pickled_after_first_read(tmp_path, residence):
    write_splits(tmp_path, fields=(*FIELDS, Field("c", options={"chunks": True})))
    dataset = open_dataset(tmp_path, residence=residence)
    expected = dataset.batch([5, 50])
    data = pickle.dumps(dataset)
    assert len(data) < 20_000
    assert same(pickle.loads(data).batch([5, 50]), expected)


# Python 3.12 and later warn of any fork of a process with threads, which torch has
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*suggested max number of worker:UserWarning")
@pytest.mark.parametrize("method", ["none", "fork", "spawn"])
def test_torch_loader_with_worker_processes(tmp_path, method):
    write_splits(tmp_path, fields=(*FIELDS, Field("c", options={"chunks": True})))
    dataset = open_dataset(tmp_path, residence="stream")
    dataset.batch([0])  # handles of this process must not reach the workers
    workers = {} if method == "none" else {"num_workers": 2, "multiprocessing_context": method}
    loader = DataLoader(dataset, batch_size=24, collate_fn=unchanged, **workers)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [24, 24, 8]
    for number, batch in enumerate(batches):
        start = 24 * number
        assert same(batch, dataset.batch(range(start, min(start + 24, 56))))
    assert not multiprocessing.active_children()


def test_open_files_do_not_grow(tmp_path):
    write_splits(tmp_path, fields=(*FIELDS, Field("c", options={"chunks": True})))
    dataset = open_dataset(tmp_path, residence="stream")
    dataset.batch(range(len(dataset)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        dataset.batch(range(len(dataset)))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_batches_for_cuda_are_page_locked(tmp_path):
    frames = write_splits(tmp_path)
    torch.cuda.init()
    batch = open_dataset(tmp_path).batch([3])
    assert batch.inputs.is_pinned()
    assert batch.targets.is_pinned()
    np.testing.assert_array_equal(batch.to("cuda").targets[0, 0].cpu(), frames[0, 4])


def test_generated_data_describe_themselves(tmp_path):
    options = {"resolution": 8, "num_frames": 4, "viscosity": 2e-3}
    folder = generate_splits(
        "fno_navier_stokes",
        tmp_path / "data",
        name="navier_stokes",
        splits={"train": 3, "valid": 1, "test": 2},
        shard_size=2,
        seed=12_007,
        progress=False,
        **options,
    )
    # found by its plain name, as there is one data set of that name
    dataset = open_dataset("navier_stokes", root=tmp_path / "data", residence="stream")
    assert dataset.spec == recipe_spec("fno_navier_stokes", "navier_stokes", **options)
    assert dataset.source.memory_mapped
    assert [dataset.split(name).num_trajectories for name in dataset.split_names] == [3, 1, 2]
    with h5py.File(next(iter((folder / "data" / "test").iterdir()))) as file:
        expected = file["t0_fields/vorticity"][1, :2]
    np.testing.assert_array_equal(dataset.split("test").batch([3]).inputs[0], expected[:1])
    np.testing.assert_array_equal(dataset.split("test").batch([3]).targets[0, 0], expected[1:])


def test_any_source_will_do(tmp_path):
    write_splits(tmp_path)
    source = open_dataset(tmp_path).source
    dataset = WindowedDataset(source, Windows(horizon=3), splits={"odd": range(1, 8, 2)})
    assert dataset.split("odd").trajectories.tolist() == [1, 3, 5, 7]
    assert WindowedDataset(source).split_names == ("train", "valid", "test")
