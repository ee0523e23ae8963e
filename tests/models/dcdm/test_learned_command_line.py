"""Learned CCMG through the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import sciml
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.learned_ccmg import LearnedCCMG
from tests.models.dcdm.systems import pressure_system

pytestmark = pytest.mark.usefixtures("isolated")


def test_a_net_is_trained_judged_saved_and_preconditions(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_cli(
        "model=learned_ccmg",
        "dataset=poisson_geometry",
        "scale=smoke",
        "evaluation.kinds=[random]",
        "evaluation.scales=[1]",
        "hydra.run.dir=run",
    )
    assert "test/iterations@1e-6=" in capsys.readouterr().out.splitlines()[-1]
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["model/num_parameters"] == 1212
    mine = metrics["test/random_16x16/iterations@1e-6"]
    alone = [
        metrics[f"baseline/{name}/random_16x16/iterations@1e-6"]
        for name in ("learned_always", "classical")
    ]
    assert mine in alone
    assert mine <= min(alone) + 1
    assert "valid/pcg_iters@1e-6" in Path("run/metrics.csv").read_text()
    surrogate = sciml.load("run")
    operator, b = pressure_system("random", (21, 34))
    m = LearnedCCMG(surrogate, operator)
    solution = linear_solve(operator, b, CG(rtol=1e-10), preconditioner=m)
    assert float((b - operator.mv(solution.value)).norm()) <= 1.01e-10 * float(b.norm())


def test_data_without_flags_are_refused_in_one_line(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_cli("model=learned_ccmg", "dataset=poisson_dct", "scale=smoke")
    assert stop.value.code == 1
    (error,) = [line for line in capsys.readouterr().out.splitlines() if "error: " in line]
    assert "expected right-hand sides with cell flags" in error
    assert error.endswith("data sets that this model accepts: poisson_geometry")
