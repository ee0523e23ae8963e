import time

import h5py
import numpy as np
import pytest

from sciml.data.writers.well import WellContents, write_well
from sciml.domain import Box
from sciml.spec import DatasetSpec, FieldSpec

RESOLUTION = (6, 5)


def contents(**changes):
    """Scalar, vector and tensor field, a constant and a varying parameter, one open axis."""
    fields = (
        FieldSpec("density"),
        FieldSpec("velocity", rank=1, components=2, units="m/s"),
        FieldSpec("stress", rank=2, components=4),
    )
    spec = DatasetSpec(
        name="flow",
        domain=Box(("x", "y"), (0.0, -1.0), (2.0, 1.0), (True, False)),
        resolution=RESOLUTION,
        in_fields=fields,
        out_fields=fields,
        params=("reynolds",),
        grid=("vertex", "cell"),
        dt=0.5,
        constants={"mach": 0.1},
    )
    generator = np.random.default_rng(3141592653)
    arrays = {
        "spec": spec,
        "fields": generator.standard_normal((3, 4, 7, *RESOLUTION)),
        "time": 0.5 * np.arange(4),
        "params": np.array([[10.0], [20.0], [30.0]]),
        "attributes": {"recipe": "made_up", "seed": 17},
    }
    return WellContents(**(arrays | changes))


@pytest.fixture
def shard(tmp_path):
    with h5py.File(write_well(tmp_path / "shard.hdf5", contents()), "r") as file:
        yield file


def texts(values):
    return [v.decode() if isinstance(v, bytes) else v for v in values]


def test_root_attributes(shard):
    attributes = dict(shard.attrs)
    assert attributes["dataset_name"] == "flow"
    assert attributes["grid_type"] == "cartesian"
    assert attributes["n_spatial_dims"] == 2
    assert attributes["n_trajectories"] == 3
    assert texts(attributes["simulation_parameters"]) == ["mach", "reynolds"]
    assert attributes["mach"] == 0.1
    assert attributes["reynolds"].tolist() == [10.0, 20.0, 30.0]
    assert (attributes["recipe"], attributes["seed"]) == ("made_up", 17)
    assert sorted(shard) == sorted(
        ["dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields"]
    )


def test_dimensions(shard):
    group = shard["dimensions"]
    assert texts(group.attrs["spatial_dims"]) == ["x", "y"]
    np.testing.assert_array_equal(group["time"], [0, 0.5, 1.0, 1.5])
    np.testing.assert_allclose(group["x"], np.arange(6) / 3, rtol=1e-7)
    np.testing.assert_allclose(group["y"], [-0.8, -0.4, 0, 0.4, 0.8], atol=1e-7)
    for line in group.values():
        assert not line.attrs["sample_varying"]
        assert not line.attrs["time_varying"]


def test_boundary_conditions(shard):
    group = shard["boundary_conditions"]
    assert sorted(group) == ["x_periodic", "y_open"]
    for name, dims, kind, n in (("x_periodic", "x", "PERIODIC", 6), ("y_open", "y", "OPEN", 5)):
        side = group[name]
        assert texts(side.attrs["associated_dims"]) == [dims]
        assert texts(side.attrs["associated_fields"]) == []
        assert side.attrs["bc_type"] == kind
        assert not side.attrs["sample_varying"]
        assert not side.attrs["time_varying"]
        assert side["mask"].dtype == bool
        assert side["mask"][()].tolist() == [True] + [False] * (n - 2) + [True]


def test_scalars(shard):
    group = shard["scalars"]
    assert texts(group.attrs["field_names"]) == ["mach", "reynolds"]
    assert group["mach"].shape == ()
    assert group["mach"][()] == np.float32(0.1)
    assert not group["mach"].attrs["sample_varying"]
    assert group["reynolds"][()].tolist() == [10.0, 20.0, 30.0]
    assert group["reynolds"].attrs["sample_varying"]
    assert not group["reynolds"].attrs["time_varying"]


def test_fields_have_components_last(shard):
    expected = np.moveaxis(contents().fields.astype(np.float32), 2, -1)
    assert texts(shard["t0_fields"].attrs["field_names"]) == ["density"]
    np.testing.assert_array_equal(shard["t0_fields/density"], expected[..., 0])
    np.testing.assert_array_equal(shard["t1_fields/velocity"], expected[..., 1:3])
    stress = expected[..., 3:].reshape(3, 4, *RESOLUTION, 2, 2)
    np.testing.assert_array_equal(shard["t2_fields/stress"], stress)
    assert shard["t1_fields/velocity"].attrs["units"] == "m/s"
    assert not shard["t2_fields/stress"].attrs["symmetric"]
    assert not shard["t2_fields/stress"].attrs["antisymmetric"]
    for path in ("t0_fields/density", "t1_fields/velocity", "t2_fields/stress"):
        field = shard[path]
        assert field.dtype == np.float32
        assert field.chunks is None
        assert field.compression is None
        assert field.id.get_offset() is not None
        assert field.attrs["sample_varying"]
        assert field.attrs["time_varying"]
        assert field.attrs["dim_varying"].tolist() == [True, True]


def test_same_contents_give_the_same_bytes(tmp_path):
    first = write_well(tmp_path / "a.hdf5", contents()).read_bytes()
    time.sleep(1.1)  # HDF5 time stamps count seconds
    assert write_well(tmp_path / "b.hdf5", contents()).read_bytes() == first


def test_large_fields_start_on_a_page(tmp_path):
    big = contents(
        spec=contents().spec.at((40, 50)), fields=np.ones((3, 4, 7, 40, 50), np.float32)
    )
    file = write_well(tmp_path / "a.hdf5", big)
    with h5py.File(file, "r") as opened:
        assert opened["t0_fields/density"].id.get_offset() % 4096 == 0


def test_contradicting_contents_are_named():
    with pytest.raises(
        ValueError, match=r"fields of shape \(n, 4, 7, 6, 5\) .*got \(3, 4, 7, 5,"
    ):
        contents(fields=np.zeros((3, 4, 7, 5, 5)))
    with pytest.raises(ValueError, match=r"params of shape \(3, 1\).*got None"):
        contents(params=None)
    with pytest.raises(ValueError, match=r"params of shape \(3, 1\).*got \(3, 2\)"):
        contents(params=np.zeros((3, 2)))


def test_the_well_s_own_loader_reads_it(tmp_path):
    datasets = pytest.importorskip(
        "the_well.data.datasets", reason="the_well is not installed (it pins an old fsspec)"
    )
    written = contents(params=np.full((3, 1), 10.0))
    write_well(tmp_path / "flow" / "data" / "train" / "shard.hdf5", written)
    dataset = datasets.WellDataset(
        path=str(tmp_path / "flow"),
        well_split_name="train",
        n_steps_input=1,
        n_steps_output=2,
        use_normalization=False,
    )
    assert len(dataset) == 3 * 2
    sample = dataset[1]
    expected = np.moveaxis(written.fields.astype(np.float32), 2, -1)[0]
    np.testing.assert_array_equal(sample["input_fields"].numpy(), expected[1:2])
    np.testing.assert_array_equal(sample["output_fields"].numpy(), expected[2:4])
    assert sample["boundary_conditions"].tolist() == [[2, 2], [1, 1]]
