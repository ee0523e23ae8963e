"""Files of named arrays through the public door."""

import numpy as np
import pytest
import torch

from sciml.data.sources import open_source
from tests.data.array_files import CONTAINERS, read_frames, read_targets

RNG = np.random.default_rng(144115188075855859)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("container", CONTAINERS)
def test_content_decides(tmp_path, container):
    _, _, write = CONTAINERS[container]
    u = RNG.standard_normal((3, 5, 5, 4)).astype("f4")
    path = tmp_path / "set" / ("data" if "npz" not in container else "data.npz")
    path.parent.mkdir()
    write(path.with_suffix(".mat") if "v5" in container else path, {"u": u})
    source = open_source(path.parent)
    assert source.spec.name == "navier_stokes"
    np.testing.assert_array_equal(read_frames(source, 2)[:, 0], np.moveaxis(u[2], -1, 0))


def test_a_folder_of_arrays_is_one_set(tmp_path):
    x, y, q = (RNG.random((4, *c, 7, 5)).astype("f4") for c in ((), (), (3,)))
    for name, values in {"X": x, "Y": y, "Q": q}.items():
        np.save(tmp_path / f"Pipe_{name}.npy", values)
    source = open_source(tmp_path)
    assert (source.spec.name, source.num_trajectories) == ("pipe", 4)
    np.testing.assert_array_equal(read_targets(source, 3)[0], q[3, 0])
    with pytest.raises(ValueError, match=r"Pipe_Q\.npy with array|Pipe_Q\.npy with Q"):
        open_source(tmp_path / "Pipe_Q.npy")


def test_split_folders(tmp_path):
    for split, n in (("train", 3), ("test", 2)):
        (tmp_path / split).mkdir()
        x = torch.rand(n, 6, 6)
        torch.save({"x": x, "y": 2 * x}, tmp_path / split / "nsforcing_6.pt")
    source = open_source(tmp_path)
    assert source.splits == {"train": range(3), "test": range(3, 5)}
    for i in range(5):
        np.testing.assert_array_equal(read_targets(source, i)[None], 2 * read_frames(source, i))


def test_empty_sets_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", u=np.zeros((0, 5, 5, 4)))
    with pytest.raises(
        ValueError, match=r"expected samples in 'u' of .*a\.npz, got shape \(0, "
    ):
        open_source(tmp_path / "a.npz")


def test_clouds_without_extent_are_refused(tmp_path):
    flat = torch.zeros(9, 4)
    arrays = {"x": flat, "y": flat, "u": flat, "mu": torch.zeros(4, 2)}
    torch.save(arrays, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"points that span a box in .*a\.pt"):
        open_source(tmp_path / "a.pt")
    torch.save([{"vertices": flat[:, :3] * np.nan, "press": flat[:1]}], tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"as many pressures as vertices"):
        open_source(tmp_path / "a.pt")


def test_archives_without_known_arrays_list_what_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", objects=np.array([{}, None], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"objects \(Python objects, which are never read\)"):
        open_source(tmp_path / "a.npz")
