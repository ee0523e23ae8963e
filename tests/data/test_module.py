import h5py
import numpy as np
import pytest
import torch

from sciml.data.dataset import open_dataset
from sciml.data.module import DataModule
from sciml.data.normalizer import Normalizer
from tests.data.well_files import write_well

COUNTS = {"train": 5, "valid": 3, "test": 2}


def write_splits(folder, steps=21, counts=COUNTS):
    return {
        name: write_well(
            folder / "data" / name / "0.h5",
            num_trajectories=count,
            num_steps=steps,
            seed=8803 + count,
        )[0].astype("f4")
        for name, count in counts.items()
    }


def test_rollouts_predict_the_second_half(tmp_path):
    frames = write_splits(tmp_path)
    data = DataModule(open_dataset(tmp_path), history=3)
    assert (data.rollout_from, data.rollout_steps) == (10, 10)
    rollouts = data.rollout_dataset("test")
    assert len(rollouts) == 2
    batch = rollouts.batch([0, 1])
    np.testing.assert_array_equal(batch.inputs, frames["test"][:, 8:11, 0])
    np.testing.assert_array_equal(batch.targets, frames["test"][:, 11:21])
    assert data.spec.history == 3


@pytest.mark.parametrize(("start", "steps"), [(0, 20), (3, 5), (None, 4), (19, None)])
def test_rollout_frames_can_be_chosen(tmp_path, start, steps):
    frames = write_splits(tmp_path)
    data = DataModule(open_dataset(tmp_path), rollout_from=start, rollout_steps=steps)
    first = 10 if start is None else start
    last = first + (20 - first if steps is None else steps)
    batch = data.rollout_dataset("valid")[1]
    np.testing.assert_array_equal(batch.inputs[0], frames["valid"][1, first])
    np.testing.assert_array_equal(batch.targets[0], frames["valid"][1, first + 1 : last + 1])


def test_stride_sets_the_distance_of_frames(tmp_path):
    frames = write_splits(tmp_path)
    data = DataModule(open_dataset(tmp_path, stride=2), history=2)
    batch = data.rollout_dataset("test")[0]
    np.testing.assert_array_equal(batch.inputs[0], frames["test"][0, [8, 10], 0])
    np.testing.assert_array_equal(batch.targets[0], frames["test"][0, 12:21:2])
    statistics = data.statistics()
    increments = frames["train"].astype("f8")[:, 2:] - frames["train"].astype("f8")[:, :-2]
    assert float(statistics.increment.std) == pytest.approx(increments.std(), rel=1e-10)


def test_shortest_trajectory_counts(tmp_path):
    write_splits(tmp_path)
    write_well(tmp_path / "data" / "test" / "1.h5", num_trajectories=1, num_steps=9)
    data = DataModule(open_dataset(tmp_path))
    assert (data.rollout_from, data.rollout_steps) == (4, 4)
    assert len(data.rollout_dataset("test")) == 3


def test_train_loader(tmp_path):
    write_splits(tmp_path)
    data = DataModule(open_dataset(tmp_path), batch_size=6, history=2, seed=31_337)
    loader = data.train_loader(3)
    batches = list(loader)
    assert sum(len(b) for b in batches) == 5 * (21 - 4)
    assert batches[0].inputs.shape == (6, 2, 6, 4)
    assert batches[0].targets.shape == (6, 3, 1, 6, 4)
    seen = torch.cat([b.index for b in batches])
    assert int(seen[:, 0].max()) == 4
    assert seen.tolist() != sorted(seen.tolist())
    again = torch.cat([b.index for b in data.train_loader(3)])
    assert torch.equal(seen, again)
    ranks = [next(iter(data.train_loader(3, rank, 2))).index for rank in (0, 1)]
    assert torch.equal(torch.stack(ranks, 1).flatten(0, 1), seen[:6])


def test_validation_loader_and_one_step(tmp_path, monkeypatch):
    write_splits(tmp_path)
    data = DataModule(open_dataset(tmp_path))
    (batch,) = data.validation_loader()
    assert batch.targets.shape == (3, 10, 1, 6, 4)
    assert batch.index[:, 0].tolist() == [5, 6, 7]
    # room for two rollouts of 11 frames of 24 values
    monkeypatch.setattr("sciml.data.module._VALIDATION_BYTES", 4 * 24 * 11 * 2 + 1)
    assert [len(b) for b in data.validation_loader()] == [2, 1]
    assert len(data.one_step_dataset("test")) == 2 * 20
    assert data.one_step_dataset("test").windows.horizon == 1


def test_statistics_come_from_the_training_split_only(tmp_path):
    frames = write_splits(tmp_path)
    data = DataModule(open_dataset(tmp_path))
    before = data.statistics()
    assert data.statistics() is before
    assert float(before.field.mean) == pytest.approx(frames["train"].astype("f8").mean())
    for name in ("valid", "test"):
        with h5py.File(tmp_path / "data" / name / "0.h5", "r+") as file:
            file["t0_fields/vorticity"][...] = np.nan
    after = DataModule(open_dataset(tmp_path)).statistics()
    with h5py.File(tmp_path / "data" / "train" / "0.h5", "r+") as file:
        file["t0_fields/vorticity"][...] *= 2
    changed = DataModule(open_dataset(tmp_path)).statistics()
    for part in ("field", "increment"):
        old, new, other = (getattr(s, part) for s in (before, after, changed))
        for name in ("mean", "std", "minimum", "maximum"):
            assert torch.equal(getattr(old, name), getattr(new, name))
        torch.testing.assert_close(other.std, 2 * old.std)
    assert float(Normalizer.from_statistics(before.field).shift) == float(before.field.mean)


@pytest.mark.parametrize("chunk_steps", [1, 3, 4, 99])
def test_rollouts_in_chunks_are_whole_rollouts(tmp_path, chunk_steps):
    write_splits(tmp_path)
    data = DataModule(
        open_dataset(tmp_path, stride=2), history=2, rollout_from=4, rollout_steps=7
    )
    whole = data.rollout_dataset("valid")
    chunks = list(data.rollout_chunks("valid", batch_size=2, chunk_steps=chunk_steps))
    per_group = -(-7 // chunk_steps)
    assert len(chunks) == 2 * per_group
    assert max(c.targets.shape[1] for c in chunks) == min(chunk_steps, 7)
    for group, numbers in enumerate(([0, 1], [2])):
        own = chunks[group * per_group : (group + 1) * per_group]
        expected = whole.batch(numbers)
        assert torch.equal(own[0].inputs, expected.inputs)
        assert torch.equal(torch.cat([c.targets for c in own], 1), expected.targets)
        times = [own[0].times[:, :1], *(c.times[:, 1:] for c in own)]
        assert torch.equal(torch.cat(times, 1), expected.times)
    with pytest.raises(ValueError, match="chunk_steps >= 1, got trajectories, 2 and 0"):
        next(data.rollout_chunks("valid", batch_size=2, chunk_steps=0))


def test_refusals(tmp_path):
    write_splits(tmp_path, counts={"train": 2, "test": 1})
    dataset = open_dataset(tmp_path)
    data = DataModule(dataset)
    assert data.has_split("test")
    assert not data.has_split("valid")
    with pytest.raises(ValueError, match=r"one of \['train', 'test'\], got 'valid'"):
        data.validation_loader()
    with pytest.raises(ValueError, match=r"train split, got the splits \[\]; pass the whole"):
        DataModule(dataset.split("train"))
    for options in (
        {"history": 12},
        {"rollout_from": 20},
        {"rollout_steps": 11},
        {"rollout_steps": 0},
    ):
        with pytest.raises(ValueError, match="rollouts within trajectories of 21 frames, got"):
            DataModule(dataset, **options)
