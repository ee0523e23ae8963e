"""File formats: one module each, told apart by content, never by name.

A format is added by a module with a `Format` and one entry in the table below.
"""

from collections.abc import Sequence
from pathlib import Path

from sciml.data.sources import matlab, numpy_files, pdebench, torch_file, well
from sciml.data.sources.base import FileSource, Format, Source
from sciml.data.sources.files import container_of, find_files
from sciml.data.sources.hdf5 import BACK_ENDS, open_hdf5
from sciml.data.sources.joined import JoinedSource
from sciml.typing import StrPath

_FORMATS: tuple[Format, ...] = (
    well.FORMAT,
    pdebench.FORMAT,
    *matlab.FORMATS,
    *torch_file.FORMATS,
    *numpy_files.FORMATS,
)
"""Formats in the order in which they are tried; the first that recognises a file reads it."""


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
    chosen = _detect(next(iter(files.values()))[0]) if format is None else _named(format)
    return JoinedSource(
        {split: _open(chosen, group, back_end) for split, group in files.items()}
    )


def _open(chosen: Format, paths: Sequence[Path], back_end: str) -> Sequence[FileSource]:
    """Parts of one split, all of one container."""
    for path in paths:
        container = container_of(path)
        if container != chosen.container:
            kind = "a file of unknown kind" if container is None else f"a {container} file"
            raise ValueError(
                f"open_source: expected {chosen.container} files of the {chosen.name} format, "
                f"got {kind}, {path} of {path.stat().st_size} bytes; if it was cut, delete it "
                "and generate or download it again, else move it out of the folder"
            )
    return chosen.open_files(paths, back_end)


def _named(name: str) -> Format:
    for known in _FORMATS:
        if known.name == name:
            return known
    raise ValueError(
        f"open_source: expected a format of {[known.name for known in _FORMATS]}, got "
        f"{name!r}; leave it out to detect the format by content"
    )


def _detect(path: Path) -> Format:
    """Format of a file by its signature, then by its keys."""
    container = container_of(path)
    candidates = [known for known in _FORMATS if known.container == container]
    tried = ", ".join(known.name for known in _FORMATS)
    if not candidates:
        with path.open("rb") as file:
            head = file.read(8)
        raise ValueError(
            f"open_source: expected a file with the signature of HDF5, MATLAB, torch or numpy, "
            f"got {path} of {path.stat().st_size} bytes that begins with {head!r}; if it was "
            f"cut, delete it and generate or download it again (formats tried: {tried})"
        )
    if container != "hdf5":
        for known in candidates:
            if known.recognise(path):
                return known
        raise ValueError(
            f"open_source: expected one of the formats {tried}, got the {container} file "
            f"{path} with other contents; pass format= to override the detection"
        )
    with open_hdf5(path) as file:
        for known in candidates:
            if known.recognise(file):
                return known
        keys = sorted(file)[:12]
        attributes = sorted(file.attrs)[:12]
    raise ValueError(
        f"open_source: expected one of the formats {tried}, got {path} with keys {keys} and "
        f"attributes {attributes}; pass format= to override the detection"
    )
