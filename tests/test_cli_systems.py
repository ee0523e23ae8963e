"""Models for linear systems through the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import sciml
from sciml.linalg.solve import linear_solve
from sciml.models.dcdm.solver import DCDM
from tests.models.dcdm.systems import pressure_system

SMALLEST = (
    "model=dcdm",
    "scale=smoke",
    "evaluation.kinds=[random]",
    "evaluation.scales=[1]",
    "evaluation.methods.max_steps=20",
)

pytestmark = pytest.mark.usefixtures("isolated")


@pytest.mark.parametrize("dataset", ["poisson_dct", "poisson_ritz", "poisson_obstacles"])
def test_a_net_is_trained_judged_saved_and_solves(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str], dataset: str
) -> None:
    run_cli(*SMALLEST, f"dataset={dataset}", "hydra.run.dir=run")
    said = capsys.readouterr().out
    assert "scale=smoke" in said.splitlines()[0]
    assert "dcdm takes fewer iterations than ccmg on 0" in said
    assert "test/iterations@1e-6=" in said.splitlines()[-1]
    folder = Path("run")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["model/num_parameters"] == (33_089 if "obstacles" in dataset else 32_657)
    assert metrics["baseline/cg/random_16x16/iterations@1e-6"] > 0
    assert (folder / "figures" / "residuals.png").is_file()
    assert "valid/dcdm_iters@1e-6" in (folder / "metrics.csv").read_text()
    surrogate = sciml.load(folder)
    operator, b = pressure_system("random", (16, 16))
    solution = linear_solve(operator, b, DCDM(surrogate, rtol=1e-8))
    assert float((b - operator.mv(solution.value)).norm()) <= 1e-8 * float(b.norm())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("model=dcdm", "dataset=navier_stokes"),
            "expected right-hand sides of Poisson systems",
        ),
        (("model=lsm", "dataset=poisson_dct"), "expected data with inputs and outputs, got"),
        (("model=dcdm", "dataset=poisson_2d"), "this is a problem to solve"),
        (
            ("model=dcdm", "dataset=poisson_dct", "dataset.sampler.resolution=[15, 16]"),
            "even number of cells along every axis",
        ),
        (
            ("model=dcdm", "dataset=poisson_dct", "evaluation=surrogate"),
            "samples are drawn on the fly",
        ),
        (
            ("model=dcdm", "dataset=poisson_dct", "normalization.kind=zscore"),
            "expected no normalisation of 'poisson_dct'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(
    run_cli: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_cli("scale=smoke", *arguments)
    assert stop.value.code == 1
    (error,) = [line for line in capsys.readouterr().out.splitlines() if "error: " in line]
    assert message in error
    if arguments[0] == "model=dcdm" and "navier" in arguments[1]:
        assert "data sets that this model accepts: " in error
        assert "poisson_dct" in error


def test_resumed_training_equals_the_uninterrupted(run_cli: Callable[..., None]) -> None:
    common = (*SMALLEST, "dataset=poisson_dct", "scheduler=constant")
    run_cli(*common, "trainer.max_steps=4", "hydra.run.dir=whole")
    run_cli(*common, "hydra.run.dir=part")
    run_cli("resume=part", "trainer.max_steps=4")
    whole, part = (load_file(f"{name}/surrogate.safetensors") for name in ("whole", "part"))
    for name in whole:
        assert torch.equal(whole[name], part[name]), name


@pytest.mark.slow
def test_small_training_reaches_the_anchor(run_cli: Callable[..., None]) -> None:
    """Loss below 0.03, and at most 30 iterations to 1e-6 in the box that it was trained on."""
    run_cli(
        "model=dcdm",
        "dataset=poisson_dct",
        "evaluation.kinds=[box]",
        "evaluation.scales=[1]",
        "trainer.max_time=null",
        "trainer.max_steps=1600",
        "hydra.run.dir=run",
    )
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["test/box_32x32/iterations@1e-6"] <= 30
    rows = Path("run/metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/squared_residual")
    losses = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert sum(losses[-10:]) / 10 < 0.03
