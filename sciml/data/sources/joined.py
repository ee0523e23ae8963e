"""Several files as one data set."""

import hashlib
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import FileSource
from sciml.data.sources.composed import ComposedSource
from sciml.data.sources.files import SPLIT_NAMES


@final
class JoinedSource(ComposedSource):
    """Trajectories of all files of a data set, numbered split by split and file by file.

    Scalars that differ between trajectories are the PDE parameters ``spec.params``; equal ones
    are ``spec.constants``.

    Args:
        parts: Files of each split; the single key ``""`` when there are no split folders. Files
            that were published for a split (`FileSource.role`) then make the splits.

    Raises:
        ValueError: If files differ in what they hold.
    """

    def __init__(self, parts: Mapping[str, Sequence[FileSource]]) -> None:
        groups = _by_role(parts[""]) if list(parts) == [""] else parts
        self._sources: list[FileSource] = [part for group in groups.values() for part in group]
        first = self._sources[0]
        for other in self._sources[1:]:
            _check_agreement(first, other)
        self._starts = list(accumulate(self.part_sizes, initial=0))
        self._lengths = np.concatenate([part.lengths for part in self._sources])
        self._splits: dict[str, range] = {}
        position = 0
        for name, group in groups.items():
            stop = position + len(group)
            if name:
                self._splits[name] = range(self._starts[position], self._starts[stop])
            position = stop
        scalars = {
            name: np.concatenate([part.scalars[name] for part in self._sources])
            for name in first.scalars
        }
        constant = {name: bool(np.all(values == values[0])) for name, values in scalars.items()}
        params = tuple(name for name, same in constant.items() if not same)
        self._params = np.array([scalars[name] for name in params], np.float64).reshape(
            len(params), len(self._lengths)
        )
        steps = (part.spec.dt for part in self._sources)
        self._spec = replace(
            first.spec,
            params=params,
            dt=next((dt for dt in steps if dt is not None), None),
            constants={
                name: float(scalars[name][0]) for name, same in constant.items() if same
            },
        )
        if self._spec.unstructured:
            largest = max(part.spec.resolution[0] for part in self._sources)
            self._spec = self._spec.at((largest,))

    @property
    @override
    def split_preset(self) -> str | None:
        return self._sources[0].split_preset

    @property
    @override
    def part_sizes(self) -> tuple[int, ...]:
        return tuple(part.num_trajectories for part in self._sources)

    @property
    @override
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for part in self._sources:
            digest.update(part.fingerprint.encode())
        return digest.hexdigest()

    @override
    def _find(self, trajectory: int) -> tuple[FileSource, int]:
        """The file, and the number of the trajectory inside it."""
        number = bisect_right(self._starts, trajectory) - 1
        return self._sources[number], trajectory - self._starts[number]

    @override
    def params(self, trajectory: int) -> NDArray[np.float64]:
        return self._params[:, trajectory]

    @override
    def describe(self) -> str:
        splits = ", ".join(f"{name} {len(span)}" for name, span in self._splits.items())
        files = {path for part in self._sources for path in part.paths}
        samples = "pairs" if self._spec.paired else "trajectories"
        lines = [
            f"{self._spec.name}: {len(files)} file{'s'[: len(files) > 1]}, "
            f"{self.num_trajectories} {samples}" + (f" ({splits})" if splits else "")
        ]
        texts = [part.describe() for part in self._sources]
        for text in dict.fromkeys(texts):
            count = texts.count(text)
            lines.append(text if count == len(texts) else f"in {count} parts: {text}")
        return "\n".join(lines)


def _by_role(parts: Sequence[FileSource]) -> dict[str, list[FileSource]]:
    """Files grouped by the split they were published for, training first."""
    roles = sorted(
        {part.role for part in parts},
        key=lambda role: (SPLIT_NAMES.index(role) if role in SPLIT_NAMES else 9, role),
    )
    if "" in roles and len(roles) > 1:
        odd = next(part for part in parts if not part.role)
        raise ValueError(
            f"open_source: expected every file to be of one of the splits {roles[:-1]} by its "
            f"name, got {odd.paths[0]}; move it out of the folder"
        )
    return {role: [part for part in parts if part.role == role] for role in roles}


def _check_agreement(first: FileSource, other: FileSource) -> None:
    """Two files of one data set must hold the same fields on the same grid.

    Raises:
        ValueError: Naming the odd file, what differs and both values.
    """

    def contents(part: FileSource) -> dict[str, Any]:
        spec, cloud = part.spec, part.spec.unstructured
        step = spec.dt or first.spec.dt or other.spec.dt
        return {
            "data set name": spec.name,
            "axes": spec.axes,
            "resolution": None if cloud else spec.resolution,
            "periodicity": spec.periodic,
            "domain": None if cloud else (spec.domain.low, spec.domain.high, spec.grid),
            "fields": spec.in_fields,
            "output fields": spec.out_fields,
            "static fields": part.static_fields,
            "scalars": sorted(part.scalars),
            # a file with one frame has no time step to disagree about
            "time step": step if first.spec.dt is None else _snap(step, first.spec.dt),
        }

    expected, got = contents(first), contents(other)
    for name, value in expected.items():
        if got[name] != value:
            raise ValueError(
                f"open_source: expected {name} {value} as in {first.paths[0].name}, got "
                f"{got[name]} in {other.paths[0]}; move the file out of the folder or generate "
                "it again"
            )


def _snap(step: float | None, reference: float) -> float | None:
    """The reference where it is the same but for the rounding of times in single precision."""
    same = step is not None and math.isclose(step, reference, rel_tol=1e-5)
    return reference if same else step
