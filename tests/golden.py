"""Where the golden data lie: `SCIML_GOLDEN`, or `../shared/golden` beside the repository."""

import os
from pathlib import Path

import numpy as np
import pytest


def golden_path(name: str) -> Path:
    """A golden file; the test is skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "golden"
    path = Path(os.environ.get("SCIML_GOLDEN", default)) / name
    if not path.exists():
        pytest.skip(f"golden file {name} is not here; set SCIML_GOLDEN to its folder")
    return path


def golden(name: str) -> dict[str, np.ndarray]:
    """Arrays of one golden file."""
    with np.load(golden_path(name)) as archive:
        return dict(archive)
