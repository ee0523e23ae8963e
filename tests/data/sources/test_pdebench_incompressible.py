import h5py
import numpy as np
import pytest

from tests.data.sources.pdebench_files import (
    open_files,
    read_all,
    replace_array,
    set_attribute,
    write_incompressible,
)
from tests.golden import golden_path


def test_flow_and_force(tmp_path):
    values, force = write_incompressible(tmp_path / "ns_incom_inhom_2d_512-3.h5")
    source = open_files(tmp_path / "ns_incom_inhom_2d_512-3.h5")
    spec = source.spec
    assert spec.name == "incompressible_navier_stokes"
    assert [(f.name, f.rank, f.components) for f in spec.in_fields] == [
        ("particles", 0, 1),
        ("velocity", 1, 2),
    ]
    assert [(f.name, f.rank) for f in source.static_fields] == [("force", 1)]
    assert (spec.domain.low, spec.domain.high) == ((0.0, 0.0), (6.0, 4.0))
    assert spec.constants == {"NU": 0.01}
    assert spec.dt == 0.5
    np.testing.assert_array_equal(source.boundary(1), np.zeros((2, 2)))
    np.testing.assert_array_equal(read_all(source), values)
    out = np.empty((2, 6, 4), "f4")
    for i in range(2):
        source.read_static(i, out)
        np.testing.assert_array_equal(out, force[i])


def test_files_of_seeds_are_one_data_set(tmp_path):
    for seed in (0, 1):
        write_incompressible(tmp_path / f"{seed}.h5", count=seed + 1)
    source = open_files(tmp_path / "0.h5", tmp_path / "1.h5")
    assert source.num_trajectories == 3


def test_frames_of_a_crashed_run_are_left_out(tmp_path):
    values, _ = write_incompressible(tmp_path / "a.h5", latest=2)
    source = open_files(tmp_path / "a.h5")
    assert source.lengths.tolist() == [3, 3]
    assert "3 of 5 frames were written" in source.describe()
    np.testing.assert_allclose(source.times(1), [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(read_all(source), values[:, :3])


@pytest.mark.parametrize("attribute", ["latestIndex", "config"])
def test_missing_attributes(tmp_path, attribute):
    values, _ = write_incompressible(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file.attrs[attribute]
    source = open_files(tmp_path / "a.h5")
    np.testing.assert_array_equal(read_all(source), values)


@pytest.mark.parametrize("back_end", ["auto", "h5py"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_strides_of_frames(tmp_path, back_end, stride):
    values, _ = write_incompressible(tmp_path / "a.h5", num_steps=9)
    source = open_files(tmp_path / "a.h5", back_end=back_end)
    expected = values[1, 1:9:stride]
    out = np.empty_like(expected)
    source.read(1, 1, 9, stride, out)
    np.testing.assert_array_equal(out, expected)


DAMAGE = {
    "no force": (lambda f: f.__delitem__("force"), r"'force'"),
    "velocity": (
        replace_array("velocity", np.zeros((2, 5, 6, 4, 3))),
        r"any, any, any, any, 2",
    ),
    "axes": (replace_array("velocity", np.zeros((2, 5, 6))), r"any, any, any, any, 2"),
    "particles": (replace_array("particles", np.zeros((2, 4, 6, 4, 1))), r"\(2, 5, 6, 4, 1\)"),
    "times": (replace_array("t", np.zeros(5)), r"\(2, 5\)"),
    "no times": (replace_array("t", np.zeros((2, 5))), r"times that increase"),
    "nothing written": (set_attribute("latestIndex", -1), r"attribute latestIndex"),
    "word": (set_attribute("latestIndex", "all"), r"attribute latestIndex"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_files(tmp_path, damage, message):
    write_incompressible(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        damage(file)
    with pytest.raises(ValueError, match=rf"(?s)^open_source: expected .*{message}") as error:
        open_files(tmp_path / "a.h5")
    assert "a.h5" in str(error.value)


def test_golden_flow_is_divergence_free():
    source = open_files(golden_path("pdebench_ns_incomp.hdf5"))
    assert source.spec.constants == {"NU": 0.01}
    assert source.lengths.tolist() == [11, 11]
    assert source.spec.dt == pytest.approx(0.08)
    velocity = read_all(source)[:, 1:, 1:].astype("f8")
    x, y = velocity[:, :, 0], velocity[:, :, 1]
    inside = (..., slice(2, -2), slice(2, -2))
    divergence = (np.gradient(x, axis=-2) + np.gradient(y, axis=-1))[inside]
    swapped = (np.gradient(y, axis=-2) + np.gradient(x, axis=-1))[inside]
    assert np.linalg.norm(divergence) < 0.1 * np.linalg.norm(swapped)
