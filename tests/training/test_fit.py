import functools
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sciml.data.dataset import WindowedDataset
from sciml.training.fit import fit
from sciml.training.normalized import NormalizedModel
from sciml.training.objective import OneStep, Rollout
from sciml.training.options import TrainerOptions, seconds
from sciml.training.schedule import StepDecay, WarmupLinear
from tests.training.diffusion import (
    Conditioned,
    Convolution,
    Diffusion,
    LastFrame,
    convolution,
    diffusion_data,
)

ROOT = Path(__file__).parents[2]
SGD = functools.partial(torch.optim.SGD, lr=0.1)
ADAM = functools.partial(torch.optim.AdamW, lr=1e-2)


@pytest.fixture(scope="module")
def data():
    return diffusion_data(history=2)


def test_training_reduces_the_error_and_reports_it(tmp_path, data):
    network = convolution(data)
    report = fit(
        network,
        data,
        OneStep(),
        optimizer=ADAM,
        max_epochs=25,
        folder=tmp_path,
        log_every_n_steps=1,
    )
    assert report.surrogate.model.network is network
    assert (report.num_steps, report.num_epochs) == (200, 25)
    assert not report.interrupted
    assert report.train_seconds > 0
    assert [step for step, _ in report.losses] == list(range(200))
    assert [step for step, _ in report.validation] == list(range(8, 201, 8))
    assert report.best_validation == min(error for _, error in report.validation)
    assert report.losses[-1][1] < 0.3 * report.losses[0][1]
    rollouts = data.rollout_dataset("valid")
    batch = rollouts.batch(range(len(rollouts)))
    frames = report.surrogate.rollout(batch.inputs, batch.targets.shape[1])
    errors = (frames - batch.targets).flatten(1).norm(dim=1) / batch.targets.flatten(1).norm(
        dim=1
    )
    assert errors.mean().item() == pytest.approx(report.validation[-1][1], rel=1e-4)
    stored = load_file(tmp_path / "surrogate.safetensors")
    assert torch.equal(stored["network.lift.weight"], network.lift.weight)


def test_equals_a_loop_by_hand(tmp_path, data):
    network = convolution(data)
    model = NormalizedModel.from_data(network, data)
    by_hand = NormalizedModel.from_data(convolution(data), data)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    schedule, step = WarmupLinear(warmup=0.25), 0
    for epoch in range(2):
        loader = data.train_loader(1)
        loader.set_epoch(epoch)
        for batch in loader:
            optimizer.param_groups[0]["lr"] = 0.1 * schedule(step / 16, epoch)
            optimizer.zero_grad()
            error = (by_hand(batch.inputs) - batch.targets[:, 0]).flatten(1).norm(dim=1)
            loss = (error / batch.targets.flatten(1).norm(dim=1)).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(by_hand.parameters(), 0.01)
            optimizer.step()
            step += 1
    sgd = functools.partial(torch.optim.SGD, lr=0.1)
    fit(
        model, data, OneStep(), optimizer=sgd, scheduler=schedule, max_epochs=2,
        gradient_clip_val=0.01, folder=tmp_path,
    )  # fmt: skip
    for ours, expected in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    ("budget", "last"), [({"max_epochs": 2}, 15 / 16), ({"max_steps": 10}, 9 / 10)]
)
def test_schedule_follows_the_budget(tmp_path, data, budget, last):
    fit(
        convolution(data), data, OneStep(), optimizer=ADAM, scheduler=WarmupLinear(0.0),
        folder=tmp_path, log_every_n_steps=1, **budget,
    )  # fmt: skip
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("train/learning_rate")
    rates = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert rates[0] == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(1e-2 * (1 - last), rel=1e-5)


def test_step_decay_counts_epochs(tmp_path, data):
    fit(
        convolution(data), data, OneStep(), optimizer=ADAM, scheduler=StepDecay(1, 0.1),
        folder=tmp_path, log_every_n_steps=4, max_steps=20,
    )  # fmt: skip
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("train/learning_rate")
    rates = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4], rel=1e-5)


def test_time_budget(tmp_path, data):
    report = fit(convolution(data), data, OneStep(), max_time=1.0, folder=tmp_path)
    assert report.train_seconds == pytest.approx(1.0, abs=0.4)
    assert report.num_steps > 5


def test_averaged_weights_lag_behind(tmp_path, data):
    plain, averaged = convolution(data), convolution(data)
    start = averaged.lift.weight.clone()
    options = {"max_steps": 5, "optimizer": ADAM, "limit_val_batches": 0}
    fit(plain, data, OneStep(), folder=tmp_path / "a", **options)
    fit(averaged, data, OneStep(), folder=tmp_path / "b", ema_decay=0.99, **options)
    assert (averaged.lift.weight - start).norm() < 0.1 * (plain.lift.weight - start).norm()


def test_accumulated_batches_equal_a_large_batch(tmp_path):
    networks = []
    for batch_size, accumulated in ((8, 1), (4, 2)):
        data = diffusion_data(history=2, batch_size=batch_size)
        networks.append(convolution(data))
        fit(
            networks[-1], data, OneStep(), optimizer=SGD,
            accumulate_grad_batches=accumulated, max_epochs=2,
            folder=tmp_path / str(batch_size),
        )  # fmt: skip
    torch.testing.assert_close(networks[0].lift.weight, networks[1].lift.weight)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_precision(tmp_path, data, precision):
    report = fit(
        convolution(data), data, Rollout(2), max_steps=9, precision=precision, folder=tmp_path
    )
    dtype = torch.float64 if precision == "64-true" else torch.float32
    assert report.surrogate.model.network.lift.weight.dtype == dtype
    u = torch.ones(1, 2, 8, 8, dtype=dtype)
    assert report.surrogate(u).dtype == dtype


def test_data_set_and_parameters(tmp_path):
    dataset = WindowedDataset(Diffusion(num_params=1))
    network = Conditioned.from_spec(dataset.spec)
    report = fit(network, dataset, OneStep(), max_steps=3, folder=tmp_path)
    frames = report.surrogate.rollout(torch.ones(1, 1, 8, 8), 2, torch.ones(1, 1))
    assert frames.shape == (1, 2, 1, 8, 8)


def test_steady_data(tmp_path):
    data = diffusion_data(dt=None)
    report = fit(
        Convolution.from_spec(data.spec), data, OneStep(), max_steps=3, folder=tmp_path
    )
    assert not report.surrogate.model.increment
    assert report.validation


def test_nothing_to_train(tmp_path, data, caplog):
    with caplog.at_level(logging.INFO, "sciml"):
        report = fit(LastFrame(2, 1), data, OneStep(), max_epochs=1, folder=tmp_path)
    assert report.num_steps == 0
    assert report.best_validation is None
    assert "LastFrame has nothing to train" in caplog.text
    u = torch.randn(1, 2, 8, 8)
    assert torch.equal(report.surrogate(u), u[:, 1:])
    assert (tmp_path / "surrogate.json").is_file()


def test_the_callers_random_numbers_are_left_alone(tmp_path, data):
    torch.manual_seed(1009)
    expected = torch.randn(3)
    torch.manual_seed(1009)
    fit(convolution(data), data, OneStep(), max_steps=2, folder=tmp_path)
    assert torch.equal(torch.randn(3), expected)


def test_errors(tmp_path, data):
    network = convolution(data)
    with pytest.raises(
        ValueError, match="expected a training budget, got none; pass max_epochs"
    ):
        fit(network, data, OneStep(), folder=tmp_path)
    with pytest.raises(ValueError, match="fit: expected max_steps > 0, got 0"):
        fit(network, data, OneStep(), folder=tmp_path, max_steps=0)
    with pytest.raises(TypeError, match="got 'max_epoch'; did you mean 'max_epochs'"):
        fit(network, data, OneStep(), folder=tmp_path, max_epoch=3)
    with pytest.raises(ValueError, match=r"ema_decay in \(0, 1\), got 1.5"):
        fit(network, data, OneStep(), folder=tmp_path, max_steps=1, ema_decay=1.5)
    steady = diffusion_data(dt=None)
    flux = Convolution.from_spec(steady.spec)
    with pytest.raises(ValueError, match="Rollout: expected a data set whose outputs"):
        fit(flux, steady, Rollout(2), folder=tmp_path, max_steps=1)
    hot = functools.partial(torch.optim.SGD, lr=1e30)
    with pytest.raises(
        FloatingPointError, match=r"the loss is (nan|inf) at step \d+; lower the"
    ):
        fit(network, data, OneStep(), optimizer=hot, folder=tmp_path, max_steps=50)


def test_time_in_words():
    assert seconds("01:02:03:04") == ((24 + 2) * 60 + 3) * 60 + 4
    assert seconds(12) == 12.0
    with pytest.raises(ValueError, match=r"expected max_time in seconds .* got '5 minutes'"):
        seconds("5 minutes")
    assert TrainerOptions(max_time="00:00:01:00").budget().max_seconds == 60.0


def distributed_run(folder: Path, **options) -> None:
    data = diffusion_data(history=2, batch_size=4)
    report = fit(
        convolution(data), data, Rollout(2), optimizer=SGD, max_steps=10, precision="64-true",
        accelerator="cpu", folder=folder, checkpoint_every_steps=4, gradient_clip_val=0.5,
        **options,
    )  # fmt: skip
    assert report.num_steps == 10


DISTRIBUTED = """
import sys
from pathlib import Path
from tests.training.test_fit import distributed_run
distributed_run(Path(sys.argv[1]), devices=2, strategy="ddp")
"""


def test_two_processes_equal_one(tmp_path):
    distributed_run(tmp_path / "auto")
    script = tmp_path / "script.py"
    script.write_text(DISTRIBUTED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path / "ddp")]
    subprocess.run(command, env=environment, check=True, timeout=120, cwd=tmp_path)
    one = load_file(tmp_path / "auto" / "surrogate.safetensors")
    two = load_file(tmp_path / "ddp" / "surrogate.safetensors")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-12, atol=1e-14)
    logs = [(tmp_path / name / "metrics.csv").read_text() for name in ("auto", "ddp")]
    validation = [[float(x) for x in log.splitlines()[-1].split(",") if x] for log in logs]
    assert validation[0] == pytest.approx(validation[1], rel=1e-9)
    assert (tmp_path / "ddp" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_training_on_a_gpu(tmp_path, data):
    report = fit(
        convolution(data), data, Rollout(2), max_steps=9, precision="bf16-mixed",
        folder=tmp_path, accelerator="gpu", ema_decay=0.9,
    )  # fmt: skip
    assert report.surrogate(torch.ones(1, 2, 8, 8)).isfinite().all()
