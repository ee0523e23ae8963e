"""Statistics that The Well publishes beside its data sets.

Source: The Well, ``stats.yaml``: mean, standard deviation and root mean square of each field,
and of the differences of successive frames (``…_delta``), with four significant digits. A
vector has a list, a tensor a list of lists. Published files lack keys and hold values that
cannot be; hence the checks.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import yaml

from sciml.data.statistics import ChannelStatistics
from sciml.spec import DatasetSpec, FieldSpec
from sciml.typing import StrPath

_LOG = logging.getLogger(__name__)

_DIGITS = 5e-4
"""Relative rounding error of four significant digits."""


@final
@dataclass(frozen=True)
class PublishedStatistics:
    """What a file says; None where it does not cover all fields.

    Args:
        field: Of the fields; minimum and maximum are not known.
        increment: Of the differences of successive frames.
    """

    field: ChannelStatistics | None
    increment: ChannelStatistics | None


def read_well_statistics(
    path: StrPath, spec: DatasetSpec, *, num_frames: int, num_steps: int
) -> PublishedStatistics:
    """Read the statistics of a data set's input fields.

    Args:
        path: The file ``stats.yaml``.
        spec: Description of the data set; its fields say which entries are read.
        num_frames: Frames over all training trajectories, which the values are statistics of.
        num_steps: Frames T of a trajectory.

    Returns:
        Statistics of each channel. Of mean, deviation and root mean square one may be missing,
        as it follows from the two others.

    Raises:
        ValueError: If the file is not of this kind, an entry has another shape than its field,
            or the difference of successive frames is larger than two frames allow:
            rms_delta > 2 std √(T/(T - 1)).
    """
    table = _load(Path(path))
    values = {
        suffix: _moments(table, spec.in_fields, suffix, Path(path)) for suffix in ("", "_delta")
    }
    points = num_frames * math.prod(spec.resolution)
    for field, std, rms_delta, std_delta in _comparable(table, spec.in_fields):
        limit = 2 * std * math.sqrt(num_steps / (num_steps - 1)) if num_steps > 1 else math.inf
        if rms_delta > limit * (1 + 2 * _DIGITS):
            raise ValueError(
                f"read_well_statistics: expected rms_delta of {field} of at most {limit:.4g} "
                f"for std {std:.4g} and {num_steps} frames, got {rms_delta:.4g} in {path}; "
                "compute the statistics instead"
            )
        if std_delta > math.sqrt(2) * std * (1 + 2 * _DIGITS):
            _LOG.warning(
                "%s: the differences of successive frames of %s vary more than independent "
                "frames would (std_delta / std = %.3f > 1.414); compute the statistics instead "
                "if this field is not known to alternate",
                path,
                field,
                std_delta / std,
            )
    return PublishedStatistics(
        _channel_statistics(values[""], points), _channel_statistics(values["_delta"], points)
    )


def _load(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(
            f"read_well_statistics: expected YAML, got {path}: {error}; download it again"
        ) from error
    if not isinstance(table, dict) or not all(isinstance(v, dict) for v in table.values()):
        raise ValueError(
            "read_well_statistics: expected a mapping of mean, std, rms and others to the "
            f"values of each field, got {path}; name the file stats.yaml of a data set"
        )
    return table


def _entry(
    table: Mapping[str, Mapping[str, Any]], key: str, field: FieldSpec, path: Path | str = ""
) -> list[float] | None:
    """Values of a field's components; None if they are missing."""
    value = table.get(key, {}).get(field.name)
    if value is None:
        return None
    flat = [value]
    for _ in range(field.rank):
        flat = [v for row in flat for v in (row if isinstance(row, list) else [math.nan])]
    numbers = [_number(v) for v in flat]
    if len(numbers) != field.components or not all(map(math.isfinite, numbers)):
        raise ValueError(
            f"read_well_statistics: expected {field.components} finite numbers for {key} of "
            f"{field.name!r} of rank {field.rank}, got {value} in {path}; download it again"
        )
    return numbers


def _number(value: Any) -> float:
    try:
        return float(value)  # YAML takes 3E-5, without a point, for text
    except (TypeError, ValueError):
        return math.nan


def _moments(
    table: Mapping[str, Mapping[str, Any]],
    fields: Sequence[FieldSpec],
    suffix: str,
    path: Path,
) -> list[tuple[float, float]] | None:
    """Mean and standard deviation of each channel; None if a field lacks two of three."""
    moments: list[tuple[float, float]] = []
    complete = True
    for field in fields:
        mean, std, rms = (
            _entry(table, f"{key}{suffix}", field, path) for key in ("mean", "std", "rms")
        )
        if std is None and mean is not None and rms is not None:
            pairs = zip(mean, rms, strict=True)
            std = [math.sqrt(max(r * r - m * m, 0.0)) for m, r in pairs]
        if mean is None or std is None:
            complete = False  # the other fields' entries are checked all the same
        else:
            moments += zip(mean, std, strict=True)
    return moments if complete else None


def _comparable(
    table: Mapping[str, Mapping[str, Any]], fields: Sequence[FieldSpec]
) -> list[tuple[str, float, float, float]]:
    """Name, std, rms_delta and std_delta of each channel that has all of them."""
    found: list[tuple[str, float, float, float]] = []
    for field in fields:
        columns = [_entry(table, key, field) for key in ("std", "rms_delta", "std_delta")]
        present = [column for column in columns if column is not None]
        if len(present) == len(columns):
            for number, row in enumerate(zip(*present, strict=True)):
                name = f"{field.name}[{number}]" if field.rank else field.name
                found.append((name, *row))
    return found


def _channel_statistics(
    moments: list[tuple[float, float]] | None, count: int
) -> ChannelStatistics | None:
    if moments is None:
        return None
    mean, std = torch.tensor(moments, dtype=torch.float64).T
    return ChannelStatistics(count, mean, std**2 * count)
