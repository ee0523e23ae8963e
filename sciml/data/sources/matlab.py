"""MATLAB files of both kinds, v5 and v7.3, told apart by their signatures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sciml.data.sources.array_sets_open import open_array_sets
from sciml.data.sources.array_sets_source import ArraySource
from sciml.data.sources.base import Format
from sciml.data.sources.matlab5 import read_matlab5
from sciml.data.sources.matlab73 import is_matlab73, read_matlab73


def _open_matlab5(paths: Sequence[Path], back_end: str) -> list[ArraySource]:
    return open_array_sets([read_matlab5(path, back_end) for path in paths])


def _open_matlab73(paths: Sequence[Path], back_end: str) -> list[ArraySource]:
    return open_array_sets([read_matlab73(path, back_end) for path in paths])


def _any_content(path: Any) -> bool:
    """Every file of the container is ours; what it means is asked when all files are open."""
    return True


FORMATS: tuple[Format, ...] = (
    Format("matlab5", "matlab5", _any_content, _open_matlab5),
    Format("matlab73", "hdf5", is_matlab73, _open_matlab73),
)
"""Variables that MATLAB saved, without and with ``-v7.3``."""
