import numpy as np
import pytest
import torch

from sciml.data import device as device_module
from sciml.data.dataset import WindowedDataset, open_dataset
from sciml.data.device import DeviceCopies
from sciml.data.loader import BatchLoader
from tests.data.pairs import Pairs
from tests.data.well_files import Field, Scalar, write_well

SEED = 330_017
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
        ],
    ),
]
MEMBERS = ("inputs", "targets", "params", "static", "times", "index", "boundary")


def write(folder):
    fields = [Field("a"), Field("v", 1), Field("mask", time_varying=False)]
    scalars = [Scalar("nu", [0.1, 0.2, 0.3, 0.4], sample_varying=True)]
    for part, steps in (("a", 7), ("b", 5)):
        write_well(
            folder / part / "x.h5",
            num_trajectories=4,
            num_steps=steps,
            fields=fields,
            scalars=scalars,
        )
    return [folder / "a", folder / "b"]


def same(batch, expected):
    for name in MEMBERS:
        left, right = getattr(batch, name), getattr(expected, name)
        assert (left is None) == (right is None)
        assert left is None or torch.equal(left.cpu(), right), name


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("residence", ["stream", "ram", "gpu"])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_on_a_device_are_those_of_the_files(tmp_path, where, residence, prefetch):
    """Variable lengths, history, random strides: copied or gathered, bit for bit the same."""
    options = {"history": 2, "max_stride": 2, "splits": {"train": 0.5}}
    paths = write(tmp_path)
    plain = open_dataset(paths, residence="stream", **options).split("train")
    dataset = open_dataset(paths, residence=residence, **options).split("train")
    loaders = [
        BatchLoader(d, batch_size=4, shuffle=True, seed=SEED, prefetch=prefetch)
        for d in (plain, dataset)
    ]
    loaders[1].to(torch.device(where))
    for _ in range(2):
        count = 0
        for expected, batch in zip(*loaders, strict=True):
            assert batch.inputs.device.type == where
            same(batch, expected)
            count += 1
        assert count == len(loaders[0])


@pytest.mark.parametrize("where", DEVICES)
def test_pairs_are_gathered(where):
    pairs = Pairs(6)
    dataset = WindowedDataset(pairs, trajectories=[4, 1, 2], on_device=True)
    batch = dataset.batch([2, 0], device=torch.device(where))
    assert batch.inputs.device.type == batch.targets.device.type == where
    np.testing.assert_array_equal(batch.inputs[0].cpu(), pairs.inputs[2])
    np.testing.assert_array_equal(batch.targets[1, 0].cpu(), pairs.outputs[4])


def test_files_are_read_once(tmp_path, monkeypatch):
    dataset = open_dataset(write(tmp_path)[0], residence="gpu")
    device = torch.device("cpu")
    expected = dataset.batch([3, 9])
    same(dataset.batch([3, 9], device=device), expected)

    def vanished(*_):
        raise OSError("files are gone")

    monkeypatch.setattr(dataset._reader, "frames", vanished)
    same(dataset.batch([3, 9], device=device), expected)
    with pytest.raises(OSError, match="files are gone"):
        dataset.batch([3, 9])


def test_what_does_not_fit_is_read_as_ever(tmp_path, monkeypatch, caplog):
    dataset = open_dataset(write(tmp_path)[0], residence="gpu")
    frames = 4 * 7 * 3 * 24 * 4  # trajectories, frames, channels, points, bytes
    for available, kept in ((4 * frames, False), (4 * frames + 1, True)):
        monkeypatch.setattr(device_module, "available_bytes", lambda a=available: a)
        own = dataset.windowed(horizon=1)
        with caplog.at_level("INFO", logger="sciml"):
            batch = own.batch([5], device=torch.device("cpu"))
        same(batch, dataset.batch([5]))
        assert (own._kept[torch.device("cpu")] is not None) == kept
    assert "are not kept on cpu" in caplog.text
    caplog.clear()
    clouds = WindowedDataset(Pairs(2, points=(3, 5)), on_device=True)
    with caplog.at_level("INFO", logger="sciml"):
        assert clouds.batch([1], device=torch.device("cpu")).mask.sum() == 5
    assert "point clouds are read from memory or files" in caplog.text


def test_no_device_leaves_batches_alone(tmp_path):
    dataset = open_dataset(write(tmp_path)[0])
    batch = dataset.batch([1])
    copies = DeviceCopies(None)
    started = copies.start(lambda _: batch, np.array([1]))
    assert started[0] is batch
    assert copies.finish(*started) is batch


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_copies_wait_for_nobody_and_arrive_whole():
    """Batches are overwritten on the host at once and used late on the device."""
    pairs = Pairs(64, resolution=(128, 128))
    dataset = WindowedDataset(pairs)
    loader = BatchLoader(dataset, batch_size=8, prefetch=3).to(torch.device("cuda"))
    sums = []
    for batch in loader:
        torch.cuda._sleep(10_000_000)  # the consumer's stream is busy; the copies go on
        sums.append(
            batch.inputs.double().sum((1, 2, 3)) + batch.targets.double().sum((1, 2, 3, 4))
        )
        del batch
    expected = [
        i.astype("f8").sum() + o.astype("f8").sum()
        for i, o in zip(pairs.inputs, pairs.outputs, strict=True)
    ]
    torch.testing.assert_close(
        torch.cat(sums).cpu(), torch.tensor(expected, dtype=torch.float64)
    )
