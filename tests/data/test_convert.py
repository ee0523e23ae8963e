import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from sciml.data.convert import convert
from sciml.data.convert_plan import RECORD, TARGETS, Target
from sciml.data.sources import open_source
from sciml.data.sources.joined import JoinedSource
from sciml.data.writers.matlab import write_matlab
from sciml.data.writers.pdebench import write_pdebench
from sciml.data.writers.torch_file import write_torch
from sciml.data.writers.well import write_well_from
from sciml.domain import Box
from tests.data.array_sources import ScalarFields
from tests.data.frames import Frames
from tests.data.well_files import Field, Scalar, write_well

GENERATOR = np.random.default_rng(2860486313)


def noise(*shape):
    return GENERATOR.standard_normal(shape).astype("f4")


def contents(source):
    """All numbers of a source, trajectory by trajectory."""
    spec = source.spec
    found = []
    for number in range(source.num_trajectories):
        frames = np.empty(
            (source.num_steps(number), spec.frame_channels, *spec.resolution), "f4"
        )
        source.read(number, 0, len(frames), 1, frames)
        found.append(frames)
        if spec.paired:
            found.append(np.empty((spec.out_channels, *spec.resolution), "f4"))
            source.read_targets(number, found[-1])
        if source.static_fields:
            channels = sum(item.components for item in source.static_fields)
            found.append(np.empty((channels, *spec.resolution), "f4"))
            source.read_static(number, found[-1])
        found.append(source.params(number))
        found.append(source.times(number))
        found.append(source.boundary(number))
    return found


def check_equal(first, second):
    assert first.spec == second.spec
    assert first.splits == second.splits
    assert first.static_fields == second.static_fields
    for x, y in zip(contents(first), contents(second), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-9)
        if x.dtype == np.float32:
            np.testing.assert_array_equal(x, y)


def make_rollout(path):
    """Two-dimensional vorticity, which all grid formats can hold."""
    source = ScalarFields(noise(5, 6, 8, 8), times=np.arange(1.0, 7.0))
    return write_matlab(path.with_suffix(".mat"), JoinedSource({"": [source]}))


def make_coefficients(path):
    """Pairs on the unit square."""
    source = ScalarFields(
        noise(5, 1, 9, 9), noise(5, 9, 9), periodic=False, fields=("coefficient", "solution")
    )
    return write_matlab(path.with_suffix(".mat"), JoinedSource({"": [source]}))


def make_forcing(path):
    """Pairs on the periodic square of side 2 pi."""
    source = ScalarFields(
        noise(5, 1, 8, 8), noise(5, 8, 8), high=2 * np.pi, fields=("forcing", "vorticity")
    )
    return write_torch(path.with_suffix(".pt"), JoinedSource({"": [source]}))


def make_burgers(path):
    source = ScalarFields(
        noise(5, 11, 16), times=0.06 * np.arange(11), fields=("u",), viscosity=0.01
    )
    return write_torch(path.with_suffix(".pt"), JoinedSource({"": [source]}))


def make_advection(path):
    """One-dimensional files of two parameters."""
    for number, beta in enumerate((0.5, 2.0)):
        source = ScalarFields(
            noise(3, 6, 16), times=0.1 * np.arange(6), fields=("u",), beta=beta
        )
        write_pdebench(path / f"{number}.hdf5", JoinedSource({"": [source]}))
    return path


def make_well(path):
    """Every rank, a static field, parameters, and trajectories of two lengths."""
    for number, steps in enumerate((5, 7)):
        write_well(
            path / f"{number}.h5",
            num_steps=steps,
            fields=[
                Field("a"),
                Field("v", 1),
                Field("t", 2),
                Field("m", time_varying=False),
            ],
            scalars=[Scalar("nu", np.arange(3.0) + 10 * number, sample_varying=True)],
            boundary={"x": "WALL", "y": "PERIODIC"},
        )
    return path


def make_cells(path):
    """Cell centres of a box that does not begin at zero, whose ends are no short numbers."""
    part = Frames()
    box = Box(("x", "y"), (-1.0, 0.1), (1.0, 2 * np.pi), (False, False))
    part._spec = replace(part._spec, domain=box, grid=("cell", "cell"))
    write_well_from(path / "a.h5", JoinedSource({"": [part]}))
    assert open_source(path).spec.domain == box
    return path


def make_splits(path):
    for seed, (split, count) in enumerate({"train": 4, "valid": 1, "test": 2}.items()):
        write_well(path / "data" / split / "a.h5", num_trajectories=count, seed=7919 + 2 * seed)
    return path


ROUTES = [
    (make_rollout, "well"),
    (make_rollout, "matlab"),
    (make_rollout, "pdebench"),
    (make_coefficients, "well"),
    (make_coefficients, "matlab"),
    (make_coefficients, "pdebench"),
    (make_forcing, "well"),
    (make_forcing, "torch"),
    (make_burgers, "well"),
    (make_burgers, "torch"),
    (make_burgers, "pdebench"),
    (make_advection, "well"),
    (make_advection, "pdebench"),
    (make_well, "well"),
    (make_cells, "well"),
    (make_splits, "well"),
    (make_splits, "pdebench"),
]


@pytest.mark.parametrize(
    ("make", "target"), ROUTES, ids=[f"{m.__name__[5:]} to {t}" for m, t in ROUTES]
)
def test_round_trip(tmp_path, make, target):
    path = make(tmp_path / "source")
    before = open_source(path)
    counts = []
    there = convert(path, tmp_path / "there", format=target, progress=counts.append)
    assert sum(counts) == before.num_trajectories
    check_equal(open_source(tmp_path / "there"), before)
    # and back through The Well's layout, which has to hold whatever the others do
    back = convert(tmp_path / "there", tmp_path / "back")
    check_equal(open_source(tmp_path / "back"), before)
    assert {file.suffix for file in back} == {".hdf5"}
    assert all(file.is_relative_to(tmp_path / "there" / "data") for file in there)


def test_published_split_goes_with_the_data(tmp_path):
    path = make_rollout(tmp_path / "source")
    assert open_source(path).split_preset == "fno_ns"
    convert(path, tmp_path / "there")
    assert open_source(tmp_path / "there").split_preset == "fno_ns"


def test_shards_are_of_limited_size_and_named_by_their_trajectories(tmp_path):
    path = make_rollout(tmp_path / "source")
    trajectory = 4 * 6 * 8 * 8
    files = convert(path, tmp_path / "there", shard_bytes=2 * trajectory + 1)
    assert [file.name for file in files] == [
        "navier_stokes-0000000-0000001.hdf5",
        "navier_stokes-0000002-0000003.hdf5",
        "navier_stokes-0000004-0000004.hdf5",
    ]
    check_equal(open_source(tmp_path / "there"), open_source(path))
    with pytest.raises(ValueError, match=f"shard_bytes of at least {trajectory}.*got 100"):
        convert(path, tmp_path / "other", shard_bytes=100)


def test_trajectories_that_do_not_share_a_file_are_kept_apart(tmp_path):
    path = make_advection(tmp_path / "source")
    files = convert(path, tmp_path / "well")
    assert len(files) == 1  # The Well's layout holds parameters of each trajectory
    files = convert(tmp_path / "well", tmp_path / "pdebench", format="pdebench")
    assert len(files) == 2
    with h5py.File(files[1]) as file:
        assert file.attrs["beta"] == 2.0


def test_interrupted_conversion_goes_on(tmp_path, monkeypatch):
    path = make_rollout(tmp_path / "source")
    options = {"shard_bytes": 4 * 6 * 8 * 8}
    whole = [f.read_bytes() for f in convert(path, tmp_path / "whole", **options)]
    writes = []

    def write(file, *arguments, **keywords):
        writes.append(file.name)
        if len(writes) == 3:
            raise KeyboardInterrupt
        return original(file, *arguments, **keywords)

    well = TARGETS["well"]
    original = well.write
    stopping = Target(well.suffix, write, well.together)
    monkeypatch.setitem(TARGETS, "well", stopping)
    with pytest.raises(KeyboardInterrupt):
        convert(path, tmp_path / "there", **options)
    stamps = [f.stat().st_mtime_ns for f in sorted((tmp_path / "there" / "data").iterdir())]
    assert len(stamps) == 2
    counts = []
    files = convert(path, tmp_path / "there", progress=counts.append, **options)
    assert writes[2:] == [files[2].name, files[2].name, files[3].name, files[4].name]
    assert [f.stat().st_mtime_ns for f in files[:2]] == stamps
    assert [f.read_bytes() for f in files] == whole
    assert counts == [1] * 5


def test_another_conversion_in_the_folder_is_refused(tmp_path):
    path = make_rollout(tmp_path / "source")
    convert(path, tmp_path / "there")
    with pytest.raises(ValueError, match=r"part of the same conversion, got another format"):
        convert(path, tmp_path / "there", format="matlab")
    with pytest.raises(ValueError, match=r"same conversion, got another shards"):
        convert(path, tmp_path / "there", shard_bytes=4 * 6 * 8 * 8)
    make_rollout(tmp_path / "source")
    with pytest.raises(ValueError, match=r"same conversion, got another source"):
        convert(path, tmp_path / "there")
    (tmp_path / "there" / RECORD).write_text("{}")
    with pytest.raises(ValueError, match=r"expected the record of a conversion in"):
        convert(path, tmp_path / "there")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"empty or new folder, got .*\['notes.txt'\]"):
        convert(path, tmp_path / "full")


def test_record_says_what_goes_where(tmp_path):
    path = make_well(tmp_path / "source")
    files = convert(path, tmp_path / "there")
    record = json.loads((tmp_path / "there" / RECORD).read_text())
    assert list(record["shards"].values()) == [[0, 1, 2], [3, 4, 5]]
    assert [tmp_path / "there" / name for name in record["shards"]] == files


def test_what_would_be_read_back_as_something_else_is_refused(tmp_path):
    path = make_coefficients(tmp_path / "source")
    with pytest.raises(ValueError, match=r"read back with name darcy, got nsforcing.*no room"):
        convert(path, tmp_path / "there", format="torch")
    convert(path, tmp_path / "there", format="well")  # nothing was left behind


def test_uneven_grids_are_refused(tmp_path):
    points = [np.geomspace(1, 2, 6), np.arange(4) / 4]
    write_well(tmp_path / "source" / "a.h5", points=points)
    with pytest.raises(ValueError, match=r"evenly spaced.*of which \['x'\] are uneven.*a\.h5"):
        convert(tmp_path / "source", tmp_path / "there")


def test_type_of_the_grid_is_kept_or_refused(tmp_path):
    write_well(tmp_path / "source" / "a.h5")
    with h5py.File(tmp_path / "source" / "a.h5", "r+") as file:
        file.attrs["grid_type"] = "equiangular"
    (file,) = convert(tmp_path / "source", tmp_path / "there")
    with h5py.File(file) as written:
        assert written.attrs["grid_type"] == "equiangular"
    with pytest.raises(ValueError, match=r"grid that pdebench can describe, got equiangular"):
        convert(tmp_path / "source", tmp_path / "flat", format="pdebench")


def test_wrong_arguments(tmp_path):
    path = make_rollout(tmp_path / "source")
    with pytest.raises(ValueError, match=r"format of \['well', 'pdebench', .*got 'netcdf'"):
        convert(path, tmp_path / "there", format="netcdf")
    with pytest.raises(ValueError, match=r"target folder apart from the source"):
        convert(tmp_path, tmp_path / "inside")
