"""Trajectories of scalar, vector and tensor fields, kept in memory."""

from pathlib import Path

import numpy as np

from sciml.data.sources.base import FileSource
from sciml.data.sources.joined import JoinedSource
from sciml.domain import Box
from sciml.spec import DatasetSpec, FieldSpec

STEPS = 7


class Frames(FileSource):
    """Scalar, vector and tensor fields in time, and two fields without."""

    def __init__(self, resolution=(6, 5), count=4, lengths=None, times=None, boundary=None):
        ndim = len(resolution)
        generator = np.random.default_rng([count, *resolution, 2654435761])
        fields = (
            FieldSpec("density"),
            FieldSpec("velocity", 1, ndim, "m/s"),
            FieldSpec("stress", 2, ndim**2),
        )
        self._static = (FieldSpec("permeability"), FieldSpec("slope", 1, ndim))
        self._lengths = np.full(count, STEPS, np.int64) if lengths is None else lengths
        channels = 1 + ndim + ndim**2
        shape = (count, max(self._lengths), channels, *resolution)
        self.frames = generator.standard_normal(shape).astype("f4")
        self.static = generator.standard_normal((count, 1 + ndim, *resolution)).astype("f4")
        self._times = times
        self._boundary = boundary
        axes = ("x", "y", "z")[:ndim]
        self._spec = DatasetSpec(
            name="flow",
            domain=Box(axes, (0.0,) * ndim, (2.0,) * ndim, (boundary is None,) * ndim),
            resolution=resolution,
            in_fields=fields,
            out_fields=fields,
            dt=0.5,
        )

    spec = property(lambda self: self._spec)
    static_fields = property(lambda self: self._static)
    paths = property(lambda self: (Path("memory"),))
    lengths = property(lambda self: self._lengths)
    memory_mapped = True

    @property
    def scalars(self):
        return {
            "mach": np.full(len(self._lengths), 0.1),
            "reynolds": 10.0 * np.arange(1, len(self._lengths) + 1),
        }

    def read(self, trajectory, start, stop, stride, out):
        out[:] = self.frames[trajectory, start:stop:stride]

    def read_static(self, trajectory, out):
        out[:] = self.static[trajectory]

    def times(self, trajectory):
        plain = 0.5 * np.arange(self._lengths[trajectory])
        return plain if self._times is None else self._times[trajectory]

    def boundary(self, trajectory):
        inherited = super().boundary(trajectory)
        return inherited if self._boundary is None else self._boundary[trajectory]

    def describe(self):
        return "in memory"


def joined(part):
    return JoinedSource({"": [part]})
