import h5py
import numpy as np
import pytest
import yaml

from sciml.data.sources.joined import JoinedSource
from sciml.data.sources.well import FORMAT as WELL
from sciml.data.writers.pdebench import _LAY_OUT, write_pdebench
from sciml.data.writers.well import WellContents, write_well
from sciml.domain import Box
from sciml.spec import DatasetSpec, FieldSpec
from tests.data.sources.pdebench_files import (
    open_files,
    read_all,
    write_darcy,
    write_flow,
    write_groups,
    write_incompressible,
    write_scalar,
)
from tests.golden import golden_path


def assert_same(first, second):
    assert first.spec == second.spec
    assert first.static_fields == second.static_fields
    np.testing.assert_array_equal(first.lengths, second.lengths)
    np.testing.assert_array_equal(read_all(first), read_all(second))
    for i in range(first.num_trajectories):
        np.testing.assert_array_equal(first.times(i), second.times(i))
        np.testing.assert_array_equal(first.params(i), second.params(i))
        np.testing.assert_array_equal(first.boundary(i), second.boundary(i))
        if first.spec.paired:
            shape = (first.spec.out_channels, *first.spec.resolution)
            a, b = np.empty(shape, "f4"), np.full(shape, np.nan, "f4")
            first.read_targets(i, a)
            second.read_targets(i, b)
            np.testing.assert_array_equal(a, b)
        if first.static_fields:
            shape = (sum(f.components for f in first.static_fields), *first.spec.resolution)
            a, b = np.empty(shape, "f4"), np.full(shape, np.nan, "f4")
            first.read_static(i, a)
            second.read_static(i, b)
            np.testing.assert_array_equal(a, b)


GOLDEN = [
    "pdebench_advection_beta1.0.hdf5",
    "pdebench_1d_cfd_Rand_Eta0.01_Zeta0.01_periodic.hdf5",
    "pdebench_darcy_beta1.0.hdf5",
    "pdebench_diff_react_2d.hdf5",
    "pdebench_ns_incomp.hdf5",
]


def structure(path):
    """Shapes and types of all arrays, and names of attributes, but for our own."""
    found = {}
    with h5py.File(path, locking=False) as file:

        def visit(name, item):
            kind = (item.shape, item.dtype) if isinstance(item, h5py.Dataset) else None
            names = sorted(key for key in item.attrs if key != "sciml_setting")
            found[name] = (kind, names)

        file.visititems(visit)
        found["/"] = sorted(key for key in file.attrs if key != "sciml_setting")
    return found


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_files_survive_a_round_trip_under_another_name(tmp_path, name):
    source = open_files(golden_path(name))
    path = write_pdebench(tmp_path / "copy.h5", source)
    assert_same(source, open_files(path))
    # the same arrays under the same keys, so that the benchmark's own loader reads them
    assert structure(path) == structure(golden_path(name))
    assert [entry.name for entry in tmp_path.iterdir()] == ["copy.h5"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_scalar(path, {"Nu": 0.5, "rho": 2.0}),
        lambda path: write_flow(path, (5,)),
        lambda path: write_flow(path, (5, 6)),
        lambda path: write_flow(path, (3, 4, 5)),
        write_darcy,
        lambda path: write_groups(path, "diff-sorp"),
        lambda path: write_groups(path, "diff-react", compression="lzf"),
        lambda path: write_groups(path, "rdb"),
        write_incompressible,
    ],
    ids=["reac", "cfd-1", "cfd-2", "cfd-3", "darcy", "sorp", "react", "rdb", "flow"],
)
def test_every_family_survives_a_round_trip(tmp_path, write, monkeypatch):
    monkeypatch.setattr("sciml.data.writers.pdebench._BLOCK_BYTES", 700)  # a frame or two
    write(tmp_path / "2D_CFD_periodic.h5")
    source = open_files(tmp_path / "2D_CFD_periodic.h5")
    written = []
    path = write_pdebench(tmp_path / "b.h5", source, progress=written.append)
    assert_same(source, open_files(path))
    assert written == [*range(1, source.num_trajectories + 1)]


def well_source(folder, *, resolution=(6, 5), fields=None, params=(), **changes):
    """A data set in The Well's layout with a scalar and a vector, all axes periodic."""
    fields = fields or (FieldSpec("density"), FieldSpec("flux", 1, len(resolution)))
    ndim = len(resolution)
    spec = DatasetSpec(
        name="transport",
        domain=Box(
            ("x", "y", "z")[:ndim], (0.0,) * ndim, (2.0, 1.0, 4.0)[:ndim], (True,) * ndim
        ),
        resolution=resolution,
        in_fields=fields,
        out_fields=fields,
        params=params,
        dt=0.5,
        constants={"viscosity": 0.001},
    )
    channels = sum(field.components for field in fields)
    values = np.random.default_rng(3141592653).standard_normal((3, 4, channels, *resolution))
    contents = {
        "spec": spec,
        "fields": values,
        "time": 0.5 * np.arange(4),
        "params": np.array([[0.1], [0.1], [0.3]]) if params else None,
    }
    path = write_well(folder / "well.hdf5", WellContents(**(contents | changes)))
    return JoinedSource({"": WELL.open_files([path], "auto")})


@pytest.mark.parametrize("resolution", [(7,), (6, 5), (3, 4, 5)], ids=["1-D", "2-D", "3-D"])
def test_any_trajectories_fit_in_groups(tmp_path, resolution):
    source = well_source(tmp_path, resolution=resolution, params=("speed",))
    path = write_pdebench(tmp_path / "groups.h5", source)
    copy = open_files(path)
    assert copy.spec.params == ("speed",)
    assert copy.spec.grid == ("vertex",) * len(resolution)
    assert_same(source, copy)
    with h5py.File(path) as file:
        assert list(file) == ["0000", "0001", "0002"]
        assert file["0001/data"].shape == (4, *resolution, 1 + len(resolution))
        assert sorted(file["0001/grid"]) == sorted(["t", *"xyz"[: len(resolution)]])
        simulation = yaml.safe_load(file["0002"].attrs["config"])["sim"]
    assert simulation["seed"] == 2
    assert simulation["speed"] == pytest.approx(0.3)


def test_flat_files_have_one_time_more_than_frames(tmp_path):
    source = well_source(tmp_path, resolution=(7,), fields=(FieldSpec("u"),))
    path = write_pdebench(tmp_path / "flat.h5", source)
    assert_same(source, open_files(path))
    with h5py.File(path) as file:
        assert sorted(file) == ["t-coordinate", "tensor", "x-coordinate"]
        assert file["tensor"].shape == (3, 4, 7)
        assert file["tensor"].chunks is None
        np.testing.assert_allclose(file["t-coordinate"], 0.5 * np.arange(5))
        assert dict(file.attrs) == {"viscosity": pytest.approx(0.001)}


def test_one_file_for_each_parameter_value(tmp_path):
    source = well_source(tmp_path, resolution=(7,), fields=(FieldSpec("u"),), params=("speed",))
    with pytest.raises(ValueError, match=r"same parameters \('speed',\).*of 2; write one file"):
        write_pdebench(tmp_path / "all.h5", source, layout="flat")
    paths = [
        write_pdebench(tmp_path / f"{name}.h5", source, layout="flat", trajectories=chosen)
        for name, chosen in (("slow", [0, 1]), ("fast", [2]))
    ]
    copy = open_files(*paths)
    assert_same(source, copy)


def test_same_contents_give_the_same_bytes(tmp_path):
    source = well_source(tmp_path, params=("speed",))
    first = write_pdebench(tmp_path / "a.h5", source).read_bytes()
    assert write_pdebench(tmp_path / "b.h5", source).read_bytes() == first


def test_what_the_layouts_cannot_hold(tmp_path):
    write_darcy(tmp_path / "pairs.h5")
    pairs = open_files(tmp_path / "pairs.h5")
    trajectories = well_source(tmp_path)
    for source, layout, kind in (
        (pairs, "groups", "pairs"),
        (trajectories, "flat", "trajectories"),
        (trajectories, "incompressible", "trajectories"),
    ):
        with pytest.raises(
            ValueError, match=rf"layout {layout} of PDEBench can hold, got {kind}"
        ):
            write_pdebench(tmp_path / "no.h5", source, layout=layout)
    assert not (tmp_path / "no.h5").exists()


def test_files_that_differ_in_length_are_refused(tmp_path):
    write_scalar(tmp_path / "a.h5", {"beta": 1.0}, num_steps=5)
    write_scalar(tmp_path / "b.h5", {"beta": 1.0}, num_steps=6)
    source = open_files(tmp_path / "a.h5", tmp_path / "b.h5")
    with pytest.raises(ValueError, match=r"same number of frames .*got \[5\].*\[6\]"):
        write_pdebench(tmp_path / "c.h5", source)


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
    source = well_source(tmp_path)
    (tmp_path / "out").mkdir()

    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pdebench(tmp_path / "out" / "a.h5", source, progress=stop)
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_as_hdf5_reports_it(tmp_path, monkeypatch):
    def full(path, selection):
        raise RuntimeError("Can't decrement id ref count (no space left on device)")

    monkeypatch.setitem(_LAY_OUT, "groups", full)
    with pytest.raises(OSError, match=r"no space left on device.*free space on the disk"):
        write_pdebench(tmp_path / "out" / "a.h5", well_source(tmp_path))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("chosen", [[], [3], [-1]])
def test_trajectories_that_are_not_there(tmp_path, chosen):
    with pytest.raises(ValueError, match=r"one or more of the trajectories 0 to 2, got \["):
        write_pdebench(tmp_path / "a.h5", well_source(tmp_path), trajectories=chosen)


def test_memory_is_that_of_one_block(tmp_path, monkeypatch):
    source = well_source(tmp_path)
    monkeypatch.setattr("sciml.data.writers.pdebench._BLOCK_BYTES", 4 * 3 * 30 * 2)
    read = source.read
    largest = []

    def watched(trajectory, start, stop, stride, out):
        largest.append(out.nbytes)
        read(trajectory, start, stop, stride, out)

    monkeypatch.setattr(source, "read", watched)
    write_pdebench(tmp_path / "a.h5", source)
    assert max(largest) == 4 * 3 * 30 * 2  # two frames of three channels


def test_damaged_setting(tmp_path):
    source = well_source(tmp_path)
    path = write_pdebench(tmp_path / "a.h5", source)
    with h5py.File(path) as file:
        sound = str(file.attrs["sciml_setting"])
    for text in (
        "{",
        "[]",
        "{}",
        sound.replace('"components": 2', '"components": 3'),
        sound.replace('"vertex"', '"corner"'),
        sound.replace('"transport"', "7"),
        sound.replace("[[2, 2], [2, 2]]", "[[2, 2]]"),
        sound.replace("2.0", "Infinity"),
        sound.replace("2.0", "-2.0"),
    ):
        assert text != sound
        with h5py.File(path, "r+") as file:
            file.attrs["sciml_setting"] = text
        with pytest.raises(ValueError, match=r"sciml_setting of / in .*a\.h5.*damaged"):
            open_files(path)


def test_setting_of_another_file(tmp_path):
    path = write_pdebench(tmp_path / "a.h5", well_source(tmp_path))
    with h5py.File(path, "r+") as file:
        for group in file.values():
            data = group["data"][..., :2]
            del group["data"]
            group["data"] = data
    with pytest.raises(ValueError, match=r"expected 3 channels on 2 axes.*got 2 channels on 2"):
        open_files(path)
