import math
import time

import pytest
import torch

from sciml.evaluation.evaluate import evaluate
from sciml.models.persistence import Persistence
from tests.evaluation.stand_ins import DT, Decay, Halving, make_spec


def test_known_errors_of_a_rollout():
    spec = make_spec()
    result = evaluate(Halving(0.03), Decay(spec), Decay(spec, num_samples=7, num_frames=1))
    metrics = result.metrics
    for name in ("rollout_relative_l2", "one_step_relative_l2"):
        assert metrics[name] == pytest.approx(0.03, rel=1e-4)
    for band in ("low", "mid", "high"):
        assert metrics[f"spectral_error_{band}"] == pytest.approx(0.03, rel=1e-4)
    steps = [metrics[f"rollout_relative_l2_step_{i:02d}"] for i in (1, 2, 3)]
    assert steps == pytest.approx([0.03] * 3, rel=1e-4)
    assert metrics["divergence_step"] == 3
    assert result.curve.shape == (5, 3)
    truth = Decay(spec).batch(range(5)).targets
    rms = (0.03 * truth).square().flatten(1).mean(1).sqrt().mean().item()
    assert metrics["rmse"] == pytest.approx(rms, rel=1e-4)


def test_persistence_against_decay_has_a_closed_form():
    result = evaluate(Persistence.from_spec(make_spec()), Decay(make_spec()))
    # Frame t of the truth is u / 2^t, so that the error relative to it is 2^t - 1.
    assert result.curve.mean(0).tolist() == pytest.approx([1.0, 3.0, 7.0], rel=1e-5)
    assert result.metrics["divergence_step"] <= 1
    whole = math.sqrt((0.5**2 + 0.75**2 + 0.875**2) / (0.5**2 + 0.25**2 + 0.125**2))
    assert result.metrics["rollout_relative_l2"] == pytest.approx(whole, rel=1e-5)
    assert "one_step_relative_l2" not in result.metrics


@pytest.mark.parametrize("space", [(9,), (5, 8), (4, 5, 6)])
@pytest.mark.parametrize("batch_size", [1, 2, 50])
def test_results_do_not_depend_on_the_batch_size(space, batch_size):
    spec = make_spec(space)
    dataset = Decay(spec)
    result = evaluate(
        Persistence.from_spec(spec), dataset, batch_size=batch_size, num_examples=3
    )
    expected = evaluate(Persistence.from_spec(spec), Decay(spec), num_examples=3)
    assert result.metrics == pytest.approx(expected.metrics, rel=1e-5)
    torch.testing.assert_close(result.curve, expected.curve)
    torch.testing.assert_close(result.examples.prediction, expected.examples.prediction)
    assert dataset.largest_request <= batch_size


def test_examples_are_the_first_samples_with_their_times():
    examples = evaluate(Halving(), Decay(make_spec()), batch_size=2, num_examples=3).examples
    truth = Decay(make_spec()).batch([0, 1, 2]).targets.double()
    torch.testing.assert_close(examples.truth, truth)
    torch.testing.assert_close(examples.prediction, truth)
    assert examples.times[0].tolist() == [10.5, 11.0, 11.5]
    silent = evaluate(Halving(), Decay(make_spec(), times=False)).examples
    assert silent.times[0].tolist() == [0.5, 1.0, 1.5]


def test_data_without_time_is_one_application():
    spec = make_spec(steady=True)
    result = evaluate(Halving(0.2), Decay(spec, num_frames=1))
    assert result.metrics["relative_l2"] == pytest.approx(0.2, rel=1e-5)
    assert not [name for name in result.metrics if "rollout" in name or "divergence" in name]


def test_time_counts_per_sample_and_unit_of_time(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    # One second by this clock, for 5 samples and 3 frames of DT each.
    result = evaluate(Halving(), Decay(make_spec()))
    assert result.milliseconds == pytest.approx(1000 / (5 * 3 * DT))
    steady = evaluate(Halving(), Decay(make_spec(steady=True), num_frames=1))
    assert steady.milliseconds == pytest.approx(1000 / 5)


def test_parameters_go_to_those_who_take_them():
    taker, ignorer = Halving(), Halving()
    ignorer.accepts_params = False
    for forecaster in (taker, ignorer):
        evaluate(forecaster, Decay(make_spec(params=("viscosity",))))
    assert taker.params is not None
    assert ignorer.params is None


def test_a_diverged_forecast_is_not_hidden():
    class Diverging(Halving):
        def rollout(self, u, num_steps, *, params=None):
            frames = super().rollout(u, num_steps)
            frames[:, 1:] = float("inf")
            return frames

    metrics = evaluate(Diverging(), Decay(make_spec())).metrics
    assert not math.isfinite(metrics["rollout_relative_l2"])
    assert metrics["rollout_relative_l2_step_01"] == pytest.approx(0, abs=1e-6)
    assert metrics["divergence_step"] == 1


def test_bad_input_is_named():
    class Short(Halving):
        def rollout(self, u, num_steps, *, params=None):
            return super().rollout(u, num_steps - 1)

    with pytest.raises(
        ValueError, match=r"expected a forecast of shape \(5, 3, 1, 8, 6\), got \(5, 2"
    ):
        evaluate(Short(), Decay(make_spec()))
    with pytest.raises(ValueError, match="expected at least one sample of 'decay', got none"):
        evaluate(Halving(), Decay(make_spec(), num_samples=0))
    with pytest.raises(TypeError, match="expected a rollout method for 'decay', got function"):
        evaluate(lambda u, *, params=None: u, Decay(make_spec()))
