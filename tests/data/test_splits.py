import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciml.data.dataset import WindowedDataset
from sciml.data.sources.joined import JoinedSource
from sciml.data.splits import choose_splits, trajectory_splits
from tests.data.pairs import Pairs


def test_default_fractions():
    assert trajectory_splits(1200) == {
        "train": range(960),
        "valid": range(960, 1080),
        "test": range(1080, 1200),
    }


@given(st.integers(1, 400))
def test_default_uses_every_trajectory_once(count):
    spans = trajectory_splits(count).values()
    assert [i for span in spans for i in span] == list(range(count))


def test_counts_and_pairs():
    assert trajectory_splits(240, {"train": 180, "test": 40}) == {
        "train": range(180),
        "test": range(180, 220),
    }
    # the published split of the 1200 Navier-Stokes trajectories: first 1000, last 200
    assert trajectory_splits(1200, {"train": (0, 1000), "test": (-200, 0)}) == {
        "train": range(1000),
        "test": range(1000, 1200),
    }
    assert trajectory_splits(10, {"test": (0, 1), "train": (1, 0)}) == {
        "test": range(1),
        "train": range(1, 10),
    }


def test_empty_splits_are_left_out():
    assert trajectory_splits(2) == {"train": range(2)}
    assert trajectory_splits(5, {"train": 5, "test": 0}) == {"train": range(5)}


@pytest.mark.parametrize(
    ("shares", "error", "message"),
    [
        ({"train": 9, "test": 2}, ValueError, "sum at most 10, got"),
        ({"train": 0.9, "test": 0.2}, ValueError, r"sum at most 1\.0, got"),
        ({"train": -1}, ValueError, "non-negative shares"),
        (
            {"train": (0, 8), "test": (-3, 0)},
            ValueError,
            "disjoint splits, got train .* and test",
        ),
        ({"train": (0, 11)}, ValueError, r"within 10 trajectories, got \(0, 11\)"),
        ({"train": (5, 5)}, ValueError, "start < stop"),
        ({"train": 5, "test": 0.5}, TypeError, "only fractions, only counts"),
    ],
)
def test_impossible_shares(shares, error, message):
    with pytest.raises(error, match=message):
        trajectory_splits(10, shares)


class Files(Pairs):
    """A source of any size with the splits that its files have."""

    num_trajectories = split_preset = splits = None

    def __init__(self, total, preset=None, **splits):
        self.num_trajectories, self.split_preset, self.splits = total, preset, splits


PUBLISHED = [
    ("fno_ns", 1200, range(1000), range(1000, 1200)),
    ("fno_burgers", 2048, range(1000), range(1848, 2048)),
    ("lsm_elasticity", 2000, range(1000), range(1800, 2000)),
    ("lsm_plasticity", 987, range(900), range(907, 987)),
    ("lsm_airfoil", 2490, range(1000), range(1000, 1200)),
    ("lsm_pipe", 2310, range(1000), range(1000, 1200)),
    ("pdebench_single", 10000, range(1000, 10000), range(1000)),
    ("pdebench_single", 19, range(1, 19), range(1)),
    ("pdebench_mult", 1000, range(900), range(900, 1000)),
    ("nsl_pdebench", 10000, range(9000), range(9000, 10000)),
]


@pytest.mark.parametrize(("name", "total", "train", "test"), PUBLISHED)
def test_published_splits_index_by_index(name, total, train, test):
    for splits in (
        choose_splits(Files(total), name),
        choose_splits(Files(total, preset=name)),
    ):
        assert dict(splits) == {"train": train, "test": test}


def test_every_parameter_file_of_pdebench_gives_its_first_tenth():
    source = JoinedSource({"": [Pairs(20, beta=1.0), Pairs(30, beta=2.0)]})
    splits = choose_splits(source, "pdebench_single")
    assert splits["test"].tolist() == [0, 1, 20, 21, 22]
    assert splits["train"].tolist() == [*range(2, 20), *range(23, 50)]
    data = WindowedDataset(source, splits=splits)
    assert [b.index[0, 0].item() for b in map(data.split("test").__getitem__, range(5))] == [
        0, 1, 20, 21, 22,
    ]  # fmt: skip


def test_darcy_is_split_by_its_two_files():
    files = {"train": range(1024), "test": range(1024, 2048)}
    splits = choose_splits(Files(2048, "fno_darcy", **files))
    assert splits == {"train": range(1000), "test": range(1024, 1224)}
    with pytest.raises(ValueError, match="files smooth1 and smooth2 for fno_darcy, got 1024"):
        choose_splits(Files(1024), "fno_darcy")


def test_smaller_copy_of_a_benchmark_gets_fractions(caplog):
    with caplog.at_level("INFO", "sciml"):
        splits = choose_splits(Files(20, "fno_ns"))
    assert splits == trajectory_splits(20)
    assert "not the published split fno_ns" in caplog.text
    with pytest.raises(ValueError, match="within 20 trajectories"):
        choose_splits(Files(20), "fno_ns")


def test_publisher_beats_fractions_and_names_are_checked():
    files = {"train": range(3), "valid": range(3, 4)}
    assert choose_splits(Files(4, **files)) == files
    assert choose_splits(Files(4, **files), {"test": 1.0}) == {"test": range(4)}
    with pytest.raises(ValueError, match="got 'pdebench'; did you mean 'nsl_pdebench'"):
        choose_splits(Files(4), "pdebench")
