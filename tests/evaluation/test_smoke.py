import json

import numpy as np
import pytest
import torch
from rich.console import Console

import sciml
from sciml.data.drawn import DrawnData
from sciml.evaluation.smoke import make_pressure_method, run_smoke, smoke_table
from sciml.linalg.poisson import PoissonOperator
from sciml.models.dcdm.model import DCDMNet
from sciml.simulate.poisson_samples import CosineSampler
from sciml.simulate.smoke_scenes import make_scene
from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate

RTOL = 1e-5


def methods(*names):
    return {name: make_pressure_method(name, rtol=RTOL) for name in names}


@pytest.fixture(scope="module")
def run_and_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("smoke") / "sphere.hdf5"
    counts = []
    scene = make_scene("moving_sphere", 20)
    run = run_smoke(scene, methods("cg", "ccmg"), 7, path=path, every=3, progress=counts.append)
    assert counts == [1, 2, 3, 4, 5, 6, 7]
    return run, path


def test_file_is_a_data_set(run_and_file):
    run, path = run_and_file
    data = sciml.open_dataset(path)
    spec = data.spec
    assert spec.name == "smoke_moving_sphere"
    assert spec.resolution == (20, 20)
    assert spec.grid == ("cell", "cell")
    assert [(f.name, f.rank) for f in spec.out_fields] == [
        ("density", 0), ("pressure", 0), ("right_hand_side", 0), ("flags", 0), ("velocity", 1),
    ]  # fmt: skip
    assert spec.dt == pytest.approx(3 * run.scene.dt, rel=1e-6)
    assert spec.constants["buoyancy"] == 1.0
    source = sciml.open_source(path)
    np.testing.assert_array_equal(source.boundary(0), [[0, 0], [0, 1]])
    assert source.num_steps(0) == 3


def test_file_holds_systems_and_their_solutions(run_and_file):
    _, path = run_and_file
    source = sciml.open_source(path)
    frames = np.empty((3, 6, 20, 20), np.float32)
    source.read(0, 0, 3, 1, frames)
    assert frames[0, 0].max() == 0
    assert frames[2, 0].max() == pytest.approx(1.0, abs=0.1)
    flags = torch.from_numpy(frames[:, 3].astype(np.uint8))
    assert not torch.equal(flags[0], flags[2])  # the body moves
    for frame, cells in zip(frames[1:], flags[1:], strict=True):
        operator = PoissonOperator(cells, 1 / 20)
        p, b = (torch.from_numpy(frame[k]).double() for k in (1, 2))
        assert float((b - operator.mv(p)).norm() / b.norm()) < 2 * RTOL


def test_run_says_what_each_solver_cost(run_and_file):
    run, _ = run_and_file
    summary = json.loads(json.dumps(run.summary()))
    assert list(summary["solvers"]) == ["cg", "ccmg"]
    costs = summary["solvers"]["cg"]
    assert costs["method"].startswith("CG")
    assert costs["mean_steps"] == np.mean(run.solvers["cg"].num_steps[1:])
    rest = summary["seconds_per_step_without_solve"]
    assert costs["seconds_per_step"] == pytest.approx(costs["seconds"]["median"] + rest)
    assert costs["part_in_solve"] == pytest.approx(
        costs["seconds"]["median"] / costs["seconds_per_step"]
    )
    assert summary["largest_divergence"] < 1e-3 < summary["largest_divergence_before"]
    assert summary["mass"] == pytest.approx(summary["mass_added"] - summary["mass_left"])
    assert summary["largest_mass_error"] < 1e-12
    assert summary["num_steps"] == 7


def test_table_has_a_row_for_each_solver(run_and_file):
    run, _ = run_and_file
    console = Console(record=True, width=80)
    console.print(smoke_table(run))
    text = console.export_text()
    assert "moving_sphere, 20×20 cells, 7 steps" in text
    assert "ms a solve ┃ ms a step ┃ in the solve" in text
    assert "max|div u|" in text
    for name in ("cg", "ccmg"):
        assert f"│ {name}: CG, " in text


def test_pictures_are_of_the_frames(run_and_file):
    run, _ = run_and_file
    assert [p.time / run.scene.dt for p in run.pictures] == pytest.approx([0, 3, 6])


def test_solvers_reach_the_same_pressure():
    scene = make_scene("sphere", 40)
    operator = PoissonOperator(scene.flags(0.0), scene.spacing)
    generator = torch.Generator().manual_seed(40507)
    b = operator.project(torch.randn(40, 40, generator=generator, dtype=torch.float64))
    zero = torch.zeros_like(b)
    found = [
        make_pressure_method(name, rtol=1e-10)(operator, b, zero) for name in ("cg", "ccmg")
    ]
    assert all(map(bool, found))
    torch.testing.assert_close(found[0].value, found[1].value, rtol=1e-6, atol=1e-9)
    again = make_pressure_method("ccmg", rtol=1e-4)(operator, b, found[0].value)
    assert again.num_steps == 0


def test_a_network_drives_the_simulation_too(tmp_path):
    """An untrained one needs its fallback, which is counted."""
    torch.manual_seed(60013)
    data = DrawnData(CosineSampler((16, 16)), batch_size=1, epoch_size=1)
    net = DCDMNet(2, hidden_channels=2)
    Surrogate(NormalizedModel.from_data(net, data, kind="none")).save(tmp_path)
    method = make_pressure_method("dcdm", rtol=1e-4, checkpoint=tmp_path)
    run = run_smoke(make_scene("sphere", 16), {"dcdm": method} | methods("ccmg"), 2)
    costs = run.summary()["solvers"]
    assert costs["dcdm"]["method"].startswith("DCDM")
    assert costs["dcdm"]["num_fallbacks"] > 0
    assert costs["ccmg"]["num_fallbacks"] == 0
    assert run.summary()["largest_divergence"] < 0.01


def test_failed_run_leaves_no_file(tmp_path):
    def hopeless(operator, b, start):
        return sciml.linear_solve(operator, b, sciml.CG(rtol=1e-10, max_steps=1))

    scene = make_scene("sphere", 40)
    with pytest.raises(sciml.SolverError, match="MAX_STEPS"):
        run_smoke(scene, {"hopeless": hopeless}, 3, path=tmp_path / "smoke.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_refusals():
    scene = make_scene("sphere", 16)
    with pytest.raises(ValueError, match="got 'ccgm'; did you mean 'ccmg'"):
        make_pressure_method("ccgm")
    with pytest.raises(ValueError, match="expected the folder of a trained network for solver"):
        make_pressure_method("dcdm")
    with pytest.raises(ValueError, match="expected no checkpoint for solver 'cg'"):
        make_pressure_method("cg", checkpoint="run")
    with pytest.raises(ValueError, match="expected positive numbers, got num_steps=0"):
        run_smoke(scene, methods("cg"), 0)
    with pytest.raises(ValueError, match="expected at least one solver"):
        run_smoke(scene, {}, 3)
