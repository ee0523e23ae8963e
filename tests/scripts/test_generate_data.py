import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "generate_data.py"
TINY = ["--set", "resolution=8", "--set", "num_frames=2", "--seed", "41231056"]


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("generate_data", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_data_set_with_splits(main, tmp_path, capsys):
    sizes = ["--train", "2", "--valid", "1", "--test", "0"]
    options = ["fno_navier_stokes", "--root", str(tmp_path), "--name", "flow", *sizes, *TINY]
    assert main([*options, "--set", "viscosity=1e-2", "--set", "variant=unit"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder.parent == tmp_path / "flow"
    assert "viscosity0.01-" in folder.name
    assert "variantunit" in folder.name
    assert [file.parent.name for file in sorted(folder.rglob("*.hdf5"))] == ["train", "valid"]


def test_one_shard(main, tmp_path, capsys):
    target = tmp_path / "shard.hdf5"
    arguments = ["fno_navier_stokes", "--samples", "3:5", "--output", str(target), *TINY]
    assert main(arguments) == 0
    assert target.exists()
    assert capsys.readouterr().out.strip() == str(target)


def test_error_is_one_line_and_a_status(main, tmp_path, capsys):
    arguments = ["fno_navier_stokes", "--root", str(tmp_path), "--set", "viscosty=1"]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "did you mean 'viscosity'" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "viscosity"], "expected PARAMETER=VALUE, got 'viscosity'"),
        (["--samples", "5:3"], "expected FIRST:END with FIRST < END, got '5:3'"),
    ],
)
def test_malformed_options_are_named(main, capsys, arguments, message):
    with pytest.raises(SystemExit):
        main(["fno_navier_stokes", *arguments])
    assert message in capsys.readouterr().err


def test_help_lists_recipes_and_parameters(main, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "fno_navier_stokes" in text
    assert "'viscosity': 0.001" in text
