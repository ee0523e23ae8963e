"""The command line's `solve` task: what it leaves behind and what it refuses."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from sciml import cli
from sciml.evaluation.problem_plan import ProblemPlan
from sciml.evaluation.solution_file import load_solution
from sciml.pde import gallery
from sciml.solvers.base import PDESolver

PROBLEMS = (
    "advection",
    "allen_cahn_1d",
    "allen_cahn_2d",
    "poisson_1d",
    "poisson_2d",
    "poisson_3d",
)
SOLVERS = ("chebyshev", "gp_hm")
SLOW_WAVE = ("dataset=poisson_1d", "dataset.parameters.frequencies=[9.5]")

pytestmark = pytest.mark.usefixtures("isolated")


@pytest.mark.parametrize("model", SOLVERS)
def test_a_solve_leaves_the_files_of_a_run(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str], model: str
) -> None:
    run_cli(f"model={model}", *SLOW_WAVE, "hydra.run.dir=run")
    lines = capsys.readouterr().out.splitlines()
    assert "scale=small" in lines[0]
    assert any(line.startswith(f"│ {model} ") for line in lines)
    assert any(line.startswith("│ chebyshev ") for line in lines)
    assert lines[-1].startswith("test/relative_l2=")
    assert "time/solve_seconds=" in lines[-1]
    folder = Path("run")
    names = {"config.yaml", "environment.json", "metrics.csv", "metrics.json"}
    names |= {"solution.json", "solution.safetensors"}
    assert names <= {file.name for file in folder.iterdir()}
    figures = {"solution.png", "error.png", "residual.png"}
    figures |= {"spectrum.png"} if model == "gp_hm" else set()
    assert {file.name for file in (folder / "figures").iterdir()} == figures
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test/relative_l2"] < 1e-9
    assert metrics["solve/residual"] < 1e-9
    assert metrics["solve/boundary_misfit"] < 1e-9
    assert metrics["solve/passes"] >= 1
    assert metrics["solve/converged"] == 1.0
    assert metrics["time/solve_seconds"] > 0
    # a solver is not compared with itself
    assert ("baseline/chebyshev/relative_l2" in metrics) == (model != "chebyshev")


def test_saved_solution_is_the_solution(run_cli: Callable[..., None]) -> None:
    """No problem, no configuration: load and find the reported error at other points."""
    run_cli("model=gp_hm", *SLOW_WAVE, "hydra.run.dir=run", "dataset.baselines=null")
    generator = torch.Generator().manual_seed(5_130_617)
    points = 6.28 * torch.rand(500, 1, dtype=torch.float64, generator=generator)
    exact = torch.sin(9.5 * points)
    solution = load_solution("run")
    assert float((solution.value(points) - exact).norm() / exact.norm()) < 1e-9
    slope = 9.5 * torch.cos(9.5 * points)
    assert float((solution.value.d(points, x=1) - slope).norm() / slope.norm()) < 1e-8
    heaviest = solution.stats["spectrum"]["x"]["weight"].argmax()
    frequency = solution.stats["spectrum"]["x"]["frequency"][heaviest]
    assert float(frequency) == pytest.approx(9.5 / (2 * torch.pi), abs=0.1)


def test_a_solve_that_fails_is_recorded_and_said(
    run_cli: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_cli("model=gp_hm", "model/gp_hm_inference=adam", "model.options.num_steps=3",
            "model.resolution=16", "dataset=poisson_1d",
            "dataset.parameters.frequencies=[3.0]", "hydra.run.dir=run")  # fmt: skip
    said = capsys.readouterr().out
    assert "MAX_STEPS: the largest number of steps" in said
    assert "best of checkpoints, chosen by test error" in said
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["solve/converged"] == 0.0
    assert metrics["solve/passes"] == 3
    assert metrics["test/relative_l2"] > metrics["baseline/chebyshev/relative_l2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("model=fno", "dataset=poisson_1d"),
            "model=fno dataset=poisson_1d: a surrogate is fitted to data, and this is a "
            "problem to solve; data sets that this model accepts: navier_stokes",
        ),
        (
            ("model=gp_hm", "dataset=navier_stokes"),
            "model=gp_hm dataset=navier_stokes: a solver needs a problem, and this is a set of "
            f"data; data sets that this model accepts: {', '.join(PROBLEMS)}",
        ),
        (("model=gp_hm", *SLOW_WAVE, "trainer.max_time=3"), "this option is for fits"),
        (("model=gp_hm", *SLOW_WAVE, "evaluation.num_examples=3"), "this option is for fits"),
        (("model=gp_hm", *SLOW_WAVE, "~trainer.max_time"), "this option is for fits"),
        (("model=gp_hm", "dataset=poisson_1d", "dataset.case=sine"), "got 'sine'; choose one"),
        (
            ("model=gp_hm", "dataset=poisson_1d", "dataset.case=sine", "scale=paper"),
            "got 'sine'",
        ),
        (("model=gp_hm", *SLOW_WAVE, "dataset.part=2.0"), "expected a part in (0, 1]"),
        (("model=gp_hm", *SLOW_WAVE, "model.kernel=rbf"), "expected a kernel of"),
        (("model=gp_hm", *SLOW_WAVE, "dataset.high=[-1.0]"), "expected low < high"),
        (("model=gp_hm", "dataset=poisson_1d", "model.resolution=32"), "needs about"),
        (("model=chebyshev", *SLOW_WAVE, "dataset.points_per_axis=1"), "at least 2 points"),
    ],
)
def test_what_cannot_be_solved_is_refused_in_one_line(
    run_cli: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_cli(*arguments, "hydra.run.dir=run")
    assert stop.value.code == 1
    errors = [line for line in capsys.readouterr().out.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert not Path("run/metrics.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model=gp_hm", "objective=rollout"), "has no use for that group"),
        (("model=lsm", "task=solve"), "has no use for that group"),
        (("model=gp_hm", "model.kernal=gm"), "did you mean 'model.kernel'"),
        (("model=chebyshev", "model.tolerance=small"), "expected a number like the default"),
        (("model=gp_hm", "dataset=poison_1d"), "did you mean 'poisson_1d'"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(cli.CommandLineError, match=message):
        cli.check_command_line(arguments)


def test_flags_of_the_configuration_system_are_no_options() -> None:
    cli.check_command_line(["model=gp_hm", "--cfg", "job", "dataset=poisson_1d", "--resolve"])
    with pytest.raises(cli.CommandLineError, match="did you mean 'gp_hm'"):
        cli.check_command_line(["--cfg", "job", "model=gp_hn"])


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_instantiates(name: str) -> None:
    with initialize_config_dir(str(cli.CONFIG_DIR), version_base="1.3"):
        node = compose("config", overrides=[f"dataset={name}"]).dataset
    plan = instantiate(node, _convert_="all")
    assert isinstance(plan, ProblemPlan)
    assert plan.problem.name == f"{name}-{node.case}"
    # what the file says about defaults is what the gallery has
    own = getattr(gallery, name)(node.case)
    assert plan.problem.domain == own.domain
    assert len(plan.problem.conditions) == len(own.conditions)
    assert plan.baselines.keys() == {"chebyshev"}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_scales_of_a_problem(name: str) -> None:
    """smoke is a corner of the box; paper has the published nodes and steps of each case."""
    with initialize_config_dir(str(cli.CONFIG_DIR), version_base="1.3"):
        smoke = compose("config", overrides=[f"dataset={name}", "scale=smoke"]).dataset
        chosen = ["model=gp_hm", "model/gp_hm_inference=adam", f"dataset={name}", "scale=paper"]
        cases = list(compose("config", overrides=chosen).published)
        papers = {
            case: compose("config", overrides=[*chosen, f"dataset.case={case}"])
            for case in cases
        }
    corner, whole = instantiate(smoke, _convert_="all"), getattr(gallery, name)(smoke.case)
    extents = zip(corner.problem.domain.extent, whole.domain.extent, strict=True)
    assert all(small == pytest.approx(0.1 * large) for small, large in extents)
    assert corner.points_per_axis == 40
    for case, paper in papers.items():
        getattr(gallery, name)(case)
        solver = instantiate(paper.model, _convert_="all")
        assert solver.resolution in (100, 200, 400, 900)
        assert solver.options.num_steps >= 100_000
        assert (
            instantiate(paper.dataset, _convert_="all").problem.domain
            == getattr(gallery, name)(case).domain
        )


def test_published_settings_belong_to_the_case() -> None:
    with initialize_config_dir(str(cli.CONFIG_DIR), version_base="1.3"):
        overrides = ["model=gp_hm", "dataset=poisson_1d", "dataset.case=mix_sin", "scale=paper"]
        direct = instantiate(compose("config", overrides=overrides).model, _convert_="all")
        overrides.append("model/gp_hm_inference=adam")
        adam = instantiate(compose("config", overrides=overrides).model, _convert_="all")
    assert direct.inference == "direct"
    assert direct.resolution == adam.resolution == 900
    assert (adam.options.num_steps, adam.options.change_point) == (1_000_000, 0.5)
    assert adam.options.frequency_scale == 30.0


def test_smoke_is_over_in_seconds_and_leaves_the_files_of_a_run(
    run_cli: Callable[..., None],
) -> None:
    run_cli("model=gp_hm", "dataset=poisson_2d", "dataset.case=sin_sin", "scale=smoke",
            "hydra.run.dir=run")  # fmt: skip
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["test/relative_l2"] < 1e-6
    assert metrics["time/solve_seconds"] < 60
    loaded = load_solution("run").value
    assert loaded.domain.high == pytest.approx((0.2 * math.pi,) * 2)


def test_error_bars_are_kept_with_the_solution(run_cli: Callable[..., None]) -> None:
    run_cli("model=gp_hm", *SLOW_WAVE, "model.options.posterior=true", "hydra.run.dir=run",
            "dataset.baselines=null")  # fmt: skip
    points = torch.linspace(0.1, 6.1, 7, dtype=torch.float64)[:, None]
    deviation = load_solution("run").value.std(points)
    assert deviation.shape == (7, 1)
    assert bool((deviation > 0).all())


@pytest.mark.parametrize("inference", ["direct", "adam", "evidence"])
def test_every_inference_instantiates_with_the_defaults_of_its_class(inference: str) -> None:
    with initialize_config_dir(str(cli.CONFIG_DIR), version_base="1.3"):
        overrides = ["model=gp_hm", f"model/gp_hm_inference={inference}"]
        config = compose("config", overrides=overrides)
    solver = instantiate(config.model, _convert_="all")
    assert isinstance(solver, PDESolver)
    assert solver.inference == inference
    assert solver.options == type(solver.options)()
    assert config.task == "solve"


def test_a_box_of_ones_own(run_cli: Callable[..., None]) -> None:
    run_cli("model=chebyshev", *SLOW_WAVE, "dataset.low=[1]", "dataset.high=[1.5]",
            "hydra.run.dir=run")  # fmt: skip
    assert load_solution("run").value.domain.low == (1.0,)
    assert load_solution("run").value.domain.high == (1.5,)
