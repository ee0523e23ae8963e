"""Torch files: as torch loads them, and as our own reader takes them."""

import numpy as np
import pytest
import torch

from sciml.data.writers import array_sets
from sciml.data.writers.torch_file import write_torch
from tests.data.array_files import open_files, read_frames, read_targets
from tests.data.array_sources import ScalarFields, join

RNG = np.random.default_rng(36028797018963913)


def draw(*shape):
    return RNG.standard_normal(shape).astype("f4")


@pytest.fixture(params=[array_sets._BLOCK_BYTES, 700], autouse=True)
def _blocks(request, monkeypatch):
    monkeypatch.setattr(array_sets, "_BLOCK_BYTES", request.param)


@pytest.mark.parametrize("name", ["darcy", "nsforcing"])
def test_pairs(tmp_path, name):
    x, y = draw(5, 1, 9, 9), draw(5, 9, 9)
    if name == "darcy":
        x = np.where(x > 0, np.float32(12), np.float32(3))
        source = ScalarFields(x, y, periodic=False, fields=("coefficient", "solution"))
    else:
        source = ScalarFields(x, y, high=2 * np.pi, fields=("forcing", "vorticity"))
    progress = []
    path = write_torch(tmp_path / "set_train_9.pt", join(source), progress=progress.append)
    stored = torch.load(path, weights_only=True)
    assert list(stored) == ["x", "y"]
    assert stored["x"].is_contiguous()
    np.testing.assert_array_equal(stored["x"], x[:, 0])
    np.testing.assert_array_equal(stored["y"], y)
    assert progress[-1] == 5
    again = open_files("torch", [path])
    assert again.spec.name == name
    assert again.splits == {"train": range(5)}
    assert again.spec.in_fields == source.spec.in_fields
    assert again.spec.domain == source.spec.domain
    assert again.memory_mapped
    assert "turned" not in again.describe()
    for i in range(5):
        np.testing.assert_array_equal(read_frames(again, i), read_frames(source, i))
        np.testing.assert_array_equal(read_targets(again, i), read_targets(source, i))
    assert [p.name for p in tmp_path.iterdir()] == ["set_train_9.pt"]


def test_burgers_trajectories(tmp_path):
    frames = draw(4, 6, 11)
    times = 0.06 * np.arange(6)
    source = join(ScalarFields(frames, times=times, fields=("velocity",), viscosity=0.01))
    path = write_torch(tmp_path / "burgers.pt", source, trajectories=[2, 0])
    stored = torch.load(path, weights_only=True)
    np.testing.assert_array_equal(stored["x"], frames[[2, 0], 0])
    np.testing.assert_array_equal(stored["y"], frames[[2, 0]])
    assert stored["visc"].tolist() == [[0.01]]
    again = open_files("torch", [path])
    np.testing.assert_allclose(again.times(0), times)
    assert again.spec.constants == {"viscosity": 0.01}
    np.testing.assert_array_equal(read_frames(again, 1), read_frames(source, 0))


def test_what_readers_would_take_for_something_else_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises(
        ValueError, match=r"write_torch: expected .* steps of 0\.06, got .* 0\.1 "
    ):
        write_torch(path, ScalarFields(draw(3, 3, 8), times=(0.0, 0.1, 0.2)))
    with pytest.raises(ValueError, match=r"one-dimensional trajectories .* on 2 axes"):
        write_torch(path, ScalarFields(draw(3, 2, 8, 8), times=(0.0, 0.06)))
    with pytest.raises(ValueError, match="the periodic unit interval"):
        write_torch(path, ScalarFields(draw(3, 2, 8), times=(0.0, 0.06), periodic=False))
    with pytest.raises(ValueError, match="a square unit box, or a square periodic one"):
        write_torch(path, ScalarFields(draw(3, 1, 8, 8), draw(3, 8, 8), fields=("a", "b")))
    oblong = ScalarFields(draw(3, 1, 8, 6), draw(3, 8, 6), fields=("a", "b"), periodic=False)
    with pytest.raises(ValueError, match="a square unit box, or a square periodic one"):
        write_torch(path, oblong)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_behind(tmp_path):
    source = ScalarFields(draw(3, 2, 8), times=(0.0, 0.06))

    def fail(number):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_torch(tmp_path / "a.pt", source, progress=fail)
    assert not list(tmp_path.iterdir())
