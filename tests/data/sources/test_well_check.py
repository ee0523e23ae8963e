import re

import h5py
import numpy as np
import pytest

from sciml.data.sources.well_check import check_well_file
from sciml.data.writers.well import WellContents, write_well
from sciml.domain import Box
from sciml.spec import DatasetSpec, FieldSpec
from tests.data import well_files

ATTRIBUTES = {
    "recipe": "made_up",
    "variant": "",
    "parameters": "{}",
    "seed": 17,
    "first_sample": 0,
    "solver": "none",
    "format_version": 1,
}


@pytest.fixture
def path(tmp_path):
    fields = (FieldSpec("density"), FieldSpec("velocity", 1, 2), FieldSpec("stress", 2, 4))
    box = Box(("x", "y"), (0.0, -1.0), (2.0, 1.0), (True, False))
    spec = DatasetSpec("flow", box, (20, 30), fields, fields, ("nu",), dt=0.5)
    contents = WellContents(
        spec,
        np.random.default_rng(1299709).standard_normal((3, 4, 7, 20, 30)),
        0.5 * np.arange(4),
        np.array([[1.0], [2.0], [3.0]]),
        ATTRIBUTES,
    )
    return write_well(tmp_path / "a.hdf5", contents)


def test_our_files_follow_the_layout(path):
    assert check_well_file(path) == []


def test_axes_that_do_not_vary_may_be_left_out_or_have_length_one(tmp_path):
    fields = [
        well_files.Field("a", dim_varying=(False, True)),
        well_files.Field("b", 1, dim_varying=(False, True), keep_axes=True),
        well_files.Field("c", sample_varying=False, time_varying=False),
    ]
    well_files.write_well(tmp_path / "a.h5", fields=fields)
    assert check_well_file(tmp_path / "a.h5") == []


def move(file, name, values):
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = values
    file[name].attrs.update(attributes)


CHANGES = {
    "attribute": (lambda f: f.attrs.pop("grid_type"), "/: expected the attribute grid_type"),
    "group": (lambda f: f.pop("scalars"), "/: expected the group scalars"),
    "names": (
        lambda f: f["t0_fields"].attrs.pop("field_names"),
        "/t0_fields: expected the attr",
    ),
    "count": (lambda f: f.attrs.update(n_trajectories=0), "positive integer n_trajectories"),
    "axes": (
        lambda f: f.attrs.update(n_spatial_dims=3),
        "expected n_spatial_dims 2 for the axes",
    ),
    "no line": (lambda f: f["dimensions"].pop("x"), "/dimensions: expected the array x"),
    "line": (
        lambda f: move(f, "dimensions/x", np.zeros(20, "f4")),
        "/dimensions/x: expected distinct",
    ),
    "time": (
        lambda f: move(f, "dimensions/time", np.zeros(4, "f4")),
        "/dimensions/time: expected ascending",
    ),
    "boundary": (
        lambda f: f["boundary_conditions/x_periodic"].attrs.pop("bc_type"),
        r"x_periodic: expected the attributes \['bc_type'\]",
    ),
    "kind": (
        lambda f: f["boundary_conditions/x_periodic"].attrs.update(bc_type="sticky"),
        "expected a bc_type of .*got STICKY",
    ),
    "mask": (
        lambda f: f["boundary_conditions/x_periodic"].pop("mask"),
        "x_periodic: expected the boolean array mask",
    ),
    "mask shape": (
        lambda f: move(f, "boundary_conditions/x_periodic/mask", np.zeros(7, bool)),
        r"expected a mask of shape \(20,\) over .*got \(7,\)",
    ),
    "parameter": (lambda f: f.attrs.pop("nu"), "expected the parameter nu as a root attribute"),
    "scalar": (
        lambda f: move(f, "scalars/nu", np.zeros(2, "f4")),
        r"/scalars/nu: expected shape \(3,\) by its flags, got \(2,\)",
    ),
    "flag": (
        lambda f: f["t0_fields/density"].attrs.pop("time_varying"),
        "density: expected the attributes sample_varying and time_varying",
    ),
    "axis flags": (
        lambda f: f["t0_fields/density"].attrs.update(dim_varying=[True]),
        "density: expected the attribute dim_varying with 2 entries",
    ),
    "shape": (
        lambda f: f["t1_fields/velocity"].attrs.update(sample_varying=False),
        r"velocity: expected shape \(4, 20, 30, 2\) by its flags, got \(3, 4, 20, 30, 2\)",
    ),
    "symmetry": (
        lambda f: f["t2_fields/stress"].attrs.pop("symmetric"),
        "stress: expected the attributes symmetric",
    ),
    "dtype": (
        lambda f: move(f, "dimensions/time", np.arange(4.0)),
        "/dimensions/time: expected float32, got float64",
    ),
    "unlisted": (
        lambda f: f["scalars"].create_dataset("mu", data=np.float32(1)),
        r"/scalars: expected field_names to list .* got \['nu'\] for \['mu', 'nu'\]",
    ),
    "provenance": (
        lambda f: f.attrs.pop("solver"),
        r"expected the attributes \['solver'\] of a generated",
    ),
    "parameters": (
        lambda f: f.attrs.update(parameters="{a"),
        "expected the attribute parameters to be JSON",
    ),
    "chunks": (
        lambda f: (
            f.create_dataset("x", data=f["t0_fields/density"][()], chunks=True),
            move_chunked(f),
        ),
        "density: expected one block that begins on a page",
    ),
}


def move_chunked(file):
    file["x"].attrs.update(file["t0_fields/density"].attrs)
    del file["t0_fields/density"]
    file.move("x", "t0_fields/density")


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_each_departure_is_found(path, change, message):
    with h5py.File(path, "r+") as file:
        change(file)
    found = check_well_file(path)
    assert any(re.search(message, line) for line in found), found


def test_departures_are_found_together(path):
    with h5py.File(path, "r+") as file:
        for name in ("symmetric", "sample_varying"):
            file["t2_fields/stress"].attrs.pop(name)
        file["boundary_conditions/y_open"].attrs.pop("associated_dims")
    assert len(check_well_file(path)) == 3


def test_damaged_file_is_an_error(path):
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"truncated or damaged one, .*a\.hdf5"):
        check_well_file(path)
