import math

import h5py
import numpy as np
import pytest
import torch

from sciml.data.sources import open_source
from sciml.data.statistics import ChannelStatistics, source_statistics
from tests.data.well_files import Field, write_well


def two_pass(values):
    """Mean and standard deviation by exactly rounded sums."""
    values = [float(v) for v in values]
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))


def random_values(shape, mean=1.0, std=1.0, dtype=torch.float64, seed=770_117):
    generator = torch.Generator().manual_seed(seed)
    return (mean + std * torch.randn(shape, dtype=torch.float64, generator=generator)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_accurate_at_large_mean(dtype):
    values = random_values((60, 1, 9, 7), mean=1e4, dtype=dtype)
    parts = [ChannelStatistics.of(block) for block in values.split(7)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    mean, std = two_pass(values.flatten().tolist())
    assert merged.count == 60 * 63
    assert abs(float(merged.mean) / mean - 1) < 1e-14
    assert abs(float(merged.std) / std - 1) < 1e-10


def test_channels_extremes_and_rms():
    values = random_values((5, 3, 4, 6)) * torch.tensor([1.0, 10.0, 0.1])[:, None, None]
    statistics = ChannelStatistics.of(values)
    by_channel = values.movedim(1, 0).flatten(1)
    torch.testing.assert_close(statistics.mean, by_channel.mean(1))
    torch.testing.assert_close(statistics.std, by_channel.std(1, correction=0))
    torch.testing.assert_close(statistics.rms, (by_channel**2).mean(1).sqrt())
    torch.testing.assert_close(statistics.sum_squares, (by_channel**2).sum(1))
    assert torch.equal(statistics.minimum, by_channel.amin(1))
    assert torch.equal(statistics.maximum, by_channel.amax(1))


def test_order_and_grouping_do_not_matter():
    parts = [ChannelStatistics.of(b) for b in random_values((64, 2, 5), mean=1e4).split(5)]
    forward = backward = None
    for part in parts:
        forward = part if forward is None else forward.merge(part)
        backward = part if backward is None else part.merge(backward)
    halves = parts[0].merge(parts[1])
    for part in parts[2:]:
        halves = part.merge(halves)
    for other in (backward, halves):
        assert other.count == forward.count
        torch.testing.assert_close(other.mean, forward.mean, rtol=1e-15, atol=0)
        torch.testing.assert_close(other.std, forward.std, rtol=1e-12, atol=0)


def test_refuses_other_channels_and_nonfinite():
    one, two = (ChannelStatistics.of(random_values((3, c, 4))) for c in (1, 2))
    with pytest.raises(ValueError, match="expected 1 channels, got 2"):
        one.merge(two)
    for bad in (math.nan, math.inf, -math.inf):
        values = random_values((3, 2, 4))
        values[1, 1, 2] = bad
        with pytest.raises(ValueError, match="expected finite values, got 1 NaN or infinite"):
            ChannelStatistics.of(values)
    with pytest.raises(ValueError, match="at least one value"):
        ChannelStatistics.of(torch.empty(0, 2, 4))


@pytest.mark.parametrize("lag", [1, 3])
@pytest.mark.parametrize("block_values", [1, 100, 10**6])
def test_source_statistics_of_field_and_increment(tmp_path, lag, block_values):
    fields = [Field("a"), Field("v", 1)]
    frames, _ = write_well(tmp_path / "a.h5", num_steps=9, fields=fields)
    source = open_source(tmp_path)
    statistics = source_statistics(source, [0, 2], lag=lag, block_values=block_values)
    chosen = frames[[0, 2]].astype("f4").astype("f8")
    for values, got in (
        (chosen, statistics.field),
        (chosen[:, lag:] - chosen[:, :-lag], statistics.increment),
    ):
        flat = torch.from_numpy(np.moveaxis(values, 2, 0).reshape(3, -1))
        assert got.count == flat.shape[1]
        torch.testing.assert_close(got.mean, flat.mean(1), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(got.std, flat.std(1, correction=0), rtol=1e-12, atol=0)
        assert torch.equal(got.minimum, flat.amin(1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_is_located(tmp_path, bad):
    write_well(tmp_path / "a.h5")
    write_well(tmp_path / "b.h5", fields=[Field("vorticity")], num_steps=5)
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["t0_fields/vorticity"][1, 3, 2, 2] = bad
    source = open_source(tmp_path)
    source_statistics(source, [0, 1, 2, 3, 5])
    message = rf"got {bad} in .*b\.h5, trajectory 1, frame 3, field 'vorticity'"
    for block_values in (24, 10**6):
        with pytest.raises(ValueError, match=message):
            source_statistics(source, range(6), block_values=block_values)


def test_too_short_for_increments(tmp_path):
    write_well(tmp_path / "a.h5", num_steps=2)
    with pytest.raises(ValueError, match="trajectory of more than 2 frames in toy, got none"):
        source_statistics(open_source(tmp_path), range(3), lag=2)
