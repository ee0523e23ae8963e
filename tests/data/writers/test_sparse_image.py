import io

import h5py
import numpy as np

from sciml.data.writers.sparse_image import SparseImage


def test_holes_take_no_memory():
    image = SparseImage()
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(image, "w") as file:
        dataset = file.create_dataset("u", (10**6, 10**5), "f4", dcpl=properties)
        offset = dataset.id.get_offset()
        file.attrs["text"] = ["behind", "the array"]
    assert image.size > 4 * 10**11
    written = sum(len(piece) for _, piece in image.pieces)
    assert written < 20_000
    last = 4 * 10**11 + offset
    assert not any(offset <= start < last for start, _ in image.pieces)


def test_pieces_make_the_file_again(tmp_path):
    image = SparseImage()
    values = np.random.default_rng(15487469).standard_normal((30, 40))
    with h5py.File(image, "w") as file:
        file["u"] = values
        file.attrs["text"] = ["a", "b"]
    with (tmp_path / "a.h5").open("wb") as out:
        for start, piece in image.pieces:
            out.seek(start)
            out.write(piece)
        out.truncate(image.size)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["u"], values)
        assert list(file.attrs["text"]) == ["a", "b"]


def test_positions():
    image = SparseImage()
    assert image.seek(10) == 10
    assert image.write(b"abc") == 3
    assert (image.tell(), image.size) == (13, 13)
    assert image.seek(-1, io.SEEK_END) == 12
    assert image.seek(2, io.SEEK_CUR) == 14
    assert image.truncate(20) == 20
    assert image.size == 20
    assert image.pieces == [(10, b"abc")]
    assert image.readable()
    assert image.writable()
    assert image.seekable()
