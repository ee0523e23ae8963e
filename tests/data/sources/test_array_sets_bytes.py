"""Pieces in which arrays are read, and sizes that are refused."""

import io
import itertools
import zlib

import numpy as np
import pytest

from sciml.data.sources.array_sets_bytes import check_declared_bytes, cut, read_exactly

SHAPES = [(), (1,), (7,), (3, 5), (4, 1, 6), (2, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [1, 4, 7, 24, 1000])
def test_boxes_cover_everything_once_and_in_order(shape, reverse, limit):
    order = tuple(range(len(shape)))[:: -1 if reverse else 1]
    numbers = np.arange(int(np.prod(shape))).reshape(shape, order="F" if reverse else "C")
    seen = []
    for index in cut(shape, order, limit):
        block = numbers[index]
        assert block.size <= limit
        seen += block.ravel(order="F" if reverse else "C").tolist()
    assert seen == list(range(numbers.size))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("limit", [1, 6, 24, 50, 1000])
def test_boxes_begin_where_chunks_begin(order, limit):
    shape, grain = (5, 7, 4), (2, 3, 4)
    count = np.zeros(shape, int)
    for index in cut(shape, order, limit, grain):
        count[index] += 1
        assert all(part.start % size == 0 for part, size in zip(index, grain, strict=True))
        assert count[index].size <= max(limit, 2 * 3 * 4)
    assert (count == 1).all()


def test_declared_bytes():
    check_declared_bytes("u", (2, 3), np.dtype("f4"), 24)
    for shape in ((2, 3, 2), (-2, -3), (2**40, 2**40)):
        with pytest.raises(ValueError, match=r"at most 24 bytes of numbers in u, got .* shape"):
            check_declared_bytes("u", shape, np.dtype("f4"), 24)


def test_streams_that_end_early():
    assert read_exactly(io.BytesIO(b"abcdef"), 4, "u") == b"abcd"
    with pytest.raises(ValueError, match="expected 9 more bytes of u, got 6"):
        read_exactly(io.BytesIO(b"abcdef"), 9, "u")

    class Damaged(io.BytesIO):
        def read(self, size=-1):
            raise zlib.error("bad block")

    with pytest.raises(ValueError, match="readable compressed numbers of u, got bad block"):
        read_exactly(Damaged(), 9, "u")
