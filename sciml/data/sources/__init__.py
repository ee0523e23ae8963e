"""File formats: one module each, told apart by content, never by name.

A format is added by a module with a `Source` and one entry in the table below.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sciml.data.sources.base import Source
from sciml.data.sources.files import find_files, is_hdf5
from sciml.data.sources.hdf5 import BACK_ENDS, open_hdf5
from sciml.data.sources.well import WellSource, is_well
from sciml.typing import StrPath

_HDF5_FORMATS: Mapping[str, tuple[Callable[[Any], bool], Callable[..., Source]]] = {
    "well": (is_well, WellSource),
}
"""Formats inside HDF5: whether an open file is of it, and what reads it."""


def open_source(
    path: StrPath,
    *,
    format: str | None = None,  # noqa: A002  the public name of the option
    back_end: str = "auto",
) -> Source:
    """Open a file, a folder of files or a data set folder of any known format.

    Args:
        path: The file or folder; a folder is one data set, with its splits when it has
            ``train``, ``valid`` and ``test`` folders.
        format: Format name, to override the detection by content.
        back_end: How arrays are read; ``"auto"`` takes the memory map wherever it is possible.

    Raises:
        FileNotFoundError: If the path is missing (naming the nearest name), or holds no data.
        ValueError: If the content is unknown, damaged, or differs between the files of a
        folder.
    """
    if back_end not in BACK_ENDS:
        raise ValueError(
            f"open_source: expected a back end of {BACK_ENDS}, got {back_end!r}; use auto"
        )
    files = find_files(path)
    first = next(iter(files.values()))[0]
    name = _detect(first) if format is None else format
    if name not in _HDF5_FORMATS:
        raise ValueError(
            f"open_source: expected a format of {sorted(_HDF5_FORMATS)}, got {name!r}; leave "
            "it out to detect the format by content"
        )
    return _HDF5_FORMATS[name][1](files, back_end)


def _detect(path: Path) -> str:
    """Format of a file by its signature, then by its keys."""
    if not is_hdf5(path):
        with path.open("rb") as file:
            head = file.read(8)
        raise ValueError(
            f"open_source: expected a file with the HDF5 signature, got {path} of "
            f"{path.stat().st_size} bytes that begins with {head!r}; if it was cut, delete it "
            "and generate or download it again (formats tried: "
            f"{', '.join(sorted(_HDF5_FORMATS))})"
        )
    with open_hdf5(path) as file:
        for name, (recognise, _) in _HDF5_FORMATS.items():
            if recognise(file):
                return name
        keys = sorted(file)[:12]
        attributes = sorted(file.attrs)[:12]
    raise ValueError(
        f"open_source: expected one of the formats {sorted(_HDF5_FORMATS)}, got {path} with "
        f"keys {keys} and attributes {attributes}; pass format= to override the detection"
    )
