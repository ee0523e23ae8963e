"""Pairs of input and output fields, and point clouds, through the whole data path."""

import numpy as np
import pytest
import torch

from sciml.data.dataset import WindowedDataset
from sciml.data.module import DataModule
from sciml.data.sources import open_source
from sciml.data.sources.joined import JoinedSource
from sciml.data.statistics import source_statistics
from sciml.data.windows import Windows
from tests.data.pairs import Pairs
from tests.data.well_files import write_well


def joined(*parts):
    return JoinedSource({"": parts})


def test_batches_hold_inputs_and_targets():
    source = Pairs(4)
    batch = WindowedDataset(source).batch([2, 0])
    assert batch.inputs.shape == (2, 1, 6, 5)
    assert batch.targets.shape == (2, 1, 2, 6, 5)
    np.testing.assert_array_equal(batch.inputs[0], source.inputs[2])
    np.testing.assert_array_equal(batch.targets[1, 0], source.outputs[0])
    assert batch.index.tolist() == [[2, 0], [0, 0]]
    assert batch.times.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert batch.coords is None


def test_clouds_are_padded_and_masked():
    source = Pairs(3, points=(7, 4, 9))
    batch = WindowedDataset(source).batch([1, 2])
    assert batch.inputs.shape == (2, 1, 9)
    assert batch.targets.shape == (2, 1, 2, 9)
    assert batch.mask.sum(1).tolist() == [4, 9]
    np.testing.assert_array_equal(batch.inputs[0, :, :4], source.inputs[1])
    np.testing.assert_array_equal(batch.targets[0, 0, :, :4], source.outputs[1])
    np.testing.assert_array_equal(batch.coords[1], source.coords[2])
    for padded in (batch.inputs[0, :, 4:], batch.targets[0, ..., 4:], batch.coords[0, 4:]):
        assert not padded.any()


def test_windows_in_time_are_refused():
    for options in ({"history": 2, "horizon": 0}, {"horizon": 1}, {"horizon": 0, "stride": 2}):
        with pytest.raises(ValueError, match="no windows in time for darcy"):
            WindowedDataset(Pairs(), Windows(**options))
    with pytest.raises(ValueError, match="no history and no rollout of darcy"):
        DataModule(WindowedDataset(joined(Pairs(role="train"), Pairs(role="test"))), history=2)


def test_files_join_by_role_and_parameter():
    parts = Pairs(3, role="test", beta=2.0), Pairs(5, role="train", beta=0.5)
    source = joined(*parts)
    assert dict(source.splits) == {"train": range(5), "test": range(5, 8)}
    assert source.spec.params == ("beta",)
    assert [float(source.params(i)[0]) for i in (0, 4, 5)] == [0.5, 0.5, 2.0]
    same = joined(Pairs(3, beta=2.0), Pairs(5, beta=2.0))
    assert (same.spec.params, dict(same.spec.constants)) == ((), {"beta": 2.0})
    with pytest.raises(
        ValueError, match=r"one of the splits \['train'\] by its name, got pairs"
    ):
        joined(Pairs(role="train"), Pairs())


def test_clouds_of_different_sizes_join():
    source = joined(Pairs(2, points=(3, 8)), Pairs(1, points=(11,)))
    assert source.spec.resolution == (11,)
    batch = WindowedDataset(source).batch([0, 1, 2])
    assert batch.mask.sum(1).tolist() == [3, 8, 11]


@pytest.mark.parametrize("points", [None, (7, 4, 9, 5)])
def test_statistics_of_inputs_and_outputs(points):
    source = Pairs(4, points=points)
    statistics = source_statistics(source, [0, 2])
    for values, found in (
        (source.inputs, statistics.field),
        (source.outputs, statistics.output),
    ):
        chosen = np.concatenate([values[i].reshape(len(values[i]), -1) for i in (0, 2)], axis=1)
        np.testing.assert_allclose(found.mean, chosen.astype("f8").mean(1), rtol=1e-12)
        np.testing.assert_allclose(found.std, chosen.astype("f8").std(1), rtol=1e-12)
    assert statistics.increment is None


def test_statistics_of_each_point():
    source = Pairs(4)
    statistics = source_statistics(source, range(4), per_point=True)
    outputs = np.stack(source.outputs).astype("f8")
    np.testing.assert_allclose(statistics.output.mean, outputs.mean(0).ravel(), rtol=1e-12)
    np.testing.assert_allclose(statistics.output.std, outputs.std(0).ravel(), rtol=1e-12)
    with pytest.raises(ValueError, match="expected a grid for statistics of each point"):
        source_statistics(Pairs(1, points=(4,)), [0], per_point=True)


def test_data_that_are_not_finite_are_named():
    source = Pairs(3)
    source.outputs[1][1, 2, 3] = np.nan
    with pytest.raises(ValueError, match=r"got nan in pairs.npz, trajectory 1, .*'flux'"):
        source_statistics(source, range(3))


def test_module_serves_pairs():
    source = joined(Pairs(6, role="train"), Pairs(3, role="test"))
    data = DataModule(WindowedDataset(source), batch_size=4, seed=6007)
    batches = list(data.train_loader(1))
    assert [len(b) for b in batches] == [4, 2]
    assert batches[0].targets.shape == (4, 1, 2, 6, 5)
    assert len(data.rollout_dataset("test")) == len(data.one_step_dataset("test")) == 3
    seen = torch.cat([b.index[:, 0] for b in batches]).sort().values
    assert seen.tolist() == list(range(6))


def test_reading_what_a_source_does_not_have_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"Pairs\.read_static: expected a source with static"):
        joined(Pairs(2), Pairs(1)).read_static(2, np.zeros((1, 6, 5), "f4"))
    write_well(tmp_path / "a.h5")
    frames = open_source(tmp_path / "a.h5")
    with pytest.raises(
        TypeError, match=r"read_targets: expected .* pairs .*, got trajectories"
    ):
        frames.read_targets(0, np.zeros((1, 6, 4), "f4"))
    with pytest.raises(
        TypeError, match=r"read_coords: expected .* point clouds .*, got a grid"
    ):
        frames.read_coords(0, np.zeros((5, 2), "f4"))
