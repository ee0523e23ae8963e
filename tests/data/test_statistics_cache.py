import functools
import os

import numpy as np
import pytest
import torch

from sciml.data.dataset import open_dataset
from sciml.data.module import DataModule
from sciml.data.sources import open_source
from sciml.data.sources.selected import SelectedSource
from sciml.data.sources.wrapped import WrappedSource
from sciml.data.statistics import source_statistics
from sciml.data.statistics_cache import cached_statistics
from tests.data.pairs import Pairs
from tests.data.well_files import Field, write_well


class Counting(WrappedSource):
    def __init__(self, source):
        super().__init__(source)
        self.reads = 0

    def read(self, *given):
        self.reads += 1
        super().read(*given)


@pytest.fixture
def source(tmp_path):
    write_well(tmp_path / "data.h5", fields=[Field("a"), Field("b")], num_steps=6)
    return Counting(open_source(tmp_path / "data.h5"))


def cached(source, folder, trajectories=(0, 2), **options):
    return cached_statistics(source, trajectories, folder=folder, fewest_values=0, **options)


def same(left, right):
    for part in ("field", "output", "increment"):
        one, other = getattr(left, part), getattr(right, part)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.count == other.count
            for name in ("mean", "squared_deviations", "minimum", "maximum"):
                assert torch.equal(getattr(one, name), getattr(other, name)), name
    return True


@pytest.mark.parametrize("options", [{}, {"lag": 2}, {"per_point": True}])
def test_second_pass_reads_nothing_and_is_equal_bit_for_bit(source, tmp_path, options):
    first = cached(source, tmp_path / "kept", **options)
    assert same(first, source_statistics(source.source, (0, 2), **options))
    reads = source.reads
    assert reads > 0
    assert same(cached(source, tmp_path / "kept", **options), first)
    assert source.reads == reads


def test_every_part_of_the_key_counts(source, tmp_path):
    folder = tmp_path / "kept"
    cached(source, folder)
    for options in ({"trajectories": (0, 1)}, {"lag": 2}, {"per_point": True}):
        before = source.reads
        cached(source, folder, **options)
        assert source.reads > before
    other = Counting(SelectedSource(source.source, ["b"]))
    assert len(cached(other, folder).field.mean) == 1
    path = tmp_path / "data.h5"
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    before = source.reads
    cached(source, folder)
    assert source.reads > before
    assert len(list(folder.iterdir())) == 6


def test_pairs_have_no_increment(tmp_path, monkeypatch):
    monkeypatch.setattr(Pairs, "fingerprint", "pairs")
    pairs = Counting(Pairs(5))
    first = cached(pairs, tmp_path)
    assert first.increment is None
    reads = pairs.reads
    assert same(cached(pairs, tmp_path), first)
    assert pairs.reads == reads


@pytest.mark.parametrize("damage", ["cut", "emptied", "other", "pickle"])
def test_damaged_entries_are_made_again(source, tmp_path, damage):
    folder = tmp_path / "kept"
    expected = cached(source, folder)
    (entry,) = folder.iterdir()
    if damage == "cut":
        entry.write_bytes(entry.read_bytes()[:200])
    elif damage == "emptied":
        entry.write_bytes(b"")
    elif damage == "other":
        with entry.open("wb") as file:
            np.savez(file, unrelated=np.zeros(3))
    else:
        with entry.open("wb") as file:
            np.savez(file, **{"field.count": np.array([print], dtype=object)})
    before = source.reads
    assert same(cached(source, folder), expected)
    assert source.reads > before
    before = source.reads
    assert same(cached(source, folder), expected)
    assert source.reads == before


def test_folder_that_cannot_be_written_costs_the_entry_only(source, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    found = cached(source, blocked / "kept")
    assert same(found, source_statistics(source, (0, 2)))
    assert "statistics of toy are not kept" in caplog.text


def test_folder_of_the_environment_and_small_data_sets(tmp_path, monkeypatch):
    write_well(tmp_path / "data.h5", num_trajectories=10)
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "cache"))
    DataModule(open_dataset(tmp_path / "data.h5")).statistics()
    assert not (tmp_path / "cache").exists()
    counted = functools.partial(cached_statistics, fewest_values=8 * 5 * 24)
    monkeypatch.setattr("sciml.data.module.cached_statistics", counted)
    DataModule(open_dataset(tmp_path / "data.h5")).statistics()
    assert len(list((tmp_path / "cache" / "statistics").glob("*.npz"))) == 1
