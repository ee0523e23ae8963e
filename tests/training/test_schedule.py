import math

import pytest

from sciml.training.schedule import Constant, StepDecay, WarmupCosine, WarmupLinear


def test_constant():
    assert [Constant()(x, 3) for x in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]


def test_linear_rises_and_falls_linearly():
    schedule = WarmupLinear(warmup=0.2)
    values = [schedule(x, 0) for x in (0.0, 0.1, 0.2, 0.4, 0.6, 1.0)]
    assert values == pytest.approx([0.0, 0.5, 1.0, 0.75, 0.5, 0.0])


def test_cosine_after_the_warm_up():
    schedule = WarmupCosine(warmup=0.5)
    assert schedule(0.25, 0) == pytest.approx(0.5)
    assert schedule(0.5, 0) == pytest.approx(1.0)
    assert schedule(0.625, 0) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert schedule(1.0, 0) == pytest.approx(0.0)


@pytest.mark.parametrize("schedule", [WarmupLinear(0.0), WarmupCosine(0.0)])
def test_no_warm_up_starts_at_one(schedule):
    assert schedule(0.0, 0) == 1.0
    assert schedule(1.0, 0) == pytest.approx(0.0)


def test_step_decay_follows_epochs_and_not_the_budget():
    schedule = StepDecay(epochs=100, gamma=0.5)
    assert [schedule(0.7, epoch) for epoch in (0, 99, 100, 199, 200, 500)] == [
        1.0, 1.0, 0.5, 0.5, 0.25, 1 / 32,
    ]  # fmt: skip


@pytest.mark.parametrize("schedule", [WarmupLinear, WarmupCosine])
@pytest.mark.parametrize("warmup", [-0.1, 1.0])
def test_warm_up_outside_the_budget(schedule, warmup):
    with pytest.raises(ValueError, match=rf"{schedule.__name__}: expected .* got {warmup}"):
        schedule(warmup)


def test_step_decay_without_epochs():
    with pytest.raises(ValueError, match=r"StepDecay: expected at least one epoch .* got 0"):
        StepDecay(epochs=0)
