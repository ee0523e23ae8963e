"""Several data sets with the same fields as one."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.base import Source
from sciml.data.sources.composed import ComposedSource
from sciml.spec import DatasetSpec


@final
class MixedSource(ComposedSource):
    """The splits of several sources, numbered split by split and, inside, source by source.

    A scalar that is constant in each source but not in all of them becomes a PDE parameter.
    Trajectories outside of a source's splits are left out.

    Args:
        sources: The sources; point clouds may differ in size.
        splits: Splits of each source.

    Raises:
        ValueError: If sources differ in fields, grid, time step or names of scalars.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        splits: Sequence[Mapping[str, Sequence[int] | NDArray[np.int64]]],
    ) -> None:
        self._sources = tuple(sources)
        for other in self._sources[1:]:
            _check_agreement(self._sources[0].spec, other.spec)
            if other.static_fields != self._sources[0].static_fields:
                raise ValueError(
                    "open_dataset: expected data sets with the same static fields, got "
                    f"{self._sources[0].static_fields} and {other.static_fields}; mix others"
                )
        self._splits: dict[str, range] = {}
        members: list[NDArray[np.int64]] = []
        numbers: list[NDArray[np.int64]] = []
        for name in dict.fromkeys(name for own in splits for name in own):
            start = sum(map(len, numbers))
            for member, own in enumerate(splits):
                chosen = np.asarray(own.get(name, ()), np.int64)
                members.append(np.full(len(chosen), member))
                numbers.append(chosen)
            self._splits[name] = range(start, sum(map(len, numbers)))
        self.members = np.concatenate(members)
        """Number of the source of each trajectory."""
        self._numbers = np.concatenate(numbers)
        parts = zip(self.members.tolist(), self._numbers.tolist(), strict=True)
        self._lengths = np.array([self._sources[m].num_steps(i) for m, i in parts], np.int64)
        self._spec, self._params = self._describe_scalars()

    def _describe_scalars(self) -> tuple[DatasetSpec, NDArray[np.float64]]:
        """The common spec, and the parameters of each trajectory."""
        specs = [source.spec for source in self._sources]
        names = sorted({*specs[0].params, *specs[0].constants})
        values = np.empty((len(self.members), len(names)))
        for row, (member, number) in enumerate(zip(self.members, self._numbers, strict=True)):
            spec = specs[member]
            own = dict(zip(spec.params, self._sources[member].params(int(number)), strict=True))
            values[row] = [(own | dict(spec.constants))[name] for name in names]
        varying = [bool(np.any(column != column[0])) for column in values.T]
        constants = {
            name: float(values[0, i]) for i, name in enumerate(names) if not varying[i]
        }
        resolution = specs[0].resolution
        if specs[0].unstructured:
            resolution = (max(spec.resolution[0] for spec in specs),)
        spec = replace(
            specs[0],
            name="_and_".join(dict.fromkeys(spec.name for spec in specs)),
            resolution=resolution,
            params=tuple(name for name, varies in zip(names, varying, strict=True) if varies),
            constants=constants,
        )
        return spec, values[:, varying]

    @override
    def _find(self, trajectory: int) -> tuple[Source, int]:
        """The source, and the number of the trajectory in it."""
        return self._sources[self.members[trajectory]], int(self._numbers[trajectory])

    @property
    @override
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(self._numbers.tobytes() + self.members.tobytes())
        for source in self._sources:
            digest.update(source.fingerprint.encode())
        return digest.hexdigest()

    @override
    def params(self, trajectory: int) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self._params[trajectory]
        return values

    @override
    def describe(self) -> str:
        counts = np.bincount(self.members, minlength=len(self._sources)).tolist()
        texts = [
            f"{count} trajectories of {source.describe()}"
            for count, source in zip(counts, self._sources, strict=True)
        ]
        return "\n".join([f"{len(texts)} data sets mixed", *texts])


def _check_agreement(first: DatasetSpec, other: DatasetSpec) -> None:
    """Two data sets to be mixed must hold the same fields on the same grid.

    Raises:
        ValueError: Saying what differs, with both values.
    """

    def contents(spec: DatasetSpec) -> dict[str, Any]:
        cloud = spec.unstructured
        steps = [step for step in (first.dt, spec.dt) if step is not None]
        same_step = len(steps) == 2 and math.isclose(*steps)
        return {
            "input fields": spec.in_fields,
            "output fields": spec.out_fields,
            "point clouds": cloud,
            "resolution": None if cloud else spec.resolution,
            "domain": None if cloud else spec.domain,
            "grid": spec.grid,
            "scalars": sorted({*spec.params, *spec.constants}),
            "time step": first.dt if same_step else spec.dt,
        }

    expected, got = contents(first), contents(other)
    for name, value in expected.items():
        if got[name] != value:
            raise ValueError(
                f"open_dataset: expected data sets with the same {name} to mix, got {value} in "
                f"{first.name} and {got[name]} in {other.name}; select fields, resample or "
                "stride them to agree"
            )
