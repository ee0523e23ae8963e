import itertools

import numpy as np
import pytest

from sciml.data.dataset import open_dataset
from sciml.data.loader import BatchLoader
from sciml.data.mixing import Mixture
from sciml.data.module import DataModule
from sciml.data.sources.mixed import MixedSource
from tests.data.pairs import Pairs
from tests.data.well_files import Field, Scalar, write_well

SEED = 540_121


def write(folder, name, count, nu, steps=5, **options):
    scalars = [Scalar("nu", nu), Scalar("rho", 2.0)]
    path = folder / f"{name}.h5"
    seed = 7001 + 2 * count
    write_well(
        path, num_trajectories=count, num_steps=steps, scalars=scalars, seed=seed, **options
    )
    return path


def test_every_batch_has_the_proportions(tmp_path):
    """4 windows of a trajectory: 40, 120 and 16 samples, of which 1, 2 and 1 are wanted."""
    paths = [write(tmp_path, n, c, 0.1) for n, c in (("a", 10), ("b", 30), ("c", 4))]
    dataset = open_dataset(paths, splits={"train": 1.0}, proportions=[1, 2, 1])
    assert len(dataset) == 176
    loader = BatchLoader(dataset.split("train"), batch_size=8, shuffle=True, seed=SEED)
    members = dataset.mixture.members
    for _ in range(2):
        counts = []
        seen = []
        for batch in loader:
            counts.append(np.bincount(members[batch.index[:, 0]], minlength=3))
            seen += [tuple(row) for row in batch.index.tolist()]
        counts = np.array(counts)
        assert counts.sum(axis=0).tolist() == [44, 88, 44]
        assert np.abs(counts - [2, 4, 2]).max() <= 2
        repeats = dict.fromkeys(seen, 0)
        for each in seen:
            repeats[each] += 1
        by_member = [
            sorted(n for (i, _), n in repeats.items() if members[i] == m) for m in range(3)
        ]
        assert by_member[0] == [1] * 36 + [2] * 4  # all 40, four of them twice
        assert by_member[1] == [1] * 88  # a part of the 120
        assert by_member[2] == [2] * 4 + [3] * 12  # 16 samples stand for 44


def test_order_is_resumable_and_shared_by_ranks(tmp_path):
    paths = [write(tmp_path, n, c, 0.1) for n, c in (("a", 3), ("b", 5))]
    dataset = open_dataset(paths, splits={"train": 1.0}, proportions=[0.7, 0.3])

    def samples(batches):
        return [b.index.tolist() for b in batches]

    make = lambda **o: BatchLoader(dataset, batch_size=4, shuffle=True, seed=SEED, **o)  # noqa: E731
    whole = make()
    epochs = samples(whole) + samples(whole)
    resumed = make()
    resumed.set_epoch(1, 3)
    assert samples(resumed) == epochs[len(whole) + 3 :]
    assert epochs[: len(whole)] != epochs[len(whole) :]
    ranks = [samples(make(rank=r, world_size=2)) for r in (0, 1)]
    together = [
        list(itertools.chain(*zip(*shares, strict=True))) for shares in zip(*ranks, strict=True)
    ]
    assert together == epochs[: len(whole)]


def test_several_files_are_one_data_set(tmp_path):
    """Trajectories stand split by split; a scalar that varies over the files is a parameter."""
    first = write(tmp_path, "a", 4, 0.5)
    second = write(tmp_path, "b", 6, 0.25, steps=7)
    dataset = open_dataset([first, second], splits={"train": 0.5, "test": 0.5})
    parts = [open_dataset(p, splits={"train": 0.5, "test": 0.5}) for p in (first, second)]
    assert dataset.spec.params == ("nu",)
    assert dict(dataset.spec.constants) == {"rho": 2.0}
    assert dataset.spec.name == "toy"
    for name in ("train", "test"):
        mixed = dataset.split(name)
        own = [part.split(name) for part in parts]
        assert len(mixed) == sum(map(len, own))
        expected = [own[0][i] for i in range(len(own[0]))]
        expected += [own[1][i] for i in range(len(own[1]))]
        batch = mixed.batch(range(len(mixed)))
        for row, alone in enumerate(expected):
            np.testing.assert_array_equal(batch.inputs[row], alone.inputs[0])
            np.testing.assert_array_equal(batch.targets[row], alone.targets[0])
            np.testing.assert_array_equal(batch.times[row], alone.times[0])
        nu = [0.5] * len(own[0]) + [0.25] * len(own[1])
        assert batch.params[:, 0].tolist() == nu
    assert dataset.source.locate(2) == parts[1].source.locate(0)  # train: 0, 1 and 0, 1, 2
    assert dataset.source.describe().startswith("2 data sets mixed\n4 trajectories of toy")
    # an ordinary module serves it
    data = DataModule(dataset, batch_size=4, seed=SEED)
    assert len(data.train_loader(1)) == 7  # 2 and 3 trajectories of 4 and 6 windows
    assert len(data.rollout_dataset("test")) == 5


def test_clouds_and_pairs_mix():
    clouds = [Pairs(2, points=(4, 9)), Pairs(3, points=(11, 2, 3))]
    splits = [{"train": range(2)}, {"train": range(1, 3), "test": range(1)}]
    source = MixedSource(clouds, splits)
    assert source.spec.resolution == (11,)
    assert dict(source.splits) == {"train": range(4), "test": range(4, 5)}
    assert [source.num_points(i) for i in range(5)] == [4, 9, 2, 3, 11]
    out, coords = np.empty((2, 3), "f4"), np.empty((3, 2), "f4")
    source.read_targets(3, out)
    source.read_coords(3, coords)
    np.testing.assert_array_equal(out, clouds[1].outputs[2])
    np.testing.assert_array_equal(coords, clouds[1].coords[2])


def test_static_fields_and_fingerprint(tmp_path):
    fields = [Field("a"), Field("mask", time_varying=False)]
    paths = [write(tmp_path, n, c, 0.1, fields=fields) for n, c in (("a", 3), ("b", 2))]
    dataset = open_dataset(paths, splits={"train": 1.0})
    alone = open_dataset(paths[1])
    np.testing.assert_array_equal(dataset[-1].static, alone[-1].static)
    np.testing.assert_array_equal(dataset[-1].boundary, alone[-1].boundary)
    other = open_dataset(paths, splits={"train": 0.5})
    assert len({d.source.fingerprint for d in (dataset, alone, other)}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": [Field("b")]}, r"same input fields to mix, got \(FieldSpec\(name='a'"),
        ({"resolution": (6, 5)}, r"same resolution to mix, got \(6, 4\) in toy and \(6, 5\)"),
        ({"times": np.arange(5) * 0.3}, r"same time step to mix, got 0\.1.* and 0\.3"),
        (
            {"fields": [Field("a"), Field("m", time_varying=False)]},
            "with the same static fields, got",
        ),
    ],
)
def test_unlike_data_sets_are_refused(tmp_path, options, message):
    first = write(tmp_path, "a", 2, 0.1, fields=[Field("a")])
    second = write(tmp_path, "b", 2, 0.1, **({"fields": [Field("a")]} | options))
    with pytest.raises(ValueError, match=message):
        open_dataset([first, second])


def test_proportions_are_checked(tmp_path):
    paths = [write(tmp_path, n, 2, 0.1) for n in "ab"]
    for bad in ([1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1, 1, 1]):
        with pytest.raises(ValueError, match="a positive share for each of 2 data sets"):
            open_dataset(paths, proportions=bad)
    with pytest.raises(ValueError, match="expected proportions for several data sets"):
        open_dataset(paths[0], proportions=[1.0])
    with pytest.raises(ValueError, match="expected at least one path, got none"):
        open_dataset([])


def test_a_data_set_without_samples_in_a_split_is_left_out():
    mixture = Mixture(np.array([0, 0, 1]), (0.5, 0.5))
    order = mixture.order(np.array([0, 1]), np.array([3, 2]), np.random.default_rng(SEED))
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
