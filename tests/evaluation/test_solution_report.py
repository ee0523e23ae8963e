import csv
import json
import logging

import pytest
from rich.console import Console

from sciml.evaluation.problem_plan import ProblemPlan
from sciml.evaluation.solution_report import show_outcomes, solve_and_report
from sciml.pde import gallery
from sciml.pde.conditions import Dirichlet
from sciml.pde.problem import Problem
from sciml.solvers.base import PDESolver
from sciml.solvers.collocation import ChebyshevCollocation
from sciml.training.loggers import csv_logger, finish
from tests.evaluation.solved import outcome

FINE, COARSE = ChebyshevCollocation(resolution=32), ChebyshevCollocation(resolution=12)


def plan_with(**baselines):
    parameters = {"frequencies": [2.5]}
    return ProblemPlan(
        gallery.poisson_1d, "single_sin", parameters=parameters, baselines=baselines
    )


def said(*outcomes):
    console = Console(width=200, record=True)
    show_outcomes("title", outcomes, console)
    return console.export_text()


def test_a_record_of_solver_and_baseline(tmp_path, capsys):
    loggers = csv_logger(tmp_path)
    metrics = solve_and_report(
        plan_with(coarse=COARSE, same=FINE), FINE, tmp_path, loggers, name="fine"
    )
    finish(loggers)
    assert metrics["test/relative_l2"] < 1e-10 < metrics["baseline/coarse/relative_l2"] < 0.1
    # a solver is not compared with its equal
    assert not any(name.startswith("baseline/same") for name in metrics)
    assert json.loads((tmp_path / "metrics.json").read_text()) == pytest.approx(metrics)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["solve/residual"]) >= 0
    assert float(rows[-1]["test/relative_l2"]) == metrics["test/relative_l2"]
    text = capsys.readouterr().out
    assert "fine is more accurate than coarse" in text
    assert text.count("│ ") >= 12


def test_a_failed_solve_is_said_and_recorded(tmp_path, caplog):
    plan = ProblemPlan(gallery.allen_cahn_1d, "single_sin")
    with caplog.at_level(logging.WARNING):
        metrics = solve_and_report(plan, ChebyshevCollocation(64, max_steps=1), tmp_path)
    assert metrics["solve/converged"] == 0.0
    assert "MAX_STEPS: the largest number of steps was reached" in caplog.text
    assert (tmp_path / "solution.json").is_file()


def test_a_baseline_that_cannot_solve_the_problem_is_left_out(tmp_path, caplog):
    class Choosy(PDESolver):
        def solve(self, problem, *, callback=None):
            raise ValueError("expected another problem")

    metrics = solve_and_report(plan_with(choosy=Choosy(), coarse=COARSE), FINE, tmp_path)
    assert "baseline choosy is left out: expected another problem" in caplog.text
    names = {name.split("/")[1] for name in metrics if name.startswith("baseline/")}
    assert names == {"coarse"}


def test_table_names_error_nodes_and_status():
    text = said(
        outcome("ours", 1e-3, 2.0, resolution=(24, 192)),
        outcome("cube", None, 2.0, resolution=(50, 50, 50)),
    )
    assert "1.00e-03" in text
    assert "24×192" in text
    assert "50³" in text
    assert "stagnation" in text
    assert "–" in text


@pytest.mark.parametrize(
    ("ours", "theirs", "sentence", "better"),
    [
        ((1e-9, 1.0), (1e-5, 2.0), "ours is more accurate than base and faster", False),
        ((1e-9, 3.0), (1e-5, 2.0), "ours is more accurate than base and slower", False),
        ((1e-3, 1.0), (1e-5, 2.0), "ours is less accurate than base and faster", False),
        ((1e-3, 3.0), (1e-5, 2.0), "ours is less accurate than base and slower", True),
        ((1e-14, 3.0), (2e-14, 2.0), "ours is as accurate as base and slower", True),
        ((3e-14, 1.0), (2e-14, 2.0), "ours is as accurate as base and faster", False),
    ],
)
def test_the_verdict_is_honest(ours, theirs, sentence, better):
    text = said(outcome("ours", *ours), outcome("base", *theirs))
    assert sentence in text
    assert ("the classical solver is the better choice" in text) == better


def test_unknown_solutions_are_judged_by_the_residual():
    text = said(outcome("ours", None, 1.0, residual_norm=1e-8), outcome("base", None, 2.0))
    assert "more accurate than base and faster: residual 1.00e-08 against 5.00e-01" in text


def test_the_published_measure_is_named_as_such():
    text = said(outcome("ours", 0.2, 1.0, best_checkpoint_error=0.1234))
    assert "published protocol's best of checkpoints, chosen by test error: 1.234e-01" in text


def test_what_no_solver_can_solve_is_an_error(tmp_path):
    def short(case):
        whole = gallery.poisson_1d("single_sin")
        return Problem(
            whole.domain, lambda points, u: u.d(x=2), [Dirichlet("x", "low", 0.0)], name=case
        )

    with pytest.raises(ValueError, match="condition"):
        solve_and_report(ProblemPlan(short, "short"), FINE, tmp_path)
