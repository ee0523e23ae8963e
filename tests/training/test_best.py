"""The weights of the best validation are the result, however the run was interrupted."""

import functools
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from sciml.data.drawn import DrawnData
from sciml.models.dcdm.model import DCDMNet
from sciml.models.dcdm.objective import LineSearchResidual
from sciml.models.dcdm.validation import SolverSteps
from sciml.simulate.poisson_samples import CosineSampler, PressureSampler
from sciml.training.fit import FitReport, fit
from sciml.training.schedule import Constant


class Stopped(Exception):
    pass


class StopAt(Callback):
    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer, *_) -> None:
        if trainer.fit_loop.total_batch_idx == self.batch:
            raise Stopped


def run(folder: Path, **options) -> FitReport:
    torch.manual_seed(60013)
    data = DrawnData(
        CosineSampler((8, 8)),
        batch_size=2,
        epoch_size=6,
        validation=PressureSampler((8, 8)),
        seed=7919,
    )
    return fit(
        DCDMNet(2, hidden_channels=4, num_coarse_pairs=1),
        data,
        LineSearchResidual(solver_steps=SolverSteps(rtol=1e-2, max_steps=4)),
        scheduler=Constant(),
        folder=folder,
        **{
            # a rate at which epochs get better and worse
            "optimizer": functools.partial(torch.optim.Adam, lr=0.1),
            "max_epochs": 5,
            "checkpoint_every_steps": 1,
            "enable_progress_bar": False,
        }
        | options,
    )


def weights(report: FitReport) -> dict[str, torch.Tensor]:
    return report.surrogate.model.state_dict()


@pytest.fixture(scope="module")
def best(tmp_path_factory) -> FitReport:
    return run(tmp_path_factory.mktemp("best"), select="best")


def test_the_result_is_the_best_epoch(tmp_path, best):
    errors = [error for _, error in best.validation]
    assert len(errors) == 5
    epoch = errors.index(min(errors))
    assert epoch < 4, "the last epoch is the best one: the test cannot tell them apart"
    shorter = run(tmp_path, max_epochs=epoch + 1)
    for name, value in weights(shorter).items():
        assert torch.equal(value, weights(best)[name]), name
    assert best.best_validation == min(errors)


@pytest.mark.parametrize("batch", [3, 4, 6, 14])  # an epoch has 3 batches
def test_resumed_equals_uninterrupted(tmp_path, best, batch):
    with pytest.raises(Stopped):
        run(tmp_path, select="best", callbacks=[StopAt(batch)])
    resumed = run(tmp_path, resume=tmp_path, select="best")
    assert resumed.validation == best.validation
    assert resumed.losses == best.losses
    for name, value in weights(best).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_other_data_are_not_resumed(tmp_path):
    run(tmp_path, max_epochs=1)
    with pytest.raises(ValueError, match="was trained with"):
        run(tmp_path, resume=tmp_path, select="best")


def test_options_that_exclude_each_other_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected select 'last' or 'best', got 'first'"):
        run(tmp_path, select="first")
    with pytest.raises(ValueError, match=r"ema_decay=None with select='best', got 0\.9"):
        run(tmp_path, select="best", ema_decay=0.9)
