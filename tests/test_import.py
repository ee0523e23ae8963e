"""`import sciml` stays light, and every public name can be reached."""

import subprocess
import sys

import pytest

import sciml

HEAVY = ("lightning", "pytorch_lightning", "wandb", "neuralop", "gpytorch", "matplotlib")


def in_fresh_interpreter(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_no_engine_tracker_or_plotting() -> None:
    loaded = in_fresh_interpreter("import sciml, sys; print(' '.join(sys.modules))").split()
    assert "sciml" in loaded
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize("name", ["generate", "open_dataset", "DatasetSpec", "LSM", "load"])
def test_using_a_name_loads_no_tracker(name: str) -> None:
    loaded = in_fresh_interpreter(
        f"import sciml, sys; sciml.{name}; print(' '.join(sys.modules))"
    )
    assert not {"wandb", "neuralop", "gpytorch", "matplotlib"} & set(loaded.split())


@pytest.mark.parametrize("name", sciml.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(sciml, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Lsm'"):
        sciml.Lsm  # noqa: B018
