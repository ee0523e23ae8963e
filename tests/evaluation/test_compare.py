import pytest
import torch

from sciml.evaluation.compare import Comparison, Contestant, Row, compare, verdict
from sciml.evaluation.evaluate import Evaluation, Examples
from tests.evaluation.stand_ins import Decay, Halving, make_spec


def row(name, role, error, milliseconds):
    empty = torch.zeros(1, 2, 1, 4, 4)
    evaluation = Evaluation(
        {"rollout_relative_l2": error, "vrmse": error},
        torch.full((1, 2), error),
        Examples(empty, empty, torch.zeros(1, 2)),
        milliseconds,
    )
    return Row(Contestant(name, Halving(), role), evaluation, error)


def judged(*rows):
    return verdict(Comparison(rows, make_spec()))


def test_the_surrogate_leads_and_metrics_are_flat(comparison):
    assert [r.contestant.name for r in comparison.rows] == ["halving", "persistence", "exact"]
    metrics = comparison.metrics()
    assert metrics["test/rollout_relative_l2"] == pytest.approx(0.01, rel=1e-4)
    assert metrics["test/one_step_relative_l2"] == pytest.approx(0.01, rel=1e-4)
    assert metrics["baseline/exact/rollout_relative_l2"] == pytest.approx(0, abs=1e-6)
    assert metrics["baseline/persistence/rollout_relative_l2_step_02"] == pytest.approx(
        3, rel=1e-4
    )
    assert metrics["test/milliseconds_per_time_unit"] > 0
    assert {name.split("/")[0] for name in metrics} == {"test", "baseline"}
    assert all(isinstance(value, float) for value in metrics.values())


def test_data_without_time_leads_with_relative_l2():
    spec = make_spec(steady=True)
    result = compare(
        [Contestant("map", Halving(0.1))], Decay(spec, num_frames=1), split="valid"
    )
    assert result.surrogate.error == pytest.approx(0.1, rel=1e-4)
    assert result.metrics()["valid/relative_l2"] == pytest.approx(0.1, rel=1e-4)
    assert "valid/milliseconds_per_application" in result.metrics()


@pytest.mark.parametrize(
    ("error", "milliseconds", "sentence"),
    [
        (1e-3, 1.0, "LSM beats solver in accuracy and speed"),
        (1e-3, 9.0, "LSM is more accurate than solver but slower"),
        (1e-1, 1.0, "LSM is faster than solver but less accurate"),
        (1e-1, 9.0, "LSM loses to solver in accuracy and in speed"),
    ],
)
def test_verdict_against_a_solver(error, milliseconds, sentence):
    said = judged(
        row("LSM", "surrogate", error, milliseconds), row("solver", "solver", 1e-2, 3.0)
    )
    assert len(said) == 1
    assert said[0].startswith(sentence)
    assert f"{error:.2e} against 1.00e-02" in said[0]
    assert f"{milliseconds:.3g} against 3 ms per time unit and sample" in said[0]
    assert ("the classical solver is the better choice" in said[0]) == (
        error == 1e-1 and milliseconds == 9
    )


@pytest.mark.parametrize("error", [0.5, 0.7, float("nan")])
def test_no_better_than_persistence_is_said(error):
    said = judged(row("LSM", "surrogate", error, 1.0), row("persistence", "trivial", 0.5, 0.1))
    assert said[0].startswith("LSM is no more accurate than persistence")
    better = judged(row("LSM", "surrogate", 0.4, 1.0), row("persistence", "trivial", 0.5, 0.1))
    assert better == []


def test_one_surrogate_and_distinct_names():
    spec = make_spec()
    with pytest.raises(
        ValueError, match="compare: expected one surrogate and baselines with distinct"
    ):
        compare([Contestant("a", Halving()), Contestant("b", Halving())], Decay(spec))
    with pytest.raises(ValueError, match="distinct names"):
        compare([Contestant("a", Halving()), Contestant("a", Halving(), "solver")], Decay(spec))
