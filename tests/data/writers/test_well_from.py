"""Streaming sources into The Well's layout, and back through two readers."""

import subprocess
import sys
import warnings

import h5py
import numpy as np
import pytest

from sciml.data.sources import open_source
from sciml.data.writers import well
from sciml.data.writers.well import write_well_from
from sciml.spec import FieldSpec
from tests.data.frames import STEPS, Frames, joined
from tests.data.pairs import Pairs
from tests.data.well_files import Field, Scalar, write_well


def read_frames(source, number):
    spec = source.spec
    out = np.full(
        (source.num_steps(number), spec.frame_channels, *spec.resolution), np.nan, "f4"
    )
    source.read(number, 0, len(out), 1, out)
    return out


def read_static(source, number):
    channels = sum(item.components for item in source.static_fields)
    out = np.full((channels, *source.spec.resolution), np.nan, "f4")
    source.read_static(number, out)
    return out


def check_same(source, expected, numbers):
    assert source.num_trajectories == len(numbers)
    for place, number in enumerate(numbers):
        np.testing.assert_array_equal(read_frames(source, place), read_frames(expected, number))
        np.testing.assert_array_equal(read_static(source, place), read_static(expected, number))
        assert source.times(place).tolist() == expected.times(number).tolist()
        assert source.params(place).tolist() == expected.params(number).tolist()
        assert source.boundary(place).tolist() == expected.boundary(number).tolist()


@pytest.mark.parametrize("resolution", [(7,), (6, 5), (3, 4, 5)], ids=["1-D", "2-D", "3-D"])
@pytest.mark.parametrize("block", [1, 2**26], ids=["frame by frame", "whole"])
def test_every_rank_and_static_fields_come_back(tmp_path, monkeypatch, resolution, block):
    monkeypatch.setattr(well, "_BLOCK_BYTES", block)
    expected = joined(Frames(resolution))
    finished = []
    write_well_from(tmp_path / "a.h5", expected, progress=finished.append)
    assert finished == [1, 2, 3, 4]
    source = open_source(tmp_path)
    assert source.spec == expected.spec
    assert source.static_fields == expected.static_fields
    check_same(source, expected, range(4))


def test_chosen_trajectories_in_their_order(tmp_path):
    expected = joined(Frames())
    write_well_from(tmp_path / "a.h5", expected, trajectories=[3, 1])
    check_same(open_source(tmp_path), expected, [3, 1])


def test_times_and_boundaries_of_each_trajectory(tmp_path):
    times = np.arange(STEPS) + np.array([[0.0], [10.0], [20.0], [30.0]])
    boundary = np.ones((4, 2, 2), np.int64)
    boundary[1, 0] = 0, 1
    boundary[2, 1] = 1, 0
    expected = joined(Frames(times=times, boundary=boundary))
    write_well_from(tmp_path / "a.h5", expected)
    check_same(open_source(tmp_path), expected, range(4))


def test_faces_of_one_axis_may_differ(tmp_path):
    boundary = np.broadcast_to(np.array([[0, 1], [1, 1]]), (4, 2, 2))
    expected = joined(Frames(boundary=boundary))
    write_well_from(tmp_path / "a.h5", expected)
    with h5py.File(tmp_path / "a.h5") as file:
        sides = file["boundary_conditions"]
        assert sorted(sides) == ["x_open", "x_wall", "y_open"]
        assert sides["x_wall/mask"][()].tolist() == [True] + [False] * 5
        assert not sides["x_wall"].attrs["sample_varying"]
    check_same(open_source(tmp_path), expected, range(4))


def test_pairs_come_back_as_pairs(tmp_path):
    part = Pairs(viscosity=0.5)
    write_well_from(tmp_path / "a.h5", joined(part))
    source = open_source(tmp_path)
    assert source.spec == joined(part).spec
    assert source.spec.paired
    assert "input coefficient: rank 0, mmap" in source.describe()
    for number in range(4):
        np.testing.assert_array_equal(read_frames(source, number)[0], part.inputs[number])
        targets = np.empty((2, 6, 5), "f4")
        source.read_targets(number, targets)
        np.testing.assert_array_equal(targets, part.outputs[number])


def test_the_same_source_gives_the_same_bytes(tmp_path):
    first = write_well_from(tmp_path / "a.h5", joined(Frames())).read_bytes()
    assert write_well_from(tmp_path / "b.h5", joined(Frames())).read_bytes() == first


def test_what_the_layout_cannot_hold_is_refused(tmp_path):
    target = tmp_path / "a.h5"
    with pytest.raises(ValueError, match=r"fields on a grid, got the point clouds of darcy"):
        write_well_from(target, joined(Pairs(points=(5, 4, 3, 6))))
    with pytest.raises(ValueError, match=r"one length in a file, got lengths \[3, 7\]"):
        write_well_from(target, joined(Frames(lengths=np.array([3, 7, 7, 3]))))
    with pytest.raises(ValueError, match=r"trajectories 0 to 3, got \[4\]"):
        write_well_from(target, joined(Frames()), trajectories=[4])
    odd = Frames()
    odd._static = (FieldSpec("density"),)
    with pytest.raises(ValueError, match=r"distinct names of fields, got \['density'\]"):
        write_well_from(target, joined(odd))
    odd._static = (FieldSpec("wind", 1, 3),)
    with pytest.raises(ValueError, match=r"a vector of 2 or a tensor of 4 components.*'wind'"):
        write_well_from(target, joined(odd))
    assert list(tmp_path.iterdir()) == []


MEMORY = """
import resource, sys
import numpy as np
from sciml.data.writers.well import write_well_from
from tests.data.frames import Frames, joined
part = Frames(resolution=(64, 64), count=2, lengths=np.array([4, 4]))
frames = part.frames
part.frames = None
part.read = lambda trajectory, start, stop, stride, out: out.fill(trajectory)
part._lengths = np.full(16, 100, np.int64)
part.read_static = lambda trajectory, out: out.fill(trajectory)
source = joined(part)
write_well_from(sys.argv[1] + "/warm.h5", source, trajectories=[0])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_well_from(sys.argv[1] + "/all.h5", source)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_file(tmp_path):
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    megabytes = int(run.stdout) / 1024
    assert (tmp_path / "all.h5").stat().st_size > 170 * 2**20
    assert megabytes < 80


def well_samples(folder, **options):
    """The samples of The Well's own loader."""
    datasets = pytest.importorskip(
        "the_well.data.datasets", reason="the_well is not installed (it pins an old fsspec)"
    )
    return datasets.WellDataset(
        path=str(folder), well_split_name="train", use_normalization=False, **options
    )


@pytest.mark.parametrize("resolution", [(6, 5), (3, 4, 5)], ids=["2-D", "3-D"])
def test_the_well_s_own_loader_reads_tensors_static_fields_and_scalars(tmp_path, resolution):
    part = Frames(resolution)
    write_well_from(tmp_path / "data" / "train" / "a.hdf5", joined(part))
    samples = well_samples(tmp_path, n_steps_input=2, n_steps_output=1)
    windows = STEPS - 2
    assert len(samples) == 4 * windows
    assert samples.metadata.n_spatial_dims == len(resolution)
    names = [n for group in samples.metadata.field_names.values() for n in group]
    assert names[:3] == ["density", "velocity_x", "velocity_y"]
    assert len(names) == part.spec.frame_channels
    for number in (0, 3):
        sample = samples[number * windows + 1]
        frames = np.moveaxis(part.frames[number], 1, -1)
        np.testing.assert_array_equal(sample["input_fields"].numpy(), frames[1:3])
        np.testing.assert_array_equal(sample["output_fields"].numpy(), frames[3:4])
        static = np.moveaxis(part.static[number], 0, -1)
        np.testing.assert_array_equal(sample["constant_fields"].numpy(), static)
        scalars = sample["constant_scalars"].numpy()
        assert scalars.tolist() == [np.float32(0.1), 10.0 * (number + 1)]
        assert sample["boundary_conditions"].tolist() == [[2, 2]] * len(resolution)


FIELDS = {
    "ranks": [Field("a"), Field("v", 1), Field("t", 2)],
    "flags": [
        Field("a", sample_varying=False),
        Field("v", 1, dim_varying=(True, False), keep_axes=True),
        Field("b", dim_varying=(False, False), keep_axes=True),
    ],
    "static": [
        Field("a"),
        Field("m", time_varying=False),
        Field("w", 1, time_varying=False, sample_varying=False),
    ],
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS.keys())
def test_both_readers_see_the_same_in_files_of_others(tmp_path, fields):
    scalars = [Scalar("nu", [1.0, 2.0, 3.0], sample_varying=True), Scalar("c", 2.0)]
    path = tmp_path / "data" / "train" / "a.hdf5"
    write_well(path, fields=fields, scalars=scalars, boundary={"x": "WALL", "y": "PERIODIC"})
    source = open_source(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of boundaries that are no axes
        samples = well_samples(tmp_path, n_steps_input=1, n_steps_output=1)
        first = [samples[4 * number] for number in range(3)]
    for number, sample in enumerate(first):
        frames = np.moveaxis(read_frames(source, number), 1, -1)
        np.testing.assert_array_equal(sample["input_fields"].numpy(), frames[:1])
        if source.static_fields:
            static = np.moveaxis(read_static(source, number), 0, -1)
            np.testing.assert_array_equal(sample["constant_fields"].numpy(), static)
        codes = sample["boundary_conditions"].numpy()
        assert codes.tolist() == source.boundary(number).tolist()
        assert sample["constant_scalars"].tolist() == [source.params(number)[0], 2.0]
