import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciml.data.windows import WindowIndex, Windows


def brute_force(windows, lengths):
    found = []
    for number, length in enumerate(lengths):
        own = []
        for start in range(windows.first, length):
            frames = [start + windows.stride * k for k in range(windows.frames)]
            if frames[-1] < length:
                own.append((number, start))
        found += own[: windows.per_trajectory]
    return found


@given(
    lengths=st.lists(st.integers(0, 15), min_size=0, max_size=7),
    history=st.integers(1, 4),
    horizon=st.integers(0, 4),
    stride=st.integers(1, 3),
    first=st.integers(0, 4),
    per_trajectory=st.none() | st.integers(1, 4),
)
def test_index_equals_enumeration(lengths, history, horizon, stride, first, per_trajectory):
    windows = Windows(history, horizon, stride, first, per_trajectory)
    index = WindowIndex(windows, np.array(lengths, np.int64))
    expected = brute_force(windows, lengths)
    assert len(index) == len(expected)
    position, start = index.locate(np.arange(len(expected), dtype=np.int64))
    assert list(zip(position.tolist(), start.tolist(), strict=True)) == expected


def test_long_series_need_no_list():
    index = WindowIndex(Windows(2, 3), np.full(10, 10**12, np.int64))
    assert len(index) == 10 * (10**12 - 4)
    position, start = index.locate(np.array([len(index) - 1]))
    assert (position[0], start[0]) == (9, 10**12 - 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": 0}, "history >= 1, got 0"),
        ({"horizon": -1}, "horizon >= 0, got -1"),
        ({"stride": -1}, "stride >= 1, got -1"),
        ({"first": -2}, "first >= 0, got -2"),
        ({"per_trajectory": 0}, "per_trajectory >= 1, got 0; leave it out"),
    ],
)
def test_impossible_windows(options, message):
    with pytest.raises(ValueError, match=message):
        Windows(**options)
