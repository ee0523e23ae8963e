"""What a conversion writes: formats, files, and the record by which it is continued."""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, final

from sciml.data.sources.base import Source
from sciml.data.writers.atomic import write_atomically
from sciml.data.writers.matlab import write_matlab
from sciml.data.writers.pdebench import write_pdebench
from sciml.data.writers.torch_file import write_torch
from sciml.data.writers.well import write_well_from

RECORD = "conversion.json"
"""Name of the record in the target folder."""

_RECORD_VERSION = 1


def _of_one_length(source: Source, trajectory: int) -> Hashable:
    return source.num_steps(trajectory)


def _alike(source: Source, trajectory: int) -> Hashable:
    """What a file states once for all of its trajectories."""
    per_trajectory = (source.times, source.params, source.boundary)
    return tuple(read(trajectory).tobytes() for read in per_trajectory)


@final
@dataclass(frozen=True)
class Target:
    """A format to write.

    Args:
        suffix: Of its files.
        write: Writes trajectories of a source to a file.
        together: Trajectories of which this is equal may share a file.
    """

    suffix: str
    write: Callable[..., Path]
    together: Callable[[Source, int], Hashable]


TARGETS = {
    "well": Target(".hdf5", write_well_from, _of_one_length),
    "pdebench": Target(".hdf5", write_pdebench, _alike),
    "matlab": Target(".mat", write_matlab, _alike),
    "torch": Target(".pt", write_torch, _alike),
}
"""Formats that are written, by name."""


def plan_shards(
    source: Source, target_format: str, shard_bytes: int
) -> Mapping[str, list[int]]:
    """Files, by their place in the target folder, with the trajectories of each.

    Raises:
        ValueError: If a trajectory is larger than a file may be.
    """
    target, spec = TARGETS[target_format], source.spec
    channels = spec.frame_channels + (spec.out_channels if spec.paired else 0)
    frame_bytes = 4 * channels
    for n in spec.resolution:
        frame_bytes *= n
    shards: dict[str, list[int]] = {}
    first = 0
    for split, span in (source.splits or {"": range(source.num_trajectories)}).items():
        groups: dict[Hashable, list[int]] = {}
        for number in span:
            groups.setdefault(target.together(source, number), []).append(number)
        for numbers in groups.values():
            trajectory_bytes = frame_bytes * source.num_steps(numbers[0])
            count = shard_bytes // trajectory_bytes
            if count < 1:
                raise ValueError(
                    f"convert: expected shard_bytes of at least {trajectory_bytes}, the size "
                    f"of a trajectory of {spec.name}, got {shard_bytes}; raise it"
                )
            rest = iter(numbers)
            while shard := list(islice(rest, count)):
                name = f"{spec.name}-{first:07d}-{first + len(shard) - 1:07d}{target.suffix}"
                shards["/".join(filter(None, ("data", split, name)))] = shard
                first += len(shard)
    return shards


def begin_record(
    folder: Path, source: Source, target_format: str, shards: Mapping[str, Sequence[int]]
) -> None:
    """Begin a conversion, or make sure that the one in the folder is the same.

    Raises:
        ValueError: If the folder holds something else, naming what differs.
    """
    record: dict[str, Any] = {
        "version": _RECORD_VERSION,
        "format": target_format,
        "source": source.fingerprint,
        "shards": {name: list(numbers) for name, numbers in shards.items()},
    }
    path = folder / RECORD
    remedy = "delete the folder to convert again, or choose another one"
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            same = {key: found[key] == value for key, value in record.items()}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"convert: expected the record of a conversion in {path}, got something else "
                f"({error}); {remedy}"
            ) from error
        if not all(same.values()):
            raise ValueError(
                f"convert: expected {folder} to hold part of the same conversion, got another "
                f"{next(key for key, equal in same.items() if not equal)} in {path}; {remedy}"
            )
        return
    present = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    if present:
        raise ValueError(
            f"convert: expected an empty or new folder, got {folder} with {present[:8]}; "
            "choose another one"
        )
    text = json.dumps(record, indent=1)
    write_atomically(path, lambda partial_path: partial_path.write_text(text, encoding="utf-8"))
