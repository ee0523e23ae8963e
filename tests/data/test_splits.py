import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciml.data.splits import trajectory_splits


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
