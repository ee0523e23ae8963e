import re

import numpy as np
import pytest

from sciml.data import check
from sciml.data.check import layout_departures, scan, summarise
from sciml.data.sources import open_source
from sciml.data.sources.joined import JoinedSource
from tests.data.frames import Frames
from tests.data.pairs import Pairs
from tests.data.well_files import Field, Scalar, write_well


@pytest.mark.parametrize("block", [1, 2**26], ids=["frame by frame", "whole"])
def test_statistics_of_each_field(monkeypatch, block):
    monkeypatch.setattr(check, "_BLOCK_BYTES", block)
    part = Frames()
    finished = []
    found = scan(JoinedSource({"": [part]}), finished.append)
    assert finished == [1] * 4
    assert found.bad_frames == 0
    names = ["density", "velocity", "stress", "permeability", "slope"]
    assert list(found.statistics) == names
    channels = np.split(part.frames.astype("f8"), [1, 3], axis=2)
    channels += np.split(part.static[:, None].astype("f8"), [1], axis=2)
    for name, values in zip(names, channels, strict=True):
        statistics = found.statistics[name]
        axes = (0, 1, 3, 4)
        np.testing.assert_allclose(statistics.mean, values.mean(axes), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(statistics.std, values.std(axes), rtol=1e-12)
        np.testing.assert_array_equal(statistics.minimum, values.min(axes))
        np.testing.assert_array_equal(statistics.maximum, values.max(axes))


def test_pairs_and_point_clouds():
    for part in (Pairs(), Pairs(points=(5, 4, 3, 6))):
        found = scan(JoinedSource({"": [part]}))
        inputs = np.concatenate([x.ravel() for x in part.inputs]).astype("f8")
        assert found.statistics["coefficient"].count == inputs.size
        assert float(found.statistics["coefficient"].mean[0]) == pytest.approx(inputs.mean())
        outputs = np.concatenate([x.reshape(2, -1) for x in part.outputs], axis=1)
        np.testing.assert_array_equal(found.statistics["flux"].maximum, outputs.max(axis=1))


def test_values_that_are_not_finite_are_placed(monkeypatch):
    monkeypatch.setattr(check, "_BLOCK_BYTES", 2048)  # two frames
    part = Frames()
    part.frames[2, 5, 1, 3, 3] = np.nan
    part.frames[2, 5, 2, 0, 0] = -np.inf
    part.frames[3, 1, 0] = np.nan
    part.static[1, 0, 0, 0] = np.inf
    found = scan(JoinedSource({"": [part]}))
    assert found.bad_frames == 3
    assert found.places == [
        "memory, trajectory 1, frame 0: permeability has 0 NaN and 1 infinite of 30 values",
        "memory, trajectory 2, frame 5: velocity has 1 NaN and 1 infinite of 60 values",
        "memory, trajectory 3, frame 1: density has 30 NaN and 0 infinite of 30 values",
    ]
    # the other frames, and the other fields of these, count
    assert found.statistics["density"].count == 27 * 30
    assert found.statistics["velocity"].count == 27 * 30
    assert found.statistics["stress"].count == 28 * 30
    density = np.delete(part.frames[:, :, 0].reshape(28, -1), 3 * 7 + 1, axis=0)
    assert float(found.statistics["density"].minimum[0]) == density.min()


def test_field_without_finite_values():
    part = Frames(count=2)
    part.frames[:, :, 0] = np.nan
    found = scan(JoinedSource({"": [part]}))
    assert found.statistics["density"] is None
    assert found.bad_frames == 14
    part.frames[:] = np.nan
    found = scan(JoinedSource({"": [part]}))
    assert (found.bad_frames, len(found.places)) == (42, 20)


def test_summary_of_trajectories(tmp_path):
    for split, count in {"train": 3, "test": 2}.items():
        write_well(
            tmp_path / "data" / split / "a.h5",
            num_trajectories=count,
            fields=[Field("p"), Field("v", 1), Field("m", time_varying=False)],
            scalars=[
                Scalar("nu", 0.5 * np.arange(1, count + 1), sample_varying=True),
                Scalar("rho", 2.0),
            ],
            boundary={"x": "WALL", "y": "PERIODIC"},
            points=[np.linspace(0, 1, 6), np.arange(4) / 2],
        )
    text = "\n".join(summarise(open_source(tmp_path)))
    for line in (
        "toy: 2 files, 5 trajectories (train 3, test 2)",
        "field v: rank 1, mmap (contiguous)",
        "kind: grid of trajectories, 5 of them",
        "axis x: 0 to 1, bounded, vertex",
        "axis y: 0 to 2, periodic, vertex",
        "resolution: 6 x 4",
        "inputs: p (scalar), v (vector)",
        "static: m (scalar)",
        "frames: 5 to 5, time step 0.1",
        "parameter rho: 2 everywhere",
        "parameter nu: 0.5 to 1.5, 3 different values",
        "split train: trajectories 0 to 2",
        "split test: trajectories 3 to 4",
    ):
        assert re.search(rf"^{re.escape(line)}$", text, re.MULTILINE), line


def test_summary_of_point_clouds_of_pairs():
    lines = summarise(JoinedSource({"": [Pairs(points=(5, 4, 3, 6))]}))
    assert "kind: point clouds of pairs, 4 of them" in lines
    assert "axis y: 0 to 1, bounded, points" in lines
    assert "outputs: flux (vector)" in lines
    assert "frames: 1 to 1, time step unknown" in lines


def test_departures_name_the_file(tmp_path):
    write_well(tmp_path / "a.h5")
    write_well(tmp_path / "b.h5", fields=[Field("t", 2)])
    (tmp_path / "c.npy").write_bytes(b"\x93NUMPY")  # of another format, and not looked at
    (line,) = layout_departures(tmp_path)
    assert line == (
        f"{tmp_path / 'b.h5'}: /t2_fields/t: expected the attributes symmetric and "
        "antisymmetric"
    )
