import math

import h5py
import numpy as np
import pytest

from sciml.data.sources.hdf5_chunks import (
    ChunkGrid,
    ChunkTable,
    make_chunk_table,
    read_chunk_table,
    select,
)

SHAPES = [
    ((7,), (3,)),
    ((4, 9), (1, 2)),
    ((4, 9), (4, 9)),
    ((5, 6, 4), (2, 3, 4)),
    ((3, 7, 5, 4), (1, 2, 5, 4)),
    ((3, 7, 5, 4), (2, 7, 5, 4)),
    ((2, 3, 5, 5), (1, 1, 8, 8)),
]


def draw_index(generator, shape):
    entries = []
    for n in shape[: generator.integers(1, len(shape) + 1)]:
        if generator.random() < 0.4:
            entries.append(int(generator.integers(-n, n)))
        else:
            low, high = generator.integers(-n - 1, n + 2, 2).tolist()
            step = int(generator.integers(1, 4))
            entries.append(slice(low, high, step) if generator.random() < 0.8 else slice(None))
    return tuple(entries)


def test_select_is_numpy_s_indexing():
    generator = np.random.default_rng(55_441)
    for shape, _ in SHAPES * 30:
        array = np.arange(math.prod(shape)).reshape(shape)
        index = draw_index(generator, shape)
        selection = select(index, shape)
        assert selection.shape == array[index].shape
        taken = array[np.ix_(*[list(r) for r in selection.taken])]
        np.testing.assert_array_equal(taken.reshape(selection.shape), array[index])


@pytest.mark.parametrize(("shape", "chunks"), SHAPES)
def test_pieces_cover_a_selection_once_and_stay_in_their_chunks(shape, chunks):
    """Against numpy: padded chunks laid out by hand, with and without runs."""
    generator = np.random.default_rng(90_017)
    grid = ChunkGrid(shape, chunks)
    array = np.arange(1.0, math.prod(shape) + 1).reshape(shape)
    padded = np.zeros([g * c for g, c in zip(grid.grid, chunks, strict=True)])
    padded[tuple(slice(n) for n in shape)] = array
    ends = None
    if grid.slabs:
        # runs of two chunks, as if every second one were followed by a gap
        number = np.indices(grid.grid)[grid.axis]
        ends = np.minimum(number // 2 * 2 + 2, grid.grid[grid.axis])
    for _ in range(60):
        selection = select(draw_index(generator, shape), shape)
        if 0 in map(len, selection.taken):
            continue
        for run_ends in (None, ends):
            full = np.zeros([len(r) for r in selection.taken])
            for first, length, source, target in grid.pieces(selection.taken, run_ends):
                span = list(chunks)
                span[grid.axis] *= length
                corner = [f * c for f, c in zip(first, chunks, strict=True)]
                block = padded[
                    tuple(slice(a, a + n) for a, n in zip(corner, span, strict=True))
                ]
                assert block.shape == tuple(span)
                assert not full[target].any()
                full[target] = block[source]
            expected = array[np.ix_(*[list(r) for r in selection.taken])]
            np.testing.assert_array_equal(full, expected)


def test_run_ends_follow_the_offsets():
    offsets = np.array([[0, 10, 20, 35, 45], [50, -1, 60, 70, 80]])
    table = ChunkTable(offsets, np.full_like(offsets, 10), np.zeros_like(offsets, np.uint32))
    assert table.run_ends(1, 10).tolist() == [[3, 3, 3, 5, 5], [1, 2, 5, 5, 5]]
    assert table.run_ends(0, 50).tolist() == [[2, 1, 1, 1, 1], [2, 2, 2, 2, 2]]


def test_table_is_what_h5py_says(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("u", (4, 6), "f4", chunks=(1, 4), compression="gzip")
        file["u"][1] = np.arange(6)
        file["u"][3, :2] = 1.0
    with h5py.File(tmp_path / "a.h5") as file:
        dataset = file["u"]
        table = read_chunk_table(dataset, ChunkGrid((4, 6), (1, 4)), 10**6)
        assert (table.offsets >= 0).tolist() == [
            [False] * 2,
            [True] * 2,
            [False] * 2,
            [True, False],
        ]
        for number in range(3):
            info = dataset.id.get_chunk_info(number)
            where = (info.chunk_offset[0], info.chunk_offset[1] // 4)
            assert table.offsets[where] == info.byte_offset
            assert table.sizes[where] == info.size


class Info:
    def __init__(self, chunk_offset, byte_offset, size):
        self.chunk_offset, self.byte_offset, self.size = chunk_offset, byte_offset, size
        self.filter_mask = 0


@pytest.mark.parametrize(
    "info",
    [
        Info((0, 0), 90, 11),
        Info((0, 0), 2**64 - 1, 2),
        Info((0, 0), 0, 2**40),
        Info((8, 0), 0, 10),
    ],
    ids=["past the end", "absurd offset", "absurd size", "outside the array"],
)
def test_chunks_outside_are_refused(info):
    grid = ChunkGrid((4, 6), (1, 4))
    with pytest.raises(
        ValueError, match=r"expected all chunks of u in a\.h5 inside .* 100 byte"
    ):
        make_chunk_table([info], grid, "u in a.h5", 100)
