"""What a file in The Well's layout says about itself, and what is wrong with it."""

import h5py
import numpy as np
import pytest

from sciml.data.sources import open_source
from sciml.domain import Box
from tests.data.well_files import Field, Scalar, read_all, write_well


def test_box_of_periodic_bounded_and_cell_grids(tmp_path):
    n = 48
    write_well(tmp_path / "periodic.h5", resolution=(n, n))
    assert open_source(tmp_path / "periodic.h5").spec.domain == Box(
        ("x", "y"), (0.0, 0.0), (1.0, 1.0), (True, True)
    )
    points = [np.linspace(-1, 1, n, dtype="f4"), ((np.arange(n) + 0.5) / n * 3).astype("f4")]
    boundary = {"x": "WALL", "y": "OPEN"}
    write_well(tmp_path / "bounded.h5", resolution=(n, n), points=points, boundary=boundary)
    source = open_source(tmp_path / "bounded.h5")
    assert source.spec.domain == Box(("x", "y"), (-1.0, 0.0), (1.0, 3.0), (False, False))
    assert source.spec.grid == ("vertex", "cell")
    assert source.boundary(1).tolist() == [[0, 0], [1, 1]]


def test_wall_needs_the_whole_edge_and_open_is_the_default(tmp_path):
    write_well(tmp_path / "a.h5", boundary={"x": "PERIODIC"})
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        for name, kind, rows in (("part", "WALL", slice(1, 3)), ("whole", "WALL", slice(None))):
            group = file.create_group(f"boundary_conditions/{name}")
            group.attrs["associated_dims"] = ["x", "y"]
            group.attrs["bc_type"] = kind
            mask = np.zeros((6, 4), bool)
            mask[rows, 0 if name == "part" else -1] = True
            group["mask"] = mask
    assert open_source(tmp_path).boundary(0).tolist() == [[2, 2], [1, 0]]


def test_boundary_may_differ_between_trajectories(tmp_path):
    write_well(tmp_path / "a.h5", boundary={"y": "PERIODIC"})
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        group = file.create_group("boundary_conditions/x_wall")
        group.attrs["associated_dims"] = ["x"]
        group.attrs["bc_type"] = "WALL"
        group.attrs["sample_varying"] = True
        mask = np.zeros((3, 6), bool)
        mask[1, 0] = mask[2, -1] = True
        group["mask"] = mask
    source = open_source(tmp_path)
    codes = [source.boundary(i)[0].tolist() for i in range(3)]
    assert codes == [[1, 1], [0, 1], [1, 0]]
    assert source.spec.periodic == (False, True)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"resolution": (6, 5)}, "resolution"),
        ({"fields": [Field("pressure")]}, "fields"),
        ({"boundary": {"x": "WALL"}}, "periodicity"),
        ({"times": np.arange(5.0)}, "time step"),
        ({"scalars": [Scalar("beta", 1.0)]}, "scalars"),
        ({"name": "other"}, "data set name"),
    ],
)
def test_odd_file_is_named_with_what_differs(tmp_path, change, what):
    write_well(tmp_path / "a.h5")
    write_well(tmp_path / "odd.h5", **change)
    with pytest.raises(ValueError, match=rf"expected {what} .* as in a\.h5, got .*odd\.h5"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("path", "attribute", "message"),
    [
        ("dimensions", None, "group 'dimensions' in /"),
        ("boundary_conditions/x_PERIODIC/mask", None, "dataset 'mask' in /boundary_cond"),
        ("dimensions/time", None, "dataset 'time' in /dimensions"),
        ("dimensions/x", None, "dataset 'x' in /dimensions"),
        ("t0_fields/vorticity", None, "dataset 'vorticity' in /t0_fields"),
        ("/", "n_trajectories", "attribute 'n_trajectories' in /"),
        ("dimensions", "spatial_dims", "attribute 'spatial_dims' in /dimensions"),
        ("t0_fields", "field_names", "attribute 'field_names' in /t0_fields"),
        ("t0_fields/vorticity", "time_varying", "'time_varying' in /t0_fields/vorticity"),
        ("boundary_conditions/x_PERIODIC", "bc_type", "'bc_type' in /boundary_conditions/x"),
    ],
)
def test_missing_member_is_named(tmp_path, path, attribute, message):
    write_well(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        if attribute is None:
            del file[path]
        else:
            del file[path].attrs[attribute]
    with pytest.raises(ValueError, match=rf"{message}.*a\.h5.*got \["):
        open_source(tmp_path)


def test_missing_rank_groups_are_empty_ones(tmp_path):
    frames, _ = write_well(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["t1_fields"], file["t2_fields"], file["scalars"]
    np.testing.assert_array_equal(
        np.stack(read_all(open_source(tmp_path))), frames.astype("f4")
    )
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["t0_fields"]
    with pytest.raises(ValueError, match="expected the group 't0_fields'"):
        open_source(tmp_path)


def test_contradictions_are_refused(tmp_path):
    write_well(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["n_trajectories"] = 4
    with pytest.raises(
        ValueError, match=r"expected shape \(4, 5, 6, 4\) of /t0_fields/vorticity"
    ):
        open_source(tmp_path)
    write_well(tmp_path / "a.h5", fields=[Field("psi", dtype="<c8")])
    with pytest.raises(ValueError, match=r"expected real numbers in /t0_fields/psi.*complex64"):
        open_source(tmp_path)
    write_well(tmp_path / "a.h5", boundary={"x": "STICKY"})
    with pytest.raises(ValueError, match=r"expected a boundary type of .*got 'STICKY'"):
        open_source(tmp_path)
    write_well(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["boundary_conditions/x_PERIODIC/mask"]
        file["boundary_conditions/x_PERIODIC/mask"] = np.ones(5, bool)
    with pytest.raises(ValueError, match=r"expected a mask of shape \(6,\) in .*x_PERIODIC"):
        open_source(tmp_path)


def test_no_field_in_time_is_refused(tmp_path):
    write_well(tmp_path / "a.h5", fields=[Field("mask", time_varying=False)])
    with pytest.raises(ValueError, match=r"one field with a time axis, got none in .*a\.h5"):
        open_source(tmp_path)


def test_time_step_is_compared_up_to_rounding(tmp_path):
    write_well(tmp_path / "a.h5", times=np.arange(1, dtype="f4"), num_steps=1)
    for number, start in enumerate((0.0, 50.0)):
        times = (start + 0.1234565 * np.arange(40)).astype("f4")
        write_well(tmp_path / f"b{number}.h5", num_steps=40, times=times)
    assert open_source(tmp_path).spec.dt == pytest.approx(0.1234565, rel=1e-5)


def edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replace_dataset(file, name, values):
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = values
    file[name].attrs.update(attributes)


def test_missing_and_empty_groups_mean_nothing_there(tmp_path):
    frames, _ = write_well(tmp_path / "a.h5")

    def change(file):
        del file["boundary_conditions"], file["scalars"]
        for name in ("t1_fields", "t2_fields"):
            del file[name].attrs["field_names"]

    edit(tmp_path / "a.h5", change)
    source = open_source(tmp_path)
    assert source.boundary(0).tolist() == [[1, 1], [1, 1]]
    assert source.spec.periodic == (False, False)
    assert "no boundary conditions in the file, taken as open" in source.describe()
    np.testing.assert_array_equal(np.stack(read_all(source)), frames.astype("f4"))


def test_spherical_grid(tmp_path):
    points = [np.geomspace(1, 100, 6), np.linspace(3.0, 0.1, 4), np.arange(5) * 2 * np.pi / 5]
    frames, _ = write_well(
        tmp_path / "a.h5",
        resolution=(6, 4, 5),
        points=points,
        fields=[Field("v", 1)],
        boundary={"x": "OPEN", "y": "WALL", "z": "PERIODIC"},
    )
    names = ["log_r", "theta", "phi"]

    def change(file):
        file.attrs["grid_type"] = "spherical"
        file["dimensions"].attrs["spatial_dims"] = names
        for old, new in zip("xyz", names, strict=True):
            file.move(f"dimensions/{old}", f"dimensions/{new}")
        for group, new in zip(file["boundary_conditions"].values(), names, strict=True):
            group.attrs["associated_dims"] = [new]

    edit(tmp_path / "a.h5", change)
    source = open_source(tmp_path)
    assert source.spec.axes == ("log_r", "theta", "phi")
    assert source.spec.domain.low == (1.0, 0.1, 0.0)
    assert source.spec.domain.high == pytest.approx((100.0, 3.0, 2 * np.pi))
    assert source.spec.periodic == (False, False, True)
    assert source.boundary(0).tolist() == [[1, 1], [0, 0], [2, 2]]
    assert "grid of type spherical" in source.describe()
    assert "not evenly spaced, or downwards: axes log_r, theta" in source.describe()
    np.testing.assert_array_equal(np.stack(read_all(source)), frames.astype("f4"))


def test_stated_box_has_to_hold_the_points(tmp_path):
    write_well(tmp_path / "a.h5")
    stated = {"low": -0.5, "high": 1.5, "grid": "cell"}
    edit(tmp_path / "a.h5", lambda file: file["dimensions/y"].attrs.update(stated))
    spec = open_source(tmp_path).spec
    assert (spec.domain.low, spec.domain.high) == ((0.0, -0.5), (1.0, 1.5))
    assert spec.grid == ("vertex", "cell")
    edit(tmp_path / "a.h5", lambda file: file["dimensions/y"].attrs.update(high=0.5))
    with pytest.raises(ValueError, match=r"/dimensions/y of .*a\.h5 states.*0\.75 for \[-0\.5"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: replace_dataset(f, "dimensions/time", np.zeros((2, 5))),
            r"finite times of shape \(T\) or \(3, T\).*got shape \(2, 5\)",
        ),
        (
            lambda f: replace_dataset(f, "dimensions/time", np.full(5, np.nan)),
            r"expected finite times .* in /dimensions/time",
        ),
        (
            lambda f: replace_dataset(f, "dimensions/x", np.zeros(6)),
            r"distinct finite coordinates in /dimensions/x",
        ),
        (
            lambda f: f["t0_fields/vorticity"].attrs.update(dim_varying=[True]),
            r"dim_varying of 2 entries.*vorticity.*got 1",
        ),
        (
            lambda f: f["boundary_conditions/x_PERIODIC"].attrs.update(associated_dims=["r"]),
            r"some of the axes \['x', 'y'\].*got 'PERIODIC' on \['r'\]",
        ),
        (
            lambda f: f.attrs.update(input_fields=["vorticity"]),
            r"one frame of the pairs with input_fields \['vorticity'\], got 5 frames",
        ),
        (
            lambda f: f["dimensions"].attrs.update(spatial_dims=["x", "x"]),
            r"distinct names of axes in spatial_dims.*got \['x', 'x'\]",
        ),
        (
            lambda f: replace_dataset(f, "scalars/nu", np.zeros((2, 3))),
            r"one value or 3 of the scalar /scalars/nu.*got shape \(2, 3\)",
        ),
        (
            lambda f: f.attrs.update(n_trajectories="many"),
            r"sound file in The Well's layout, got damage in .*'many'",
        ),
    ],
)
def test_damage_is_refused_with_the_file_s_name(tmp_path, change, message):
    write_well(tmp_path / "odd.h5", scalars=[Scalar("nu", 1.0)])
    edit(tmp_path / "odd.h5", change)
    with pytest.raises(ValueError, match=message) as caught:
        open_source(tmp_path)
    assert "odd.h5" in str(caught.value)
    assert str(caught.value).startswith("open_source: expected")
