"""The cache of turned arrays: bounded, atomic, shared between processes."""

import errno
import multiprocessing
import os
import time

import numpy as np
import pytest

from sciml.data.sources import array_sets_samples, cache
from sciml.data.sources.cache import ArrayCache
from tests.data.array_files import open_files, read_frames, write_matlab73

RNG = np.random.default_rng(281474976710597)


def filler(value):
    def fill(out):
        out[...] = value

    return fill


def entries(folder):
    return sorted(folder.glob("arrays/*.npy"))


def test_an_array_is_made_once_and_mapped(tmp_path):
    store = ArrayCache(tmp_path)
    first = store.obtain("key", (3, 5), filler(7))
    np.testing.assert_array_equal(first, np.full((3, 5), 7, "f4"))
    assert not first.flags.writeable

    def never(out):
        raise AssertionError("made twice")

    again = ArrayCache(tmp_path).obtain("key", (3, 5), never)
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(np.load(entries(tmp_path)[0]), first)


def test_damaged_entries_are_made_again(tmp_path):
    store = ArrayCache(tmp_path)
    store.obtain("key", (3, 5), filler(7))
    (entry,) = entries(tmp_path)
    for damage in (entry.read_bytes()[:-1], b"nothing"):
        entry.write_bytes(damage)
        np.testing.assert_array_equal(store.obtain("key", (3, 5), filler(8)), 8)
    np.testing.assert_array_equal(store.obtain("key", (5, 3), filler(9)), np.full((5, 3), 9))


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fail(out):
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        ArrayCache(tmp_path).obtain("key", (3, 5), fail)
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == [".lock"]


def test_a_full_disk_is_an_error_and_nothing_worse(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device; nothing was left behind"):
        ArrayCache(tmp_path).obtain("key", (3, 5), filler(1))
    assert not entries(tmp_path)
    monkeypatch.delattr(os, "posix_fallocate")
    np.testing.assert_array_equal(ArrayCache(tmp_path).obtain("key", (3, 5), filler(1)), 1)


def test_least_recently_used_entries_go_first(tmp_path):
    size = 4 * 1000 + 128
    store = ArrayCache(tmp_path, limit=3 * size)
    for number, name in enumerate("abc"):
        array = store.obtain(name, (1000,), filler(number))
        del array
        time.sleep(0.01)
    kept = store.obtain("a", (1000,), filler(99))
    assert kept[0] == 0  # still there, and now the most recently used one
    del kept
    store.obtain("d", (1000,), filler(3))
    values = sorted(int(np.load(path)[0]) for path in entries(tmp_path))
    assert values == [0, 2, 3]


def test_entries_in_use_stay(tmp_path):
    size = 4 * 1000 + 128
    store = ArrayCache(tmp_path, limit=2 * size)
    held = [store.obtain(name, (1000,), filler(1)) for name in "ab"]
    with pytest.raises(
        OSError, match=r"do not fit into the cache .* in use; raise SCIML_CACHE"
    ):
        store.obtain("c", (1000,), filler(2))
    del held[0]
    np.testing.assert_array_equal(store.obtain("c", (1000,), filler(2)), 2)
    np.testing.assert_array_equal(held[0], 1)
    with pytest.raises(OSError, match="do not fit"):
        store.obtain("large", (3000,), filler(2))
    assert len(entries(tmp_path)) == 2


def test_files_of_others_are_never_removed(tmp_path):
    (tmp_path / "arrays").mkdir()
    own = [tmp_path / "arrays" / "mine.npy", tmp_path / "data.npy"]
    for path in own:
        path.write_bytes(b"\0" * 10_000)
    ArrayCache(tmp_path, limit=5000).obtain("key", (1000,), filler(1))
    assert all(path.stat().st_size == 10_000 for path in own)


def test_limit(tmp_path, monkeypatch):
    assert 0 < ArrayCache(tmp_path / "not" / "there").limit() <= 50 * 10**9
    monkeypatch.setenv("SCIML_CACHE_BYTES", "2e9")
    assert ArrayCache(tmp_path).limit() == 2 * 10**9
    assert ArrayCache(tmp_path, limit=5).limit() == 5
    monkeypatch.setenv("SCIML_CACHE_BYTES", "much")
    with pytest.raises(ValueError, match=r"expected a number of bytes in SCIML_CACHE_BYTES"):
        ArrayCache(tmp_path)


def test_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "named"))
    assert ArrayCache().folder == tmp_path / "named" / "arrays"
    monkeypatch.delenv("SCIML_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ArrayCache().folder == tmp_path / ".cache" / "sciml" / "arrays"


def _make_slowly(folder, start, results):
    start.wait()
    made = []

    def fill(out):
        made.append(1)
        time.sleep(0.2)
        out[...] = np.arange(out.size).reshape(out.shape)

    array = ArrayCache(folder).obtain("key", (50, 40), fill)
    results.put((len(made), float(array.sum())))


def test_two_processes_make_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(3), context.Queue()
    workers = [
        context.Process(target=_make_slowly, args=(tmp_path, start, results)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    got = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(made for made, _ in got) == [0, 0, 1]
    assert {total for _, total in got} == {sum(range(2000))}


def _read_all(path, results):
    source = open_files("matlab73", [path])
    frames = [read_frames(source, i) for i in range(source.num_trajectories)]
    results.put(float(np.stack(frames).sum(dtype="f8")))


@pytest.fixture
def rollouts(tmp_path, monkeypatch):
    """A v7.3 file with every array taken for a large one, turned in small blocks."""
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(array_sets_samples, "SMALL_BYTES", 0)
    monkeypatch.setattr(array_sets_samples, "_BLOCK_BYTES", 3000)
    values = RNG.standard_normal((9, 7, 7, 5)).astype("f4")
    return tmp_path / "rollouts.mat", values


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (2, 3, 4, 5)}, {"chunks": True, "compression": "gzip"}]
)
def test_rollout_files_are_turned_into_the_cache(tmp_path, rollouts, options):
    path, values = rollouts
    write_matlab73(path, {"u": values}, **options)
    source = open_files("matlab73", [path])
    assert "turned into the cache at first use, then memory map" in source.describe()
    assert source.memory_mapped
    assert not entries(tmp_path / "cache")
    for i in (8, 0, 4):
        np.testing.assert_array_equal(
            read_frames(source, i)[:, 0], np.moveaxis(values[i], -1, 0)
        )
    (entry,) = entries(tmp_path / "cache")
    np.testing.assert_array_equal(np.load(entry), np.moveaxis(values, -1, 1))
    made = entry.stat().st_ino
    again = open_files("matlab73", [path])
    read_frames(again)
    assert [p.stat().st_ino for p in entries(tmp_path / "cache")] == [made]


def test_a_changed_file_is_turned_again(tmp_path, rollouts):
    path, values = rollouts
    write_matlab73(path, {"u": values})
    read_frames(open_files("matlab73", [path]))
    write_matlab73(path, {"u": values + 1})
    os.utime(path, ns=(1, 1))
    source = open_files("matlab73", [path])
    np.testing.assert_array_equal(
        read_frames(source, 3)[:, 0], np.moveaxis(values[3] + 1, -1, 0)
    )


def test_processes_share_the_turned_file(tmp_path, rollouts):
    path, values = rollouts
    write_matlab73(path, {"u": values})
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_read_all, args=(path, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    totals = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    np.testing.assert_allclose(totals, values.sum(dtype="f8"), rtol=1e-12)
    assert len(entries(tmp_path / "cache")) == 1


def test_without_room_files_are_read_in_place_and_say_so(tmp_path, rollouts, monkeypatch):
    path, values = rollouts
    write_matlab73(path, {"u": values})
    monkeypatch.setenv(cache.BYTES_VARIABLE, "100")
    source = open_files("matlab73", [path])
    np.testing.assert_array_equal(read_frames(source, 3)[:, 0], np.moveaxis(values[3], -1, 0))
    assert "not cached" in source.describe()
    assert "do not fit into the cache" in source.describe()
    assert not entries(tmp_path / "cache")


def test_compressed_files_need_room(tmp_path, rollouts, monkeypatch):
    _, values = rollouts
    np.savez_compressed(tmp_path / "a.npz", u=values)
    monkeypatch.setenv(cache.BYTES_VARIABLE, "100")
    source = open_files("npz", [tmp_path / "a.npz"])
    with pytest.raises(ValueError, match=r"room in the cache for .*'u' of .*a\.npz"):
        read_frames(source)
