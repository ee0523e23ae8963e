import errno
import json
import sys
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from sciml.evaluation import report


def shown(comparison):
    stream = StringIO()
    report.show_comparison(comparison, Console(file=stream, width=120))
    return stream.getvalue()


def test_table_has_a_row_each_and_the_verdict_below(comparison):
    text = shown(comparison)
    table, verdict = text.split("└")
    for name in (
        "halving",
        "persistence",
        "exact",
        "12,345",
        "1.000e-02",
    ):
        assert name in table
    assert "3 frames" in table
    assert "relative L2 errors; ms per sample and time unit" in text
    assert "exact" in verdict


def test_metrics_round_trip_and_replace_the_old_file(tmp_path):
    report.write_metrics(tmp_path / "run", {"test/b": 1.0})
    path = report.write_metrics(tmp_path / "run", {"test/b": 0.1 + 0.2, "model/n": 7})
    assert json.loads(path.read_text()) == {"model/n": 7, "test/b": 0.1 + 0.2}
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


def test_values_that_json_cannot_hold_become_null_and_are_named(tmp_path, caplog):
    values = {"a": float("nan"), "b": float("inf"), "c": 2.0}
    path = report.write_metrics(tmp_path, values)
    assert json.loads(path.read_text()) == {"a": None, "b": None, "c": 2.0}
    assert "null to metrics.json: a, b" in caplog.text


@pytest.mark.parametrize("value", ["1.0", True, None, torch.tensor(1.0)])
def test_only_numbers_are_metrics(tmp_path, value):
    with pytest.raises(TypeError, match=r"write_metrics: expected numbers, got a="):
        report.write_metrics(tmp_path, {"a": value})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = report.write_metrics(tmp_path, {"a": 1.0})

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"metrics\.json.*No space left"):
        report.write_metrics(tmp_path, {"a": 2.0})
    assert json.loads(path.read_text()) == {"a": 1.0}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_environment_says_what_a_number_depends_on(tmp_path):
    path = report.write_environment(tmp_path, 90_017, {"scale": "smoke"})
    values = json.loads(path.read_text())
    assert values["seed"] == 90_017
    assert values["scale"] == "smoke"
    assert values["command"] == sys.argv
    assert values["versions"]["torch"] == torch.__version__
    assert values["torch_threads"] == torch.get_num_threads()
    assert values["memory_bytes"] is None or values["memory_bytes"] > 1e8
    assert values["commit"] is None or len(values["commit"]) == 40
    assert values["processor"]


def test_environment_without_git_has_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    values = report.environment()
    assert values["commit"] is None
    assert values["uncommitted_changes"] is None


def test_summary_line_shows_what_there_is():
    metrics = {"test/rollout_relative_l2": 0.012345, "time/train_seconds": 100.0, "x": 1.0}
    line = report.summary_line(metrics, Path("out"))
    assert line == "test/rollout_relative_l2=0.01235 time/train_seconds=100 folder=out"
    assert report.summary_line(metrics, "out", ["x", "y"]) == "x=1 folder=out"
