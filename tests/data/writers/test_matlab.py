"""MATLAB v5 files: as scipy reads them, and as our own reader takes them."""

import numpy as np
import pytest
import scipy.io

from sciml.data.writers import array_sets
from sciml.data.writers.matlab import write_matlab
from tests.data.array_files import open_files, read_frames, read_targets
from tests.data.array_sources import ScalarFields, join

RNG = np.random.default_rng(18014398509481951)


def draw(*shape):
    return RNG.standard_normal(shape).astype("f4")


@pytest.fixture(params=[array_sets._BLOCK_BYTES, 700])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(array_sets, "_BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("first", [0.0, 1.0])
def test_navier_stokes(tmp_path, first):
    values = draw(5, 4, 7, 7)
    times = first + np.arange(4.0)
    source = join(ScalarFields(values, times=times, viscosity=1e-4))
    progress = []
    path = write_matlab(tmp_path / "V1e-4" / "ns_V1e-4.mat", source, progress=progress.append)
    stored = scipy.io.loadmat(path)
    assert stored["u"].dtype == np.float32
    np.testing.assert_array_equal(stored["u"], np.moveaxis(values, 1, -1))
    np.testing.assert_array_equal(stored["t"], times[None])
    assert ("a" in stored) == (first == 0.0)
    if first == 0.0:
        np.testing.assert_array_equal(stored["a"], values[:, 0])
    assert progress[-1] == 5
    again = open_files("matlab5", [path])
    assert (again.spec.name, again.spec.dt) == ("navier_stokes", 1.0)
    assert again.spec.constants == {"viscosity": 1e-4}
    assert again.spec.domain == source.spec.domain
    np.testing.assert_array_equal(again.times(0), times)
    for i in range(5):
        np.testing.assert_array_equal(read_frames(again, i), read_frames(source, i))


@pytest.mark.usefixtures("_blocks")
def test_darcy(tmp_path):
    x, y = draw(5, 1, 9, 9), draw(5, 9, 9)
    source = join(ScalarFields(x, y, periodic=False, fields=("coefficient", "solution")))
    path = write_matlab(tmp_path / "smooth2.mat", source, trajectories=[3, 1])
    stored = scipy.io.loadmat(path)
    np.testing.assert_array_equal(stored["coeff"], x[[3, 1], 0])
    np.testing.assert_array_equal(stored["sol"], y[[3, 1]])
    again = open_files("matlab5", [path])
    assert again.splits == {"test": range(2)}
    assert again.spec.in_fields == source.spec.in_fields
    assert again.spec.domain == source.spec.domain
    np.testing.assert_array_equal(read_targets(again, 1), read_targets(source, 1))


def test_burgers_pairs_and_trajectories(tmp_path):
    a, u = draw(3, 1, 11), draw(3, 11)
    source = join(ScalarFields(a, u, fields=("initial_velocity", "velocity")))
    again = open_files("matlab5", [write_matlab(tmp_path / "pairs.mat", source)])
    np.testing.assert_array_equal(read_frames(again, 2), read_frames(source, 2))
    np.testing.assert_array_equal(read_targets(again, 2), read_targets(source, 2))
    assert again.spec.domain == source.spec.domain
    times = 0.25 * np.arange(5)
    source = join(ScalarFields(draw(3, 5, 11), times=times, viscosity=0.1))
    again = open_files("matlab5", [write_matlab(tmp_path / "frames.mat", source)])
    np.testing.assert_array_equal(again.times(0), times)
    assert again.spec.constants == {"viscosity": 0.1}
    np.testing.assert_array_equal(read_frames(again, 2), read_frames(source, 2))


def test_the_same_contents_give_the_same_bytes(tmp_path):
    source = join(ScalarFields(draw(3, 2, 5, 5), times=(1.0, 2.0)))
    paths = [write_matlab(tmp_path / f"{name}.mat", source) for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mat", "b.mat"]


REFUSED = {
    "another side": ({"high": 2.0}, "unit interval or a square unit box"),
    "not periodic": ({"periodic": False}, "a periodic domain, or a pair on a square"),
    "two fields": ({"fields": ("u", "v")}, "one scalar field, or a pair"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_the_format_cannot_hold_is_refused(tmp_path, options, message):
    source = ScalarFields(draw(3, 2, 5, 5), times=(1.0, 2.0), **options)
    with pytest.raises(ValueError, match=f"write_matlab: expected .*{message}"):
        write_matlab(tmp_path / "a.mat", source)
    assert not list(tmp_path.iterdir())


def test_other_shapes_and_sizes_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(ValueError, match="square unit box"):
        write_matlab(path, ScalarFields(draw(3, 2, 5, 6), times=(1.0, 2.0)))
    with pytest.raises(ValueError, match="square unit box"):
        write_matlab(path, ScalarFields(draw(3, 2, 4, 4, 4), times=(1.0, 2.0)))
    with pytest.raises(ValueError, match="trajectories of one length, got lengths"):
        write_matlab(path, ScalarFields(draw(3, 2, 5, 5), times=(1.0, 2.0)), trajectories=[])
    large = np.broadcast_to(np.float32(0), (600, 1000, 1, 1000))[:, :, 0]
    times = np.arange(1000.0)
    with pytest.raises(ValueError, match=r"at most 2147483647 bytes .* 'output' of shape"):
        write_matlab(path, ScalarFields(large, times=times))
    several = ScalarFields(draw(2, 2, 5), times=(1.0, 2.0), viscosity=[0.1, 0.2])
    with pytest.raises(ValueError, match="the same parameters in all trajectories"):
        write_matlab(path, join(several))


def test_a_failure_leaves_nothing_behind(tmp_path):
    source = ScalarFields(draw(3, 2, 5, 5), times=(1.0, 2.0))

    def fail(number):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_matlab(tmp_path / "a.mat", source, progress=fail)
    assert not list(tmp_path.iterdir())
