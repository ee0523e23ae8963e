import gc
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciml.data.dataset import open_dataset
from sciml.data.loader import BatchLoader
from tests.data.well_files import write_well

SEED = 660_013


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loader")
    write_well(folder / "a.h5", num_trajectories=5, num_steps=6, resolution=(3, 2))
    return open_dataset(folder)  # 25 windows


def samples(batches):
    """Window numbers of each batch, from trajectory and first frame."""
    return [(5 * b.index[:, 0] + b.index[:, 1]).tolist() for b in batches]


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("sciml-batch-loader")]


@pytest.mark.parametrize("prefetch", [0, 1, 2, 50])
def test_ascending_batches(dataset, prefetch):
    loader = BatchLoader(dataset, batch_size=4, prefetch=prefetch)
    batches = list(loader)
    assert samples(batches) == [list(range(a, min(a + 4, 25))) for a in range(0, 25, 4)]
    assert len(loader) == len(batches) == 7
    assert torch.equal(batches[2].inputs, dataset.batch(range(8, 12)).inputs)


def test_drop_last(dataset):
    loader = BatchLoader(dataset, batch_size=4, drop_last=True)
    assert [len(b) for b in loader] == [4] * 6
    assert len(loader) == 6
    assert len(BatchLoader(dataset, batch_size=5)) == 5


def test_order_is_a_function_of_seed_and_epoch(dataset):
    make = lambda seed: BatchLoader(dataset, batch_size=4, shuffle=True, seed=seed)  # noqa: E731
    one = make(SEED)
    epochs = [samples(one) for _ in range(3)]
    for order in epochs:
        assert sorted(itertools.chain(*order)) == list(range(25))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    other = make(SEED)
    other.set_epoch(2)
    assert samples(other) == epochs[2]
    other.set_epoch(0)
    assert samples(other) == epochs[0]
    assert samples(other) == epochs[1]
    assert samples(make(SEED + 2)) != epochs[0]


def test_first_samples_are_spread_evenly(dataset):
    loader = BatchLoader(dataset, batch_size=25, shuffle=True, seed=SEED)
    counts = np.bincount([loader.order(epoch)[0] for epoch in range(5000)], minlength=25)
    # chi-square with 24 degrees of freedom exceeds 51.2 with probability 0.001
    assert ((counts - 200) ** 2 / 200).sum() < 51.2


@pytest.mark.parametrize("position", [0, 3, 6, 7])
def test_resumes_mid_epoch(dataset, position):
    loader = BatchLoader(dataset, batch_size=4, shuffle=True, seed=SEED)
    list(loader)
    whole = samples(loader) + samples(loader)
    interrupted = BatchLoader(dataset, batch_size=4, shuffle=True, seed=SEED)
    list(interrupted)
    state = interrupted.state_dict()
    for _ in itertools.islice(interrupted, position):
        state = interrupted.state_dict()
    assert state == {"epoch": 1 + position // 7, "position": position % 7}
    resumed = BatchLoader(dataset, batch_size=4, shuffle=True, seed=SEED)
    resumed.load_state_dict(state)
    rest = samples(resumed)
    rest = rest if position == 7 else rest + samples(resumed)
    assert rest == whole[position:]


def test_position_at_the_end_is_the_next_epoch(dataset):
    loader = BatchLoader(dataset, batch_size=4, shuffle=True, seed=SEED)
    loader.set_epoch(3, 7)
    assert (loader.epoch, loader.state_dict()) == (4, {"epoch": 4, "position": 0})


def test_pass_left_early_counts_as_its_epoch(dataset):
    loader = BatchLoader(dataset, batch_size=4, shuffle=True, seed=SEED)
    expected = [loader.order(epoch)[:4].tolist() for epoch in range(3)]
    got = []
    for _ in range(3):
        for batch in loader:
            got += samples([batch])
            break
    assert got == expected


@settings(deadline=None, max_examples=40)
@given(per_rank=st.integers(1, 4), world_size=st.integers(1, 4), drop_last=st.booleans())
def test_ranks_share_each_global_batch(dataset, per_rank, world_size, drop_last):
    options = {
        "batch_size": per_rank * world_size,
        "shuffle": True,
        "seed": SEED,
        "prefetch": 0,
    }
    alone = samples(BatchLoader(dataset, drop_last=drop_last, **options))
    ranks = [
        samples(
            BatchLoader(dataset, drop_last=drop_last, rank=r, world_size=world_size, **options)
        )
        for r in range(world_size)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    for number, shares in enumerate(zip(*ranks, strict=True)):
        assert len({len(share) for share in shares}) == 1
        together = list(itertools.chain(*zip(*shares, strict=True)))
        assert together == alone[number][: len(together)]
        assert len(alone[number]) - len(together) < world_size


def test_error_in_the_thread_reaches_the_consumer(dataset):
    class Broken:
        def __len__(self):
            return 25

        def batch(self, indices, **_):
            if indices[0] >= 8:
                raise OSError("disk gone")
            return dataset.batch(indices)

    loader = BatchLoader(dataset, batch_size=4)
    loader.dataset = Broken()
    batches = iter(loader)
    assert samples([next(batches), next(batches)]) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(OSError, match="disk gone"):
        next(batches)
    assert loader_threads() == []


def test_reads_ahead_but_not_further(dataset, monkeypatch):
    submitted = []
    submit = ThreadPoolExecutor.submit

    def counting(self, function, indices):
        submitted.append(indices)
        return submit(self, function, indices)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", counting)
    batches = iter(BatchLoader(dataset, batch_size=4, prefetch=2))
    assert submitted == []
    for consumed in range(1, 5):
        next(batches)
        assert len(submitted) == consumed + 2
        assert len(loader_threads()) == 1


def test_no_thread_is_left(dataset):
    loader = BatchLoader(dataset, batch_size=4)
    for _ in loader:
        break
    gc.collect()
    assert loader_threads() == []
    list(loader)
    assert loader_threads() == []


def test_refusals(dataset):
    with pytest.raises(
        ValueError, match="divisible by 3 processes, got 4; take a multiple of 3"
    ):
        BatchLoader(dataset, batch_size=4, world_size=3)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        BatchLoader(dataset, batch_size=4, rank=2, world_size=2)
    with pytest.raises(ValueError, match="batch_size >= 1"):
        BatchLoader(dataset, batch_size=0)
    with pytest.raises(ValueError, match="at least 26 samples, got 25; lower batch_size"):
        BatchLoader(dataset, batch_size=26, drop_last=True)
    loader = BatchLoader(dataset, batch_size=4)
    for epoch, position in ((-1, 0), (0, 8), (0, -1)):
        with pytest.raises(
            ValueError, match=r"position of 0 to 7, got .* other data or another"
        ):
            loader.set_epoch(epoch, position)
