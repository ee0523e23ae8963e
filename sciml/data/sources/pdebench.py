"""PDEBench's HDF5 files, in their three layouts, told apart by their keys.

Flat files hold all trajectories of a parameter value in large arrays
(`sciml.data.sources.pdebench_flat`), others one group for each seed
(`sciml.data.sources.pdebench_groups`) or a batch of incompressible flows
(`sciml.data.sources.pdebench_incompressible`). Extensions and names do not matter, except where
a file leaves its parameters or boundary conditions to its published name.

Source: M. Takamoto et al., PDEBench: An Extensive Benchmark for Scientific Machine Learning,
NeurIPS 2022, arXiv:2210.07182.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sciml.data.sources.base import FileSource, Format
from sciml.data.sources.hdf5 import open_hdf5
from sciml.data.sources.pdebench_flat import FlatSource
from sciml.data.sources.pdebench_groups import GroupsSource, is_seed_number
from sciml.data.sources.pdebench_incompressible import IncompressibleSource

_TEST_NAME = re.compile(r"ReacDiff_react_", re.IGNORECASE)
_FLAT_MARKS = ("tensor", "density", "pressure", "Vx")


def is_pdebench(file: Any) -> bool:
    """Whether an open HDF5 file is meant to follow one of the layouts."""
    return _layout(file) != ""


def _layout(file: Any) -> str:
    """Layout of an open file, empty if it has the keys of none."""
    marks = [name for name in (*_FLAT_MARKS, "velocity") if name in file]
    # MATLAB's files may hold the same names, with their axes reversed
    if any("MATLAB_class" in file[name].attrs for name in marks):
        return ""
    if any(name in file for name in _FLAT_MARKS):
        return "flat"
    if "velocity" in file and "particles" in file:
        return "incompressible"
    return "groups" if len(file) and all(is_seed_number(key) for key in file) else ""


def _open_files(paths: Sequence[Path], back_end: str) -> Sequence[FileSource]:
    """Files of one data set, all of which must have the same layout.

    Raises:
        ValueError: If a file is damaged, or its layout differs.
    """
    any_test = any(_TEST_NAME.search(path.name) for path in paths)
    return [_open_file(path, back_end, any_test) for path in paths]


def _open_file(path: Path, back_end: str, any_test: bool) -> FileSource:
    """One file; what HDF5 finds wrong inside becomes an error that names the file."""
    try:
        with open_hdf5(path) as file:
            layout = _layout(file)
            if layout == "groups":
                return GroupsSource(file, back_end)
            if layout == "incompressible":
                return IncompressibleSource(file, back_end)
            if layout == "flat":
                # training files are marked only where they stand beside the test files
                role = "test" if _TEST_NAME.search(path.name) else "train" if any_test else ""
                return FlatSource(file, back_end, role)
            keys = sorted(file)[:12]
    except (KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        if str(error).startswith("open_source: "):
            raise
        raise ValueError(
            f"open_source: expected a sound PDEBench file, got damage in {path} ({error}); "
            "download or generate it again"
        ) from error
    raise ValueError(
        "open_source: expected one of PDEBench's layouts (tensor; density, pressure, Vx; "
        f"velocity, particles; or groups named by seeds), got {path} with keys {keys}; move it "
        "out of the folder"
    )


FORMAT = Format("pdebench", "hdf5", is_pdebench, _open_files)
"""PDEBench's three layouts."""
