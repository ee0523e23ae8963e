"""Methods for linear systems side by side: counts, metrics, table, figure, files."""

import functools
import io
import json
import math

import pytest
import torch
from rich.console import Console

from sciml.data.drawn import DrawnData, DrawnPlan
from sciml.evaluation.systems import (
    conjugate_gradients,
    fixed_systems,
    measure_method,
    multigrid,
)
from sciml.evaluation.systems_judge import SystemsJudge, residual_figure, show_systems
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.model import DCDMNet
from sciml.models.dcdm.solver import DCDM, methods
from sciml.simulate.poisson_samples import CosineSampler
from sciml.solution import Status
from sciml.training.fit import FitReport
from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate

TOLERANCES = (1e-4, 1e-6, 1e-10)


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    torch.manual_seed(60013)
    data = DrawnData(CosineSampler((8, 8)), batch_size=1, epoch_size=1)
    return Surrogate(
        NormalizedModel.from_data(DCDMNet(2, hidden_channels=4), data, kind="none")
    )


limited = functools.partial(methods, max_steps=12)


@pytest.fixture(scope="module")
def judge() -> SystemsJudge:
    return SystemsJudge(limited, kinds=("random", "freesurf"), scales=(2,))


def test_counts_are_those_of_separate_solves():
    (system,) = fixed_systems(["random"], [(12, 10)], seed=7919)
    found = measure_method("cg", conjugate_gradients, system, TOLERANCES)
    for tolerance in TOLERANCES:
        run = CG(rtol=tolerance).solve(system.operator, system.b)
        assert abs(found.steps[tolerance] - run.num_steps) <= 1
    assert found.status is Status.CONVERGED
    assert found.history[0] == pytest.approx(1.0)
    assert found.solve_seconds > 0
    low, high = found.extremes
    values = torch.linalg.eigvalsh(system.operator.to_dense())
    assert high == pytest.approx(float(values[-1]), rel=1e-3)
    assert low == pytest.approx(float(values[values > 1e-9][0]), rel=0.05)


def test_a_tolerance_that_is_missed_has_no_count():
    (system,) = fixed_systems(["thin"], [(12, 12)], seed=7919)

    def two_steps(operator, rtol):
        return DCDM(lambda r: r, rtol=rtol, max_steps=2, fallback=False), None

    found = measure_method("two", two_steps, system, TOLERANCES)
    assert set(found.steps.values()) == {None}
    assert found.extremes is None
    assert found.metrics()["thin_12x12/iterations@1e-6"] == math.inf
    assert found.metrics()["thin_12x12/iterations@1e-4"] == math.inf


def test_multigrid_needs_fewer_steps_than_cg():
    (system,) = fixed_systems(["random"], [(24, 24)], seed=7919)
    plain = measure_method("cg", conjugate_gradients, system, TOLERANCES)
    cycle = measure_method("ccmg", multigrid, system, TOLERANCES)
    assert cycle.steps[1e-6] < plain.steps[1e-6]
    assert 0 < cycle.extremes[0] <= cycle.extremes[1] < 2


def test_systems_are_fixed():
    one, two = (fixed_systems(["random"], [(8, 8), (16, 16)], seed=3001) for _ in range(2))
    assert [system.name for system in one] == ["random_8x8", "random_16x16"]
    for mine, other in zip(one, two, strict=True):
        assert torch.equal(mine.b, other.b)
        assert torch.equal(mine.operator.flags, other.operator.flags)


def test_a_run_leaves_metrics_table_and_figure(tmp_path, surrogate, judge, capsys):
    data = DrawnData(CosineSampler((8, 8)), batch_size=1, epoch_size=1)
    metrics = judge(FitReport(surrogate, tmp_path, 1.5, 3), data, {}, name="dcdm")
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written.keys() == metrics.keys()
    for system in ("random_16x16", "freesurf_16x16"):
        for name in ("iterations@1e-6", "iterations@1e-10", "setup_seconds", "solve_seconds"):
            assert f"test/{system}/{name}" in metrics
            assert f"baseline/cg/{system}/{name}" in metrics
        assert metrics[f"baseline/ccmg/{system}/eigenvalue_max"] < 2
    assert metrics["time/train_seconds"] == 1.5
    assert judge.headline(data.spec) in metrics
    assert set(judge.summary) <= metrics.keys()
    assert metrics["test/unsolved@1e-6"] == 2
    assert metrics["baseline/ccmg/unsolved@1e-6"] == 0
    assert (tmp_path / "figures" / "residuals.png").is_file()
    said = capsys.readouterr().out
    assert "dcdm takes fewer iterations than cg on" in said
    assert "random_16x16" in said


def test_the_table_names_the_better_choice(judge, surrogate):
    results = judge.results(surrogate)
    console = Console(record=True, width=140, file=io.StringIO())
    show_systems("poisson_dct", results, console)
    assert "ccmg is the better choice" in console.export_text()
    figure = residual_figure(results)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["random_16x16", "freesurf_16x16"]
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["dcdm", "cg", "ccmg"]
    assert list(lines[1].get_ydata()) == list(results["cg"][0].history)


def test_what_does_not_fit_is_refused(judge):
    plan = DrawnPlan(CosineSampler((8, 8)), batch_size=1, epoch_size=1)
    judge.check(plan)
    with pytest.raises(ValueError, match="expected kinds, scales and tolerances with 1e-6"):
        SystemsJudge(methods, tolerances=(1e-4,))
    with pytest.raises(ValueError, match="expected kinds, scales"):
        SystemsJudge(methods, kinds=())
