"""Arrays by sample: every container and placement gives the same numbers."""

import pickle
import threading

import numpy as np
import pytest
import torch

from sciml.data.sources import array_sets_samples
from tests.data.array_files import (
    CONTAINERS,
    open_files,
    read_coords,
    read_frames,
    write_and_open,
)

RNG = np.random.default_rng(72057594037927931)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(array_sets_samples, "_BLOCK_BYTES", 1000)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("placement", ["memory", "cache"])
def test_turned_arrays(tmp_path, monkeypatch, container, placement):
    if placement == "cache":
        monkeypatch.setattr(array_sets_samples, "SMALL_BYTES", 0)
    u = RNG.standard_normal((9, 5, 5, 4))
    source = write_and_open(tmp_path, container, {"u": u})
    for each in (source, pickle.loads(pickle.dumps(source))):
        for i in (8, 0, 3):
            expected = np.moveaxis(u[i], -1, 0).astype("f4")
            np.testing.assert_array_equal(read_frames(each, i)[:, 0], expected)
    assert len(list(tmp_path.glob("cache/arrays/*.npy"))) == (placement == "cache")
    words = "turned into the cache" if placement == "cache" else "turned in memory"
    assert words in source.describe()
    assert source.memory_mapped


def test_arrays_of_one_name_in_a_list_stay_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(array_sets_samples, "SMALL_BYTES", 0)
    cars = [
        {"vertices": torch.rand(3, 6).T, "press": torch.rand(1, 6), "number": torch.ones(1)}
        for _ in range(2)
    ]
    torch.save(cars, tmp_path / "cars.pt")
    source = open_files("torch", [tmp_path / "cars.pt"])
    for i, car in enumerate(cars):
        np.testing.assert_array_equal(read_coords(source, i), car["vertices"].numpy())
    assert "turned into the cache" in source.describe()


def test_threads_read_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(array_sets_samples, "SMALL_BYTES", 0)
    u = RNG.standard_normal((9, 5, 5, 4)).astype("f4")
    source = write_and_open(tmp_path, "v7.3", {"u": u})
    start, wrong = threading.Barrier(6), []

    def read():
        start.wait()
        got = np.stack([read_frames(source, i)[:, 0] for i in range(9)])
        wrong.append(not np.array_equal(got, np.moveaxis(u, -1, 1)))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [False] * 6


@pytest.mark.parametrize("container", CONTAINERS)
def test_files_that_change_or_vanish_are_noticed(tmp_path, container):
    source = write_and_open(tmp_path, container, {"u": RNG.random((3, 5, 5, 4))})
    (path,) = tmp_path.glob("data.*")
    with path.open("ab") as file:
        file.write(b"\0" * 8)
    with pytest.raises(ValueError, match=r"expected .*data\.\w+ as it was when the data set"):
        read_frames(source)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the file .*data\.\w+, which was"):
        read_frames(source)
