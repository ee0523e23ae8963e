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


@given(
    length=st.integers(1, 30),
    history=st.integers(1, 3),
    horizon=st.integers(0, 3),
    stride=st.integers(1, 3),
    wider=st.integers(0, 6),
    first=st.integers(0, 3),
)
def test_random_strides_equal_enumeration(length, history, horizon, stride, wider, first):
    windows = Windows(history, horizon, stride, first, max_stride=stride + wider)
    index = WindowIndex(windows, np.array([length], np.int64))
    _, starts = index.locate(np.arange(len(index), dtype=np.int64))
    draws = (np.arange(200) + 0.5) / 200
    for start in starts.tolist():
        reach = [
            s
            for s in range(stride, stride + wider + 1)
            if start + s * (windows.frames - 1) < length
        ]
        at = np.full(200, start)
        found = windows.strides(at, np.full(200, length), draws)
        if windows.frames == 1:
            assert set(found.tolist()) == {stride}
        else:  # each possible stride, equally often
            values, counts = np.unique(found, return_counts=True)
            assert values.tolist() == reach
            assert counts.max() - counts.min() <= 1
        assert set(windows.strides(at, np.full(200, length)).tolist()) == {stride}


def test_strides_of_equal_windows_are_not_drawn():
    found = Windows(2, 1, 3).strides(np.zeros(4, np.int64), np.full(4, 99), np.full(4, 0.999))
    assert found.tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": 0}, "history >= 1, got 0"),
        ({"horizon": -1}, "horizon >= 0, got -1"),
        ({"stride": -1}, "stride >= 1, got -1"),
        ({"first": -2}, "first >= 0, got -2"),
        ({"per_trajectory": 0}, "per_trajectory >= 1, got 0; leave it out"),
        ({"stride": 3, "max_stride": 2}, "max_stride >= stride, got 2 < 3; leave it out"),
    ],
)
def test_impossible_windows(options, message):
    with pytest.raises(ValueError, match=message):
        Windows(**options)
