import inspect

import numpy as np
import pytest

from sciml.data.sources.base import Source
from sciml.data.sources.resident import ResidentSource
from sciml.data.sources.wrapped import WrappedSource
from sciml.spec import FieldSpec
from tests.data.pairs import Pairs

PUBLIC = [
    name
    for name, _ in inspect.getmembers(Source)
    if not name.startswith("_") and name not in ("num_trajectories", "num_steps")
]


ARGUMENTS = {
    "read": (1, 0, 1, 1, np.empty((1, 1, 7), "f4")),
    "read_targets": (1, np.empty((2, 7), "f4")),
    "read_static": (1, np.empty((1, 7), "f4")),
    "read_coords": (1, np.empty((7, 2), "f4")),
}


class Distinct(Pairs):
    """Clouds whose every answer differs from the default of `Source`."""

    splits = property(lambda self: {"train": range(1, 3)})
    split_preset = "lsm_pipe"
    part_sizes = (1, 2)
    static_fields = (FieldSpec("walls"),)
    fingerprint = "f"

    def params(self, trajectory):
        return np.array([3.0 + trajectory])

    def read_static(self, trajectory, out):
        out[:] = trajectory


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_is_the_wrapped_sources_own(name):
    """A member added to `Source` must be passed on too."""
    assert name in vars(WrappedSource), name
    inner = Distinct(3, points=(4, 7, 5))
    own, wrapped = getattr(inner, name), getattr(WrappedSource(inner), name)
    if not callable(own):
        assert np.all(own == wrapped)
    elif name in ARGUMENTS:
        *numbers, expected = ARGUMENTS[name]
        found = np.full_like(expected, np.nan)
        own(*numbers, expected)
        wrapped(*numbers, found)
        np.testing.assert_array_equal(found, expected)
    else:
        given = [1] * len(inspect.signature(own).parameters)
        np.testing.assert_array_equal(own(*given), wrapped(*given))


@pytest.mark.parametrize("points", [None, (4, 7, 2, 5)])
def test_resident_pairs_and_clouds_are_read_once(points):
    class Counting(WrappedSource):
        reads = 0

        def read(self, *given):
            self.reads += 1
            super().read(*given)

        def read_targets(self, *given):
            self.reads += 1
            super().read_targets(*given)

    pairs = Pairs(4, points=points)
    counting = Counting(pairs)
    source = ResidentSource(counting)
    for _ in range(3):
        space = pairs.inputs[1].shape[1:]
        frames, targets = np.empty((1, 1, *space), "f4"), np.empty((2, *space), "f4")
        source.read(1, 0, 1, 1, frames)
        source.read_targets(1, targets)
        np.testing.assert_array_equal(frames[0], pairs.inputs[1])
        np.testing.assert_array_equal(targets, pairs.outputs[1])
    assert counting.reads == 2
    assert source.num_points(1) == pairs.num_points(1)
