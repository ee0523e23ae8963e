"""Recipes on grids, in every container that can hold them."""

import numpy as np
import pytest

from tests.data.array_files import (
    CONTAINERS,
    open_files,
    read_frames,
    read_targets,
    write_and_open,
)

RNG = np.random.default_rng(70368760954879)


def draw(*shape, dtype="f4"):
    return RNG.standard_normal(shape).astype(dtype)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=CONTAINERS)
def container(request):
    return request.param


def test_fno_navier_stokes(tmp_path, container):
    u = draw(5, 7, 7, 4)
    arrays = {"a": draw(5, 7, 7), "u": u, "t": np.array([[1.0, 2.0, 3.0, 4.0]])}
    source = write_and_open(tmp_path, container, arrays, "NavierStokes_V1e-5_N1200_T20")
    spec = source.spec
    assert (spec.name, spec.resolution, spec.dt) == ("navier_stokes", (7, 7), 1.0)
    assert spec.periodic == (True, True)
    assert not spec.paired
    assert [f.name for f in spec.in_fields] == ["vorticity"]
    assert spec.constants == {"viscosity": 1e-5}
    assert source.split_preset == "fno_ns"
    assert source.lengths.tolist() == [4] * 5
    np.testing.assert_array_equal(source.times(0), [1, 2, 3, 4])
    for i in (0, 4):
        expected = np.moveaxis(u[i], -1, 0)[:, None]
        np.testing.assert_array_equal(read_frames(source, i), expected)
        np.testing.assert_array_equal(read_frames(source, i, 1, 4, 2), expected[1:4:2])
    assert "variable a, the vorticity at time 0, is not read" in source.describe()


def test_fno_navier_stokes_without_times_counts_from_one(tmp_path):
    source = write_and_open(tmp_path, "v7.3", {"u": draw(2, 5, 5, 3)})
    np.testing.assert_array_equal(source.times(1), [1, 2, 3])
    assert "variable a" not in source.describe()
    assert source.spec.constants == {}


def test_a_set_of_one_sample(tmp_path, container):
    u = draw(1, 5, 5, 3)
    source = write_and_open(tmp_path, container, {"u": u})
    np.testing.assert_array_equal(read_frames(source)[:, 0], np.moveaxis(u[0], -1, 0))


def test_times_that_do_not_increase_are_refused(tmp_path):
    arrays = {"u": draw(2, 5, 5, 3), "t": np.array([1.0, np.nan, 3.0])}
    with pytest.raises(ValueError, match=r"expected increasing times in .*data\.pt"):
        write_and_open(tmp_path, "torch", arrays)


@pytest.mark.parametrize("container", ["v5", "v7.3"])
def test_fno_darcy_pair_of_files(tmp_path, container):
    name, suffix, write = CONTAINERS[container]
    parts = {}
    for role, r in (("smooth1", 9), ("smooth2", 9)):
        arrays = {"coeff": draw(3, r, r), "sol": draw(3, r, r), "Kcoeff": draw(3, r, r)}
        parts[role] = arrays
        write(tmp_path / f"piececonst_r{r}_N1024_{role}{suffix}", arrays)
    source = open_files(name, sorted(tmp_path.glob("*.mat")))
    assert source.splits == {"train": range(3), "test": range(3, 6)}
    assert source.split_preset == "fno_darcy"
    spec = source.spec
    assert (spec.name, spec.resolution, spec.dt) == ("darcy", (9, 9), None)
    assert spec.periodic == (False, False)
    assert [f.name for f in spec.in_fields + spec.out_fields] == ["coefficient", "solution"]
    np.testing.assert_array_equal(read_frames(source, 4)[0, 0], parts["smooth2"]["coeff"][1])
    np.testing.assert_array_equal(read_targets(source, 4)[0], parts["smooth2"]["sol"][1])
    assert "not read: Kcoeff" in source.describe()


def test_fno_burgers(tmp_path, container):
    a, u = draw(4, 11, dtype="f8"), draw(4, 11, dtype="f8")
    source = write_and_open(tmp_path, container, {"a": a, "u": u, "a_x": a}, "burgers_R10")
    assert (source.spec.name, source.spec.periodic) == ("burgers", (True,))
    np.testing.assert_array_equal(read_frames(source, 3)[0, 0], a[3].astype("f4"))
    np.testing.assert_array_equal(read_targets(source, 3)[0], u[3].astype("f4"))


def test_pino_burgers(tmp_path, container):
    output = draw(3, 6, 8)
    arrays = {"input": output[:, 0], "output": output, "visc": np.array([[0.01]])}
    source = write_and_open(tmp_path, container, arrays)
    assert source.spec.dt == 0.2
    assert source.spec.constants == {"viscosity": 0.01}
    np.testing.assert_array_equal(read_frames(source, 2)[:, 0], output[2])


def test_burgers_with_times_and_a_viscosity_for_each_sample(tmp_path):
    output = draw(3, 4, 8)
    arrays = {
        "input": output[:, 0],
        "output": output,
        "tspan": np.array([[0.0, 0.5, 1.0, 1.5]]),
        "visc": np.array([[0.1, 0.2, 0.3]]),
    }
    source = write_and_open(tmp_path, "v5", arrays)
    assert (source.spec.dt, source.spec.params) == (0.5, ("viscosity",))
    assert source.params(2) == [0.3]


def test_neuralop_burgers(tmp_path, container):
    y = draw(3, 17, 8, dtype="f8")
    arrays = {"x": y[:, 0], "y": y, "visc": np.array([[0.01]])}
    source = write_and_open(tmp_path, container, arrays, "burgers_train_16")
    assert source.spec.dt == 0.06
    np.testing.assert_allclose(source.times(0), 0.06 * np.arange(17))
    assert source.splits == {"train": range(3)}
    np.testing.assert_array_equal(read_frames(source, 1)[:, 0], y[1].astype("f4"))


@pytest.mark.parametrize("dtype", ["?", "f4"])
def test_neuralop_darcy_has_two_values(tmp_path, container, dtype):
    x = RNG.random((4, 6, 6)) < 0.5
    y = draw(4, 6, 6)
    source = write_and_open(tmp_path, container, {"x": x.astype(dtype), "y": y})
    assert source.spec.name == "darcy"
    np.testing.assert_array_equal(read_frames(source, 3)[0, 0], x[3])
    np.testing.assert_array_equal(read_targets(source, 3)[0], y[3])


def test_neuralop_nsforcing_is_periodic(tmp_path, container):
    x, y = draw(4, 6, 6), draw(4, 6, 6)
    source = write_and_open(tmp_path, container, {"x": x, "y": y})
    spec = source.spec
    assert (spec.name, spec.periodic) == ("nsforcing", (True, True))
    assert spec.domain.high == (2 * np.pi, 2 * np.pi)
    np.testing.assert_array_equal(read_targets(source, 2)[0], y[2])


def test_files_of_other_resolutions_are_left_out(tmp_path):
    _, suffix, write = CONTAINERS["torch"]
    for role, s in (("train", 6), ("test", 6), ("test", 12)):
        x = RNG.random((4, s, s)) < 0.5
        write(tmp_path / f"darcy_{role}_{s}{suffix}", {"x": x, "y": draw(4, s, s)})
    source = open_files("torch", sorted(tmp_path.iterdir()))
    assert source.spec.resolution == (6, 6)
    assert source.splits == {"train": range(4), "test": range(4, 8)}
    assert "left out: darcy_test_12.pt (another resolution)" in source.describe()
    x = RNG.random((4, 12, 12)) < 0.5
    write(tmp_path / f"darcy_train_12{suffix}", {"x": x, "y": draw(4, 12, 12)})
    with pytest.raises(ValueError, match="expected training files of one resolution"):
        open_files("torch", sorted(tmp_path.iterdir()))


def test_files_of_several_sets_are_refused(tmp_path):
    _, suffix, write = CONTAINERS["torch"]
    write(tmp_path / f"a{suffix}", {"x": draw(4, 6, 6), "y": draw(4, 6, 6)})
    write(tmp_path / f"b{suffix}", {"a": draw(4, 6), "u": draw(4, 6)})
    with pytest.raises(ValueError, match=r"got 2: nsforcing \(a\.pt\), burgers \(b\.pt\)"):
        open_files("torch", sorted(tmp_path.iterdir()))


@pytest.mark.parametrize("order", ["n t x y", "n x y t"])
def test_kolmogorov_order_is_found_by_the_odd_axis(tmp_path, order):
    frames = draw(3, 5, 8, 8)
    stored = frames if order == "n t x y" else np.moveaxis(frames, 1, 3)
    np.save(tmp_path / "NS_fine_Re500_T128_part0.npy", stored)
    np.save(tmp_path / "NS_fine_Re500_T128_part1.npy", stored[:2] + 1)
    source = open_files("npy", sorted(tmp_path.iterdir()))
    spec = source.spec
    assert (spec.name, spec.resolution) == ("kolmogorov", (8, 8))
    assert spec.constants == {"reynolds_number": 500.0}
    assert source.lengths.tolist() == [5] * 5
    np.testing.assert_array_equal(read_frames(source, 2)[:, 0], frames[2])
    np.testing.assert_array_equal(read_frames(source, 4, 1, 5, 3)[:, 0], frames[1, 1:5:3] + 1)


@pytest.mark.parametrize("shape", [(3, 6, 8, 8), (3, 5, 7, 8), (3, 5, 7, 7), (3, 5, 8, 6)])
def test_kolmogorov_that_is_ambiguous_is_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, "f4"))
    with pytest.raises(ValueError, match=r"with array \(3, .*PINO Kolmogorov: one array"):
        open_files("npy", [tmp_path / "a.npy"])


def test_unknown_contents_name_variables_and_recipes(tmp_path, container):
    arrays = {"pressure": draw(4, 6, 6), "step": np.array([[1.0]])}
    with pytest.raises(
        ValueError, match=r"pressure \(4, 6, 6\) float32, step .*FNO Darcy: coeff, sol"
    ):
        write_and_open(tmp_path, container, arrays)


def test_complex_fields_are_refused(tmp_path):
    u = draw(2, 5, 5, 3).astype("c8")
    for container in ("v5", "torch", "npz"):
        with pytest.raises(ValueError, match=r"expected real numbers in 'u' of .*complex64"):
            write_and_open(tmp_path, container, {"u": u})


def test_samples_that_disagree_are_refused(tmp_path):
    output = draw(3, 4, 8)
    np.savez(tmp_path / "a.npz", input=output[:, 0], output=output)
    open_files("npz", [tmp_path / "a.npz"])
    np.savez(tmp_path / "b.npz", input=output[:2, 0], output=output)
    with pytest.raises(ValueError, match="expected the variables of a known data set"):
        open_files("npz", [tmp_path / "b.npz"])


@pytest.mark.parametrize("container", ["v5", "v7.3", "torch", "npz"])
def test_read_in_place_is_bit_equal(tmp_path, container):
    u = draw(5, 7, 7, 4, dtype="f8")
    turned = write_and_open(tmp_path, container, {"u": u})
    name, suffix, _ = CONTAINERS[container]
    placed = open_files(name, [tmp_path / f"data{suffix}"], "mmap")
    assert "turned" in turned.describe()
    assert "turned" not in placed.describe()
    for i in range(5):
        expected = np.moveaxis(u[i], -1, 0).astype("f4")[:, None]
        np.testing.assert_array_equal(read_frames(turned, i), expected)
        np.testing.assert_array_equal(read_frames(placed, i), expected)
        np.testing.assert_array_equal(read_frames(placed, i, 1, 4, 2), expected[1:4:2])


def test_back_ends_that_cannot_read_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"back end h5py can read, got 'u' of .*data\.npz"):
        write_and_open(tmp_path, "npz", {"u": draw(2, 5, 5, 3)}, back_end="h5py")
    with pytest.raises(ValueError, match=r"back end mmap can read, got 'u' .*compressed"):
        write_and_open(tmp_path, "npz compressed", {"u": draw(2, 5, 5, 3)}, back_end="mmap")
