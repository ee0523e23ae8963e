"""A resumed run equals the uninterrupted one, bit for bit, however it was stopped."""

import csv
import functools
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from safetensors.torch import load_file

from sciml.training.fit import FitReport, fit
from sciml.training.normalized import NormalizedModel
from sciml.training.objective import Objective, OneStep, Rollout
from sciml.training.resume import STATE, describe
from sciml.training.schedule import Constant
from tests.training.diffusion import SEED, convolution, diffusion_data

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("run_script.py")


class Stopped(Exception):
    pass


class StopAt(Callback):
    """Fail, or press Ctrl-C, at the end of a batch."""

    def __init__(self, batch: int, *, number: int | None = None) -> None:
        self.batch = batch
        self.number = number

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.batch:
            if self.number is None:
                raise Stopped
            os.kill(os.getpid(), self.number)


def run(folder: Path, *, objective: Objective | None = None, **options: Any) -> FitReport:
    data = diffusion_data(history=2)
    model = options.pop("model", None) or convolution(data, dropout=0.2)
    options.setdefault("optimizer", functools.partial(torch.optim.AdamW, lr=1e-2))
    options.setdefault("checkpoint_every_steps", 1)
    return fit(model, data, objective or OneStep(noise=0.05), folder=folder, **options)


def weights(report: FitReport) -> dict[str, torch.Tensor]:
    return report.surrogate.model.state_dict()


def assert_equal_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


CASES = {
    "epochs": {"max_epochs": 3},
    "steps": {"max_steps": 21},
    "averaged": {"max_epochs": 3, "ema_decay": 0.9},
    "averaged over steps": {"max_steps": 21, "ema_decay": 0.9},
    "rollout": {"max_epochs": 5, "objective": Rollout(3, curriculum=0.7)},
    "accumulated": {"max_epochs": 3, "accumulate_grad_batches": 3},
    "clipped": {"max_steps": 21, "gradient_clip_val": 1e-3, "checkpoint_every_steps": 4},
}


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FitReport]:
    folder = tmp_path_factory.mktemp("whole")
    return {name: run(folder / name, **options) for name, options in CASES.items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [2, 8, 12, 16])  # an epoch has 8 batches, in "rollout" 4
def test_resumed_equals_uninterrupted(
    tmp_path: Path, whole_runs: dict[str, FitReport], name: str, batch: int
) -> None:
    whole, options = whole_runs[name], CASES[name]
    with pytest.raises(Stopped):
        run(tmp_path, callbacks=[StopAt(batch)], **options)
    if name in ("clipped", "accumulated") and batch == 2:  # no whole step to save yet
        assert not (tmp_path / STATE).exists()
        return
    resumed = run(tmp_path, resume=tmp_path, **options)
    assert resumed.num_steps == whole.num_steps
    assert_equal_weights(weights(whole), weights(resumed))
    assert resumed.losses == whole.losses


def test_two_interruptions_and_a_longer_budget(
    tmp_path: Path, whole_runs: dict[str, FitReport]
) -> None:
    constant = {"scheduler": Constant(), "ema_decay": 0.9}
    whole = run(tmp_path / "whole", max_epochs=3, **constant)
    with pytest.raises(Stopped):
        run(tmp_path / "part", callbacks=[StopAt(3)], max_epochs=2, **constant)
    with pytest.raises(Stopped):
        run(
            tmp_path / "part",
            resume=tmp_path / "part",
            callbacks=[StopAt(9)],
            max_epochs=2,
            **constant,
        )
    run(tmp_path / "part", resume=tmp_path / "part", max_epochs=2, **constant)
    longer = run(tmp_path / "part", resume=tmp_path / "part", max_epochs=3, **constant)
    assert_equal_weights(weights(whole), weights(longer))


@pytest.mark.parametrize("name", ["epochs", "averaged over steps"])
def test_resuming_a_finished_run_trains_nothing(
    tmp_path: Path, whole_runs: dict[str, FitReport], name: str
) -> None:
    whole = whole_runs[name]
    again = run(tmp_path, resume=whole.folder, **CASES[name])
    assert again.num_steps == whole.num_steps
    assert_equal_weights(weights(whole), weights(again))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_training_gracefully(
    tmp_path: Path, whole_runs: dict[str, FitReport], number: int
) -> None:
    before = signal.getsignal(number)
    part = run(tmp_path, callbacks=[StopAt(11, number=number)], **CASES["averaged"])
    assert part.interrupted
    assert part.num_steps == 12
    assert signal.getsignal(number) is before
    resumed = run(tmp_path, resume=tmp_path, **CASES["averaged"])
    assert not resumed.interrupted
    assert_equal_weights(weights(whole_runs["averaged"]), weights(resumed))


@pytest.mark.parametrize(
    "name", [pytest.param("epochs", marks=pytest.mark.slow), "averaged over steps"]
)
def test_killed_process(tmp_path: Path, whole_runs: dict[str, FitReport], name: str) -> None:
    command = [sys.executable, str(SCRIPT), name, str(tmp_path)]
    # Sums over more threads round differently: both sides need the same number.
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads}
    process = subprocess.Popen([*command, "slowly"], env=environment, cwd=ROOT)
    log = tmp_path / "steps"
    deadline = time.monotonic() + 60
    while not log.is_file() or len(log.read_text()) < 11:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()  # SIGKILL, in the middle of the second epoch
    assert process.wait() == -signal.SIGKILL
    steps = torch.load(tmp_path / STATE, weights_only=True)["global_step"]
    assert 8 < steps < 16
    subprocess.run([*command, "resume"], env=environment, cwd=ROOT, check=True)
    saved = load_file(tmp_path / "surrogate.safetensors")
    assert_equal_weights(saved, weights(whole_runs[name]))


def test_seconds_spent_before_the_interruption_count(tmp_path: Path) -> None:
    """The clock goes on where it stopped; nothing here depends on how fast the machine is."""
    first = run(tmp_path, max_time=3600.0, callbacks=[StopAt(40, number=signal.SIGINT)])
    assert first.interrupted
    budget = first.train_seconds + 1.0
    second = run(tmp_path, resume=tmp_path, max_time=budget)
    assert second.num_steps > first.num_steps
    assert second.train_seconds >= budget
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/learning_rate"]]
    clock = [float(row["time/train_seconds"]) for row in rows]
    assert all(later >= earlier for earlier, later in pairwise(clock))
    assert max(clock) <= second.train_seconds
    third = run(tmp_path, resume=tmp_path, max_time=budget)
    assert third.num_steps == second.num_steps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"objective": OneStep(noise=0.1)},
            r"objective OneStep\(noise=0.05.*not OneStep\(noise=0.1",
        ),
        ({"objective": Rollout(2)}, r"objective OneStep.*not Rollout\(num_steps=2"),
        ({"seed": SEED + 2}, f"seed .*, not {SEED + 2}"),
        ({"ema_decay": 0.5}, "ema_decay None, not 0.5"),
        ({"optimizer": torch.optim.SGD}, "optimizer AdamW.*not SGD"),
        ({"hidden_channels": 5}, "network Convolution.*hidden_channels=6.*hidden_channels=5"),
        ({"kind": "rms"}, "normalization zscore.*not rms"),
        ({"history": 1}, "network .*in_channels=2.*in_channels=1.*'normalization'|network"),
    ],
)
def test_resuming_another_training_is_refused(
    tmp_path: Path, whole_runs: dict[str, FitReport], change: dict[str, Any], message: str
) -> None:
    data = diffusion_data(history=change.pop("history", 2))
    network = convolution(data, dropout=0.2, hidden_channels=change.pop("hidden_channels", 6))
    model = NormalizedModel.from_data(network, data, kind=change.pop("kind", "zscore"))
    options = {
        "objective": OneStep(noise=0.05),
        "optimizer": functools.partial(torch.optim.AdamW, lr=1e-2),
        **change,
    }
    objective = options.pop("objective")
    folder = whole_runs["epochs"].folder
    with pytest.raises(ValueError, match=f"fit: .*last.ckpt was trained with {message}"):
        fit(model, data, objective, resume=folder, max_epochs=3, **options)


def test_unreadable_states_are_named(tmp_path: Path, whole_runs: dict[str, FitReport]) -> None:
    state = tmp_path / STATE
    (tmp_path / "whole_runs").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"no run .*whole_run to resume; nearest names: .*whole_runs"
    ):
        run(tmp_path, resume=tmp_path / "whole_run", max_epochs=3)
    with pytest.raises(
        FileNotFoundError, match=r"expected a training state .*last.ckpt, found none"
    ):
        run(tmp_path, resume=tmp_path, max_epochs=3)
    whole = (whole_runs["epochs"].folder / STATE).read_bytes()
    state.parent.mkdir()
    for content in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        state.write_bytes(content)
        with pytest.raises(ValueError, match=r"last.ckpt is not a readable training state"):
            run(tmp_path, resume=tmp_path, max_epochs=3)
    torch.save({"state_dict": {}}, state)
    with pytest.raises(ValueError, match=r"last.ckpt is a checkpoint of something else"):
        run(tmp_path, resume=tmp_path, max_epochs=3)


def test_full_disk_keeps_the_previous_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    class FillDisk(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 3:
                monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match=r"last.ckpt, got No space left.*free space"):
        run(tmp_path, callbacks=[FillDisk()], max_epochs=3, logger=[])
    monkeypatch.undo()
    assert torch.load(tmp_path / STATE, weights_only=True)["global_step"] == 3
    assert [path.name for path in (tmp_path / STATE).parent.iterdir()] == ["last.ckpt"]


def test_metrics_file_has_each_step_once_after_a_resume(tmp_path: Path) -> None:
    options = {"max_epochs": 3, "log_every_n_steps": 1, "checkpoint_every_steps": 4}
    with pytest.raises(Stopped):
        run(tmp_path, callbacks=[StopAt(11)], **options)
    run(tmp_path, resume=tmp_path, **options)
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/loss")
    steps = [int(row.split(",")[1]) for row in rows[1:] if row.split(",")[column]]
    assert steps == list(range(24))


def test_describe() -> None:
    factory = functools.partial(torch.optim.AdamW, lr=1e-3, betas=(0.9, 0.99))
    assert describe(factory) == "AdamW(lr=0.001, betas=(0.9, 0.99))"
    assert describe(OneStep(noise=0.5)) == "OneStep(noise=0.5, loss='relative_l2()')"
    assert describe(factory) != describe(functools.partial(factory, lr=2e-3))
    assert not re.search("0x", describe(OneStep(loss=lambda a, b: a - b)))
