"""The command line: what it refuses, what it accepts, and what a run leaves behind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate

import sciml
from sciml import cli

MODELS = ("fno", "lsm", "neuralop_fno", "persistence")
TINY = ("scale=smoke",)

pytestmark = pytest.mark.usefixtures("isolated")


def metrics_of(folder: str) -> dict[str, float]:
    values = json.loads((Path(folder) / "metrics.json").read_text())
    assert isinstance(values, dict)
    return values


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "model=lms",
            "there is no such model; did you mean 'lsm'\\? valid: chebyshev, dcdm, fno, gp_hm",
        ),
        ("modle=lsm", "no such option; did you mean 'model'"),
        ("dataset=navier_stoke", "no such dataset; did you mean 'navier_stokes'"),
        ("scale=smal", "did you mean 'small'\\? valid: paper, small, smoke"),
        ("trainer.max_tim=3", "did you mean 'trainer.max_time'"),
        ("model=lsm,neuralop_fn", "did you mean 'neuralop_fno'"),
        ("dataset.views.batch_size=four", "expected an integer like the default 4, got 'four'"),
        ("dataset.views.batch_size=2.5", "expected an integer like the default 4, got 2.5"),
        ("seed=true", "expected an integer like the default"),
        ("optimizer.lr=fast", "expected a number like the default"),
        ("normalization.kind=3", "expected text like the default 'zscore', got 3"),
        ("dataset.splits=[1]", "expected a mapping"),
        ("trainer.enable_progress_bar=1", "expected true or false"),
        ("nonsense=1", "there is no such option"),
        ("+model.num_heads=4", "exists already; write model.num_heads=4 without"),
        ("+nonsense=1", "there is no such option"),
        ("a b=c", "cannot read 'a b=c'"),
    ],
)
def test_what_cannot_be_meant_is_refused(argument: str, message: str) -> None:
    with pytest.raises(cli.CommandLineError, match=message):
        cli.check_command_line([argument])


@pytest.mark.parametrize(
    "argument",
    ["optimizer.lr=1", "model/lsm_mode=published", "~dataset.baselines", "experiment=none",
     "seed=1009,2003", "trainer.max_steps=null", "+model.new_option=8", "logger=wandb",
     "hydra.run.dir=here", "trainer.max_time=60"],
)  # fmt: skip
def test_what_can_be_meant_is_accepted(argument: str) -> None:
    cli.check_command_line([argument])


def test_wrong_command_line_ends_with_one_line_and_no_data(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_cli("model=lms")
    assert stop.value.code == 2
    assert capsys.readouterr().err.strip().startswith("error: model=lms")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("normalization.kind=zscor",), "zscor"),
        (("normalization.prediction=increments",), "increments"),
        (("dataset.recipe.variant=legaci",), "did you mean 'legacy'"),
        (("dataset.recipe.viscosity=-1.0",), "viscosity"),
        (("+model.num_tokenz=4",), "num_tokenz"),
        (("model.num_heads=5",), "5"),
        (("dataset.path=nowhere",), "nowhere"),
        (("trainer.max_steps=-3",), "max_steps > 0"),
        (("~dataset.splits.test",), "test"),
    ],
)
def test_values_are_checked_before_any_data_are_made(
    run_cli: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_cli(*TINY, *arguments)
    assert stop.value.code == 1
    said = capsys.readouterr()
    text = said.out + said.err + caplog.text
    assert "error: " in text
    assert message in text
    assert not (tmp_path / "data").exists()


def test_impossible_pair_lists_what_the_model_accepts(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_cli(*TINY, "model.latent_resolution=17")
    assert "data sets that this model accepts:" in capsys.readouterr().out


@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains_through_the_command_line(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str], model: str
) -> None:
    run_cli(*TINY, f"model={model}", "hydra.run.dir=run")
    text = capsys.readouterr().out
    assert "scale=smoke" in text.splitlines()[0]
    assert f"│ {model}" in text
    folder = Path("run")
    for name in ("config.yaml", "environment.json", "surrogate.safetensors", "surrogate.json"):
        assert (folder / name).is_file()
    assert {f.name for f in (folder / "figures").iterdir()} >= {"rollout.png", "error.png"}
    metrics = metrics_of("run")
    assert metrics["test/rollout_relative_l2"] > 0
    assert metrics["test/one_step_relative_l2"] > 0
    assert metrics["baseline/solver_16x16/rollout_relative_l2"] < 1e-2
    assert (metrics["model/num_parameters"] == 0) == (model == "persistence")


def test_saved_surrogate_gives_the_reported_error(run_cli: Callable[..., None]) -> None:
    """No data set, no configuration: load, roll out, and find the number of metrics.json."""
    run_cli(*TINY, "model=lsm", "model.latent_block=false", "hydra.run.dir=run")
    surrogate = sciml.load("run")
    folder = next(Path("data/navier_stokes").iterdir())
    data = sciml.open_dataset(folder, split="test", horizon=10, first=10, per_trajectory=1)
    batch = data.batch(range(len(data)))
    assert batch.targets is not None
    prediction = surrogate.rollout(batch.inputs, 10)
    error = (prediction - batch.targets).flatten(1).norm(dim=1) / batch.targets.flatten(1).norm(
        dim=1
    )
    assert float(error.mean()) == pytest.approx(
        metrics_of("run")["test/rollout_relative_l2"], rel=1e-5
    )


def test_data_are_made_once_and_never_pass_for_others(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_cli(*TINY, "model=persistence", "hydra.run.dir=first")
    files = {f: f.stat().st_mtime_ns for f in Path("data").rglob("*.hdf5")}
    run_cli(*TINY, "model=persistence", "hydra.run.dir=second")
    assert {f: f.stat().st_mtime_ns for f in Path("data").rglob("*.hdf5")} == files
    assert (
        metrics_of("first")["test/rollout_relative_l2"]
        == metrics_of("second")["test/rollout_relative_l2"]
    )
    run_cli(*TINY, "model=persistence", "dataset.recipe.viscosity=2e-3", "hydra.run.dir=third")
    assert len(list(Path("data/navier_stokes").iterdir())) == 2
    assert (
        metrics_of("first")["test/rollout_relative_l2"]
        != metrics_of("third")["test/rollout_relative_l2"]
    )


def test_resume_needs_nothing_but_the_folder(run_cli: Callable[..., None]) -> None:
    """Stopped after two steps and resumed to four equals four in one go."""
    common = (*TINY, "model=lsm", "objective.noise=0.01", "scheduler=constant")
    run_cli(*common, "trainer.max_steps=4", "hydra.run.dir=whole")
    run_cli(*common, "hydra.run.dir=part")
    run_cli("resume=part", "trainer.max_steps=4")
    whole, part = sciml.load("whole"), sciml.load("part")
    for (name, a), b in zip(
        whole.model.state_dict().items(), part.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert metrics_of("part")["time/num_steps"] == 4


def test_resume_of_what_is_no_run_is_refused(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    with pytest.raises(SystemExit):
        run_cli("resume=empty")
    assert "expected a run folder" in capsys.readouterr().err


def test_multirun_runs_every_combination(run_cli: Callable[..., None]) -> None:
    run_cli(
        "--multirun",
        *TINY,
        "model=persistence",
        "dataset.recipe.viscosity=1e-3,2e-3",
        "hydra.sweep.dir=sweep",
    )
    errors = {metrics_of(f"sweep/{job}")["test/rollout_relative_l2"] for job in (0, 1)}
    assert len(errors) == 2


def test_help_shows_groups_and_examples(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_cli("--help")
    assert stop.value.code in (None, 0)
    text = capsys.readouterr().out
    models = "chebyshev, dcdm, fno, gp_hm, learned_ccmg, lsm, neuralop_fno, persistence"
    assert f"model: {models}" in text
    assert text.count("python train.py") >= 3


def test_published_recipe_at_published_shapes(run_cli: Callable[..., None]) -> None:
    """Two steps of `scale=paper` on a handful of trajectories, batch one, on the CPU."""
    run_cli(
        "model=lsm", "dataset=navier_stokes", "scale=paper", "trainer.max_steps=2",
        "dataset.splits={train: 2, valid: 1, test: 1}", "dataset.views.batch_size=1",
        "dataset.recipe.solver_resolution=64", "dataset.baselines=null", "hydra.run.dir=run",
        "+trainer.limit_val_batches=0",
    )  # fmt: skip
    assert metrics_of("run")["model/num_parameters"] == 19_188_033
    spec = sciml.load("run").spec
    assert (spec.in_channels, spec.resolution) == (10, (64, 64))


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
@pytest.mark.parametrize("model", MODELS)
def test_every_composition_instantiates(model: str, scale: str) -> None:
    with initialize_config_dir(str(cli.CONFIG_DIR), version_base="1.3"):
        config = compose("config", overrides=[f"model={model}", f"scale={scale}"])
        spec = instantiate(config.dataset, _convert_="all").spec()
        network = instantiate(config.model, _convert_="all", _partial_=True)(spec)
        assert (network.in_channels, network.out_channels) == (spec.in_channels, 1)


@pytest.mark.parametrize(
    "group", ["objective", "optimizer", "scheduler", "normalization", "logger"]
)
def test_every_choice_of_a_group_instantiates(group: str) -> None:
    with initialize_config_dir(str(cli.CONFIG_DIR), version_base="1.3"):
        for choice in GlobalHydra.instance().config_loader().get_group_options(group):
            node = compose("config", overrides=[f"{group}={choice}"])[group]
            extra = {"folder": "."} if group == "logger" else {}
            assert instantiate(node, _convert_="all", **extra) is not None
