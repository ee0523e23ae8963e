"""Converting data sets from any known format to one that we write.

The result is a folder of shards, ``<target>/data/<split>`` or ``<target>/data`` without
splits, and a record ``<target>/conversion.json`` of what goes where. The record is written
first and each shard appears only when it is complete; so an interrupted conversion goes on with
the shards that are missing, and one of another source or format is refused.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

from sciml.data.convert_plan import RECORD, TARGETS, begin_record, plan_shards
from sciml.data.sources import open_source
from sciml.data.sources.base import Source
from sciml.data.sources.files import container_of, find_files
from sciml.data.sources.hdf5 import open_hdf5
from sciml.data.sources.well import is_well
from sciml.data.sources.well_file import read_well_file
from sciml.spec import DatasetSpec
from sciml.typing import StrPath

_MOST_BYTES = 2**31 - 1  # what MATLAB v5 can hold in a variable; a handy size for the others


FORMATS = tuple(TARGETS)
"""Names of the formats that are written."""


@final
@dataclass
class _Progress:
    """Turns counts of a shard's finished trajectories into those since the last call."""

    report: Callable[[int], object]
    _seen: int = field(default=0)

    def __call__(self, finished: int) -> None:
        self.report(finished - self._seen)
        self._seen = finished


def convert(
    source: StrPath,
    target: StrPath,
    *,
    format: str = "well",  # noqa: A002  the public name of the option
    source_format: str | None = None,
    shard_bytes: int = _MOST_BYTES,
    progress: Callable[[int], object] | None = None,
) -> list[Path]:
    """Convert a data set, in constant memory and one shard after the other.

    Splits stay what they are. Trajectories keep their order, except that those of other
    lengths, or in the formats that state them once, other parameters, times or boundaries, go
    to files of their own.

    Args:
        source: A file or folder of any known format.
        target: Folder of the result; where it holds part of the same conversion, the rest is
            done.
        format: Format to write, one of `FORMATS`.
        source_format: Format of the source, to override the detection by content.
        shard_bytes: Largest size of the fields in a file.
        progress: Called with the number of trajectories finished since the last call.

    Returns:
        The files, those included that were there already.

    Raises:
        FileNotFoundError: If the source is missing.
        ValueError: If the format is unknown or cannot hold the data, so that they would not be
            read back as what they are, or the target holds something else.
        OSError: If a file cannot be written.
    """
    if format not in TARGETS:
        raise ValueError(
            f"convert: expected a format of {list(TARGETS)}, got {format!r}; choose one"
        )
    opened = open_source(source, format=source_format)
    folder = Path(target)
    _check_apart(Path(source), folder)
    attributes = _grid_attributes(source, format)
    shards = plan_shards(opened, format, shard_bytes)
    begin_record(folder, opened, format, shards)
    write: Callable[..., Path] = TARGETS[format].write
    if format == "well":
        in_order = [n for numbers in shards.values() for n in numbers] == list(
            range(opened.num_trajectories)
        )
        if opened.split_preset is not None and in_order:
            attributes["split_preset"] = opened.split_preset
        write = partial(write, attributes=attributes)
    files = [folder / name for name in shards]
    for file, numbers in zip(files, shards.values(), strict=True):
        report = _Progress(progress) if progress is not None else None
        if not file.exists():
            write(file, opened, trajectories=numbers, progress=report)
            if file == files[0]:
                _check_read_back(file, opened, folder)
        elif report is not None:
            report(len(numbers))
    return files


def _check_read_back(file: Path, source: Source, folder: Path) -> None:
    """The first file must mean what the source does, or the conversion is taken back.

    Formats without room for coordinates and names leave them to the reader, who knows the
    published data sets only.
    """

    def meaning(spec: DatasetSpec) -> dict[str, Any]:
        return {
            "name": spec.name,
            "axes": (spec.axes, spec.periodic),
            "box": [f"{end:.5g}" for end in (*spec.domain.low, *spec.domain.high)],
            "grid": spec.grid,
            "input fields": [item.name for item in spec.in_fields],
            "output fields": [item.name for item in spec.out_fields],
            "time step": None if spec.dt is None else f"{spec.dt:.5g}",
        }

    expected = meaning(source.spec)
    try:
        got = meaning(open_source(file).spec)
    except ValueError as error:
        got = {"name": f"a file that is not understood ({error})"}
    for key, value in expected.items():
        if got.get(key) != value:
            file.unlink()
            (folder / RECORD).unlink()
            with contextlib.suppress(OSError):  # unless other files are there
                for parent in file.relative_to(folder).parents:
                    (folder / parent).rmdir()
            raise ValueError(
                f"convert: expected files that are read back with {key} {value}, got "
                f"{got.get(key)}; the format has no room for it, convert to The Well's layout"
            )


def _check_apart(source: Path, target: Path) -> None:
    """The result must not become part of the source."""
    inside, outside = target.resolve(), source.resolve()
    if inside.is_relative_to(outside) or (target.is_dir() and outside.is_relative_to(inside)):
        raise ValueError(
            f"convert: expected a target folder apart from the source {source}, got {target}; "
            "choose another folder"
        )


def _grid_attributes(source: StrPath, target_format: str) -> dict[str, str | int | float]:
    """What The Well's files say of their grid beyond the spec; other grids are not converted.

    Raises:
        ValueError: If the points are not evenly spaced, which a spec cannot say, or the target
            knows cartesian grids only.
    """
    kinds = {"cartesian"}
    for path in (path for group in find_files(source).values() for path in group):
        if container_of(path) != "hdf5":
            break
        with open_hdf5(path) as file:
            if not is_well(file):
                break
        header = read_well_file(path)
        kinds.add(header.grid_type)
        others = kinds - {"cartesian"} if target_format != "well" else set[str]()
        if header.uneven_axes or others:
            raise ValueError(
                f"convert: expected an evenly spaced grid that {target_format} can describe, "
                f"got {header.grid_type} axes, of which {list(header.uneven_axes)} are uneven "
                f"or run downwards, in {path}; use the files as they are"
            )
    return {"grid_type": (kinds - {"cartesian"} or kinds).pop()}
