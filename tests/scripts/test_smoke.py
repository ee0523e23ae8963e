import importlib.util
import json
from pathlib import Path

import pytest

import sciml

SCRIPT = Path(__file__).parents[2] / "scripts" / "smoke.py"


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("smoke_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.parametrize(
    ("options", "stem"),
    [
        (["scene=sphere", "n=32", "steps=10", "rtol=1e-8", "solver=all"], "sphere_2d_32"),
        (["scene=bunny", "n=16", "dim=3", "steps=3", "top=closed", "every=1"], "bunny_3d_16"),
    ],
)
def test_run_leaves_frames_pictures_and_numbers(main, tmp_path, capsys, options, stem):
    assert main([*options, f"output={tmp_path}"]) == 0
    files = {file.name for file in tmp_path.iterdir()}
    assert files == {f"{stem}.{suffix}" for suffix in ("hdf5", "gif", "png", "json")}
    summary = json.loads((tmp_path / f"{stem}.json").read_text())
    if "rtol=1e-8" in options:
        assert summary["largest_divergence"] <= 1e-6
        assert list(summary["solvers"]) == ["ccmg", "cg"]
    assert summary["largest_mass_error"] <= 1e-6
    data = sciml.open_dataset(tmp_path / f"{stem}.hdf5")
    assert data.spec.out_channels == 4 + len(data.spec.axes)
    frames = data.batch([0]).inputs
    assert float(frames[:, 0].min()) >= 0
    printed = capsys.readouterr()
    assert "ccmg" in printed.out
    assert stem in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenne=sphere"], "did you mean 'scene'"),
        (["sphere"], "expected name=value with a name among"),
        (["n=many"], "expected an integer for n=, got 'many'; correct it"),
        (["rtol=small"], "expected a number for rtol=, got 'small'; correct it"),
        (["n=16", "n=32"], "expected n= once, got it again as 'n=32'; drop one"),
        (["top=ajar"], "expected top=open or top=closed, got top='ajar'"),
        (["scene=spere"], "did you mean 'sphere'"),
        (["solver=cgg"], "did you mean 'cg'"),
        (["solver=dcdm"], "expected the folder of a trained network"),
        (["solver=cg", "checkpoint=somewhere"], "expected no checkpoint= without solver=dcdm"),
        (["n=16", "steps=0"], "expected positive numbers, got num_steps=0"),
        (["n=16", "dim=4"], "expected 2 or 3 axes, got 4"),
        (["n=16", "every=-1"], "expected positive numbers"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(main, tmp_path, capsys, arguments, message):
    assert main([*arguments, f"output={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_lists_options_and_defaults(main, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "scene=sphere: plume, sphere, bunny" in text
    assert "rtol=0.0001" in text
