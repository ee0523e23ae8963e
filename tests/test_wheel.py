"""The built wheel carries the configuration and runs from an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(command: list[str | Path], **options: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, so that nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source") / "sciml-pde"
    kept = [
        "pyproject.toml",
        "setup.py",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "sciml",
        "conf",
    ]
    source.mkdir()
    for name in kept:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    folder = source / "wheels"
    run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    )
    return next(folder.glob("*.whl"))


def test_wheel_holds_package_and_configuration(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "sciml/conf/config.yaml" in names
    assert "sciml/conf/model/lsm.yaml" in names
    assert "sciml/simulate/recipes/fno_navier_stokes.py" in names
    assert wheel.name.startswith("sciml_pde-")
    assert not [name for name in names if name.startswith("tests/")]


def test_installed_console_script_trains_from_an_empty_folder(
    wheel: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    site = Path(
        sysconfig.get_path(
            "purelib", vars={"base": str(environment), "platbase": str(environment)}
        )
    )
    run([sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet",
         "--prefix", environment, "--ignore-installed", wheel])  # fmt: skip
    # The dependencies of this interpreter, after the wheel's own modules on the path.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = environment / "bin" / "python"
    folder = tmp_path / "empty"
    folder.mkdir()
    clean = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "SCIML_DATA"}}
    where = run([python, "-c", "import sciml; print(sciml.__file__)"], cwd=folder, env=clean)
    assert str(environment) in where
    # pip wrote the building interpreter into the script's first line; run it by this one.
    script = environment / "bin" / "sciml"
    output = run(
        [
            python,
            script,
            "model=lsm",
            "dataset=navier_stokes",
            "scale=smoke",
            "hydra.run.dir=run",
        ],
        cwd=folder,
        env=clean,
    )
    assert "scale=smoke" in output
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert metrics["test/rollout_relative_l2"] > 0
