import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sciml.training.fit import fit
from sciml.training.loggers import (
    CSVFile,
    WandbTracking,
    csv_logger,
    finish,
    log_artifact,
    log_config,
    log_figure,
    log_metrics,
)
from sciml.training.objective import OneStep
from tests.training.diffusion import convolution, diffusion_data

OFFLINE_RUN = """
import sys
from pathlib import Path
from sciml.training.fit import fit
from sciml.training.loggers import *
from sciml.training.objective import OneStep
from tests.training.diffusion import convolution, diffusion_data

folder = Path(sys.argv[1])
loggers = wandb_logger(folder, project="test", name="offline")
assert "wandb" not in sys.modules  # until it is used
log_config(loggers, {"model": {"width": 6}, "seed": 3})
data = diffusion_data()
fit(convolution(data), data, OneStep(), max_epochs=2, folder=folder, logger=loggers,
    log_every_n_steps=2)
import matplotlib
matplotlib.use("Agg")
import matplotlib.image
matplotlib.image.imsave(folder / "picture.png", [[0.0, 1.0], [1.0, 0.0]])
log_metrics(loggers, {"test/relative_l2": 0.125}, 20)
log_figure(loggers, "rollout", folder / "picture.png")
log_artifact(loggers, folder)
for suffix in ("json", "safetensors"):
    (folder / f"solution.{suffix}").write_bytes(b"{}")
log_artifact(loggers, folder, "solution")
finish(loggers)
assert loggers[1].is_active
"""


def test_wandb_offline_with_the_real_client(tmp_path):
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("WANDB")},
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
        "HOME": str(tmp_path / "home"),  # no account
    }
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE_RUN, str(tmp_path)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert "no API key, recording offline" in run.stderr
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (record,) = folder.glob("*.wandb")
    content = record.read_bytes()
    for expected in (
        b"width",
        b"train/loss",
        b"valid/rollout_relative_l2",
        b"test/relative_l2",
        b"media/images/rollout",
        b"surrogate.safetensors",
        b"solution.safetensors",
    ):
        assert expected in content, expected
    assert list(folder.glob("files/media/images/rollout*.png"))
    rows = (tmp_path / "metrics.csv").read_text()
    assert "test/relative_l2" in rows
    assert "train/loss" in rows


class Broken:
    def __getattr__(self, name):
        raise ConnectionError("server is gone")


@pytest.mark.parametrize("when", ["at start", "later"])
def test_a_failing_client_is_said_once_and_costs_nothing(tmp_path, caplog, when):
    def make():
        if when == "at start":
            raise TimeoutError("server is gone")
        return Broken()

    loggers = [CSVFile(tmp_path), WandbTracking(make)]
    data = diffusion_data()
    with caplog.at_level(logging.WARNING):
        log_config(loggers, {"a": 1})
        report = fit(
            convolution(data), data, OneStep(), max_steps=4, folder=tmp_path, logger=loggers,
            log_every_n_steps=1,
        )  # fmt: skip
        log_figure(loggers, "x", tmp_path / "none.png")
        log_artifact(loggers, tmp_path)
        log_metrics(loggers, {"test/x": 1.0})
        finish(loggers)
    assert report.num_steps == 4
    assert not loggers[1].is_active
    assert loggers[1].experiment is None
    said = [r.getMessage() for r in caplog.records if "wandb failed" in r.getMessage()]
    assert said == [
        "wandb failed (server is gone); the run goes on, metrics.csv has everything"
    ]
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 4 + 1 + 1


def test_rows_and_columns(tmp_path):
    (logger,) = csv_logger(tmp_path)
    logger.log_metrics({"a": 0.1, "epoch": 0}, step=0)
    assert not logger.path.exists()  # rows are written in blocks
    logger.save()
    assert logger.path.read_text().splitlines() == ["epoch,step,a", "0,0,0.1"]
    logger.log_metrics({"a": 1 / 3, "epoch": 0}, step=5)
    logger.log_metrics({"b": 2.0, "epoch": 1}, step=5)
    logger.finalize("success")
    lines = logger.path.read_text().splitlines()
    assert lines == ["epoch,step,a,b", "0,0,0.1,", f"0,5,{1 / 3!r},", "1,5,,2.0"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_continued_file_replaces_what_comes_again(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,a\n0,0,0.5\n0,10,0.4\n0,20,0.3\n0,30")  # cut by a kill
    (logger,) = csv_logger(tmp_path)
    logger.log_metrics({"a": 0.25, "epoch": 0}, step=20)
    logger.save()
    logger.log_metrics({"a": 0.2, "epoch": 0}, step=30)
    logger.save()
    assert path.read_text().splitlines()[1:] == ["0,0,0.5", "0,10,0.4", "0,20,0.25", "0,30,0.2"]
