"""Whole data sets of every back end: threads, worker processes, open files and memory."""

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sciml.data.dataset import WindowedDataset, open_dataset
from sciml.data.sources import open_source
from tests.data.well_files import Field, write_well

FRAME = (1, 1, 6, 4)
GZIP = {"compression": "gzip", "shuffle": True}
FIELDS = (
    Field("contiguous"),
    Field("chunks", options={"chunks": FRAME}),
    Field("gzip", options={"chunks": (1, 3, 6, 4), **GZIP}),
    Field("lzf", options={"chunks": FRAME, "compression": "lzf", "shuffle": True}),
    Field("library", options={"chunks": FRAME, "fletcher32": True}),
    Field("vector", 1, options={"chunks": (1, 2, 6, 4, 1), **GZIP}),
    Field("wide", 2, dtype=">f8", options={"chunks": (2, 3, 4, 3, 2, 2)}),
)


def write(folder, num_files=2, **options):
    return np.concatenate(
        [
            write_well(
                folder / f"{i}.h5", num_steps=8, fields=FIELDS, seed=4_441 + i, **options
            )[0]
            for i in range(num_files)
        ]
    ).astype("f4")


def unchanged(batch):
    return batch


def same(first, second):
    return torch.equal(first.inputs, second.inputs) and torch.equal(
        first.targets, second.targets
    )


@pytest.fixture
def dataset(tmp_path):
    write(tmp_path)
    return open_dataset(tmp_path, residence="stream", history=2, horizon=2, stride=2)


def test_each_field_has_its_back_end_and_all_agree_with_h5py(tmp_path):
    frames = write(tmp_path)
    source = open_source(tmp_path)
    described = source.describe()
    for name, back_end in (
        ("contiguous", "mmap"),
        ("chunks", "chunk_table"),
        ("gzip", "direct_chunk"),
        ("lzf", "direct_chunk"),
        ("library", "h5py"),
        ("vector", "direct_chunk"),
        ("wide", "chunk_table"),
    ):
        rank = {"vector": 1, "wide": 2}.get(name, 0)
        assert f"field {name}: rank {rank}, {back_end} (" in described
    library = open_source(tmp_path, back_end="h5py")
    for trajectory in range(6):
        for start, stop, stride in ((0, 8, 1), (1, 8, 3), (5, 6, 1)):
            expected = frames[trajectory, start:stop:stride]
            for reader in (source, library):
                out = np.full_like(expected, np.nan)
                reader.read(trajectory, start, stop, stride, out)
                assert out.tobytes() == expected.tobytes()


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_threads_change_nothing(dataset, threads):
    threaded = WindowedDataset(dataset.source, dataset.windows, reader_threads=threads)
    single = WindowedDataset(dataset.source, dataset.windows, reader_threads=1)
    numbers = np.random.default_rng(20_011).integers(0, len(single), 23)
    for _ in range(3):
        assert same(threaded.batch(numbers), single.batch(numbers))
    assert threaded.windowed(horizon=1).reader_threads == threads
    assert pickle.loads(pickle.dumps(threaded)).reader_threads == threads


def test_threads_by_kind_of_files(tmp_path, dataset, monkeypatch):
    monkeypatch.setattr("sciml.data.dataset._num_cores", lambda: 3)
    write_well(tmp_path / "mapped" / "a.h5", fields=FIELDS[:2])
    assert open_dataset(tmp_path / "mapped", residence="stream").reader_threads == 1
    assert WindowedDataset(dataset.source).reader_threads == 3
    monkeypatch.setattr("sciml.data.dataset._num_cores", lambda: 64)
    assert WindowedDataset(dataset.source).reader_threads == 4
    with pytest.raises(ValueError, match="expected reader_threads >= 1, got 0; leave it out"):
        WindowedDataset(dataset.source, reader_threads=0)


def test_an_error_in_a_thread_reaches_the_caller(dataset, tmp_path):
    threaded = WindowedDataset(dataset.source, dataset.windows, reader_threads=2)
    (tmp_path / "1.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the file .*1\.h5, which was there"):
        threaded.batch(range(len(threaded)))


def test_batches_that_are_kept_are_not_written_again(dataset):
    numbers = list(range(len(dataset)))
    kept = [dataset.batch([number]) for number in numbers]
    copies = [batch.targets.clone() for batch in kept]
    for number in numbers:
        dataset.batch([number]).targets.fill_(-1.0)
    for batch, copy in zip(kept, copies, strict=True):
        assert torch.equal(batch.targets, copy)


# forking a threaded process is deprecated in Python; Linux users do it all the time
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*suggested max number of worker:UserWarning")
@pytest.mark.parametrize("method", ["none", "fork", "spawn", "forkserver"])
def test_worker_processes(dataset, method):
    expected = [dataset.batch(range(start, start + 4)) for start in range(0, 12, 4)]
    workers = {} if method == "none" else {"num_workers": 2, "multiprocessing_context": method}
    loader = DataLoader(dataset, batch_size=4, collate_fn=unchanged, **workers)
    batches = list(loader)
    assert len(batches) == len(dataset) // 4 == 3
    assert all(same(x, y) for x, y in zip(batches, expected, strict=True))
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_open_files_stay_constant_over_epochs(dataset):
    dataset.batch(range(len(dataset)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        dataset.batch(range(len(dataset)))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return 4096 * pages


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat(tmp_path):
    """1000 windows of 1 MB each; a leak of one window in ten would show."""
    fields = (FIELDS[0], Field("gzip", options={"chunks": (1, 4, 128, 128), **GZIP}))
    write_well(tmp_path / "a.h5", num_steps=12, resolution=(128, 128), fields=fields)
    dataset = open_dataset(tmp_path, residence="stream", history=4, horizon=4, reader_threads=2)
    numbers = np.random.default_rng(600_011).integers(0, len(dataset), (260, 4))
    for batch in numbers[:10]:
        dataset.batch(batch)
    before = resident_bytes()
    for batch in numbers[10:]:
        dataset.batch(batch)
    assert resident_bytes() - before < 40e6
