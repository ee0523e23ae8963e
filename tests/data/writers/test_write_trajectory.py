import numpy as np
import pytest

from sciml.data.sources import open_source
from sciml.data.writers.well import write_trajectory
from sciml.data.writers.well_layout import WellHeader
from sciml.domain import Box
from sciml.spec import DatasetSpec, FieldSpec

FIELDS = (FieldSpec("density"), FieldSpec("velocity", rank=1, components=2))
SPEC = DatasetSpec(
    name="plume",
    domain=Box(("x", "y"), (0.0, 0.0), (1.0, 2.0)),
    resolution=(4, 6),
    in_fields=FIELDS,
    out_fields=FIELDS,
    grid=("cell", "cell"),
    dt=0.5,
)
FRAMES = np.random.default_rng(31415927).standard_normal((3, 3, 4, 6)).astype(np.float32)
BOUNDARY = np.array([[[0, 0], [0, 1]]], np.int64)


def header(**changes):
    given = {
        "spec": SPEC,
        "num_trajectories": 1,
        "time": np.array([0.0, 0.5, 1.0]),
        "params": np.empty((1, 0)),
        "boundary": BOUNDARY,
    }
    return WellHeader(**(given | changes))


def test_frames_come_back_with_time_and_boundaries(tmp_path):
    path = write_trajectory(tmp_path / "plume.hdf5", header(), iter(FRAMES))
    source = open_source(path)
    assert source.spec.out_fields == FIELDS
    assert source.spec.domain == SPEC.domain
    assert source.num_steps(0) == 3
    np.testing.assert_array_equal(source.times(0), [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(source.boundary(0), BOUNDARY[0])
    out = np.empty_like(FRAMES)
    source.read(0, 0, 3, 1, out)
    np.testing.assert_array_equal(out, FRAMES)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (FRAMES[:2], "expected 3 frames, got 2; correct the header's time"),
        ([*FRAMES, FRAMES[0]], r"expected 3 frames of shape \(3, 4, 6\), got one of"),
        (FRAMES[:, :2], r"got one of \(2, 4, 6\) as number 1"),
    ],
)
def test_frames_that_contradict_the_header_leave_no_file(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        write_trajectory(tmp_path / "plume.hdf5", header(), iter(frames))
    assert list(tmp_path.iterdir()) == []


def test_several_trajectories_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a header of one trajectory without static"):
        write_trajectory(
            tmp_path / "two.hdf5", header(num_trajectories=2, params=np.empty((2, 0))), FRAMES
        )
