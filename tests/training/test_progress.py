from typing import Any

import pytest
from pytorch_lightning.callbacks import Callback

from sciml.training.callbacks import Budget
from sciml.training.fit import fit
from sciml.training.objective import OneStep
from sciml.training.progress import ProgressBar, ProgressLines, progress_display
from tests.training.diffusion import convolution, diffusion_data


def test_lines_tell_loss_and_remaining_time(tmp_path):
    data, lines = diffusion_data(), []
    budget = Budget(max_steps=12)

    class Clocked(Callback):
        """Three seconds a step."""

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            budget.elapsed = 3.0 * trainer.global_step

    display = ProgressLines(budget, every_seconds=10.0, write=lines.append)
    callbacks = [Clocked(), display]
    fit(convolution(data), data, OneStep(), max_steps=12, folder=tmp_path, callbacks=callbacks)
    assert len(lines) == 3  # after 12, 24 and 36 of 36 seconds
    assert lines[0].startswith("epoch 1, step 4, loss ")
    assert lines[0].endswith(", 33%, 0:00:24 left")
    assert lines[2].endswith("100%, 0:00:00 left")


def test_a_bar_only_on_a_terminal(monkeypatch):
    budget = Budget(max_epochs=1)
    assert isinstance(progress_display(budget, enabled=True), ProgressLines)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert isinstance(progress_display(budget, enabled=True), ProgressBar)
    assert isinstance(progress_display(budget, enabled=False), ProgressLines)


def test_training_with_the_bar(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    data = diffusion_data()
    assert (
        fit(convolution(data), data, OneStep(), max_epochs=2, folder=tmp_path).num_epochs == 2
    )


@pytest.mark.parametrize("limits", [{"max_epochs": 2}, {"max_steps": 3}, {"max_seconds": 4.5}])
def test_budget_keeps_its_limits(limits):
    budget = Budget(**limits)
    assert {k: getattr(budget, k) for k in limits} == limits
    budget.load_state_dict({"elapsed": 3.0})
    assert budget.state_dict() == {"elapsed": 3.0}
