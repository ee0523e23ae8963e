"""Data that are drawn on the fly: order, ranks, resuming, validation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import pytest
import torch

from sciml.data.drawn import DrawnData, DrawnLoader, DrawnPlan
from sciml.data.epochs import EpochLoader
from sciml.simulate.poisson_samples import CosineSampler, PressureSampler, poisson_spec
from sciml.simulate.sampler import Sampler
from sciml.spec import Batch, DatasetSpec


@final
@dataclass(frozen=True)
class Numbers(Sampler):
    """Sample i is the number i, plus a thousand seeds."""

    @property
    def spec(self) -> DatasetSpec:
        return poisson_spec("numbers", (2, 2), masks=False)

    def draw(self, seed: int, indices: Sequence[int]) -> Batch:
        values = torch.tensor([float(1000 * seed + i) for i in indices])
        return Batch(values.reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2))


def numbers(loader: DrawnLoader) -> list[list[int]]:
    return [batch.inputs[:, 0, 0, 0].int().tolist() for batch in loader]


def loader(**options) -> DrawnLoader:
    return DrawnLoader(Numbers(), **{"seed": 0, "batch_size": 4, "num_samples": 10} | options)


def test_no_epoch_repeats_a_sample():
    made = loader(seed=3)
    assert len(made) == 3
    assert numbers(made) == [[3000, 3001, 3002, 3003], [3004, 3005, 3006, 3007], [3008, 3009]]
    assert numbers(made) == [[3010, 3011, 3012, 3013], [3014, 3015, 3016, 3017], [3018, 3019]]
    assert isinstance(made, EpochLoader)


def test_any_position_can_be_taken_up():
    made = loader()
    made.set_epoch(2, 1)
    assert numbers(made) == [[24, 25, 26, 27], [28, 29]]
    made.set_epoch(0, 3)  # the end of an epoch is the start of the next
    assert numbers(made)[0] == [10, 11, 12, 13]
    with pytest.raises(ValueError, match="position of 0 to 3, got 0 and 4"):
        made.set_epoch(0, 4)


def test_ranks_share_every_batch():
    parts = [numbers(loader(rank=rank, world_size=2)) for rank in range(2)]
    assert parts == [[[0, 2], [4, 6], [8]], [[1, 3], [5, 7], [9]]]


def test_a_repeated_series_is_the_same_every_time():
    made = loader(repeated=True)
    assert numbers(made) == numbers(made)
    made.set_epoch(5)
    assert numbers(made)[0] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"num_samples": 0}, "num_samples >= 1"),
        ({"seed": -1}, "seed >= 0"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"world_size": 3}, "divisible by 3 processes"),
        ({"num_samples": 9, "world_size": 2}, "divisible by 2 processes"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        loader(**options)


def test_data_have_a_series_to_train_on_and_one_to_validate_on():
    plan = DrawnPlan(
        CosineSampler((8, 8)),
        batch_size=2,
        epoch_size=4,
        validation=PressureSampler((6, 10)),
        validation_size=3,
    )
    assert plan.spec() == CosineSampler((8, 8)).spec
    assert not plan.has_targets
    data = plan.open(7919)
    assert data.has_split("train")
    assert data.has_split("valid")
    assert not data.has_split("test")
    first, *_ = data.train_loader(1)
    torch.testing.assert_close(first.inputs, CosineSampler((8, 8)).draw(7919, [0, 1]).inputs)
    (once,), (again,) = data.validation_loader(), plan.open(60013).validation_loader()
    assert once.inputs.shape == (3, 1, 6, 10)
    assert torch.equal(once.inputs, again.inputs)  # the same for all runs
    assert data.settings["sampler"] == repr(CosineSampler((8, 8)))
    assert data.settings["epoch_size"] == 4


def test_without_validation_there_is_no_such_split():
    data = DrawnData(CosineSampler((8, 8)), batch_size=2, epoch_size=4)
    assert not data.has_split("valid")
    with pytest.raises(ValueError, match="expected validation samples of 'poisson_dct'"):
        data.validation_loader()
    with pytest.raises(ValueError, match="expected no normalisation of 'poisson_dct'"):
        data.statistics()


def test_samples_of_another_kind_cannot_validate():
    with pytest.raises(ValueError, match=r"validation samples with the fields \['resid"):
        DrawnData(
            CosineSampler((8, 8)),
            batch_size=2,
            epoch_size=4,
            validation=PressureSampler((8, 8), masks=True),
        )
    with pytest.raises(ValueError, match=r"on 2 axes, got .* on 3"):
        DrawnPlan(
            CosineSampler((8, 8)),
            batch_size=2,
            epoch_size=4,
            validation=PressureSampler((4, 4, 4)),
        )


def test_batches_go_to_the_device_that_is_asked_for():
    made = loader().to(torch.device("cpu"))
    assert next(iter(made)).inputs.device.type == "cpu"
    assert replace(next(iter(made))).targets is None
