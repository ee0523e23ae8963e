"""Sources in memory with the fields, times and domains that the array formats can hold."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.base import FileSource
from sciml.data.sources.joined import JoinedSource
from sciml.domain import Box
from sciml.spec import DatasetSpec, FieldSpec


class ScalarFields(FileSource):
    """Random trajectories of one field, or pairs when `outputs` are given."""

    def __init__(
        self,
        inputs,
        outputs=None,
        *,
        times=(0.0,),
        high=1.0,
        periodic=True,
        fields=("vorticity",),
        **scalars,
    ) -> None:
        self._inputs, self._outputs = inputs, outputs
        space = inputs.shape[2:]
        ndim = len(space)
        self._times = np.asarray(times, np.float64)
        step = float(np.diff(self._times).mean()) if len(self._times) > 1 else None
        box = Box(("x", "y", "z")[:ndim], (0.0,) * ndim, (high,) * ndim, (periodic,) * ndim)
        known = tuple(FieldSpec(name) for name in fields)
        given, result = (known, known) if outputs is None else (known[:1], known[1:])
        self._spec = DatasetSpec("fields", box, space, given, result, dt=step)
        self._scalars = {k: np.broadcast_to(v, len(inputs)) for k, v in scalars.items()}

    @property
    def spec(self) -> DatasetSpec:
        return self._spec

    @property
    def paths(self) -> tuple[Path, ...]:
        return (Path("memory"),)

    @property
    def scalars(self):
        return self._scalars

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.full(len(self._inputs), len(self._times), np.int64)

    @property
    def memory_mapped(self) -> bool:
        return True

    def read(self, trajectory, start, stop, stride, out) -> None:
        out[...] = self._inputs[trajectory, start:stop:stride, None]

    def read_targets(self, trajectory, out) -> None:
        out[0] = self._outputs[trajectory]

    def times(self, trajectory: int) -> NDArray[np.float64]:
        return self._times

    def describe(self) -> str:
        return "fields in memory"


def join(*parts):
    """One data set of such parts."""
    return JoinedSource({"": parts})
