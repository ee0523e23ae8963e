"""Pairs of fields, on a grid or on points, kept in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.base import FileSource
from sciml.domain import Box
from sciml.spec import DatasetSpec, FieldSpec


class Pairs(FileSource):
    """Random coefficients and solutions; `points` makes clouds of that many points."""

    def __init__(
        self,
        count: int = 4,
        resolution: tuple[int, ...] = (6, 5),
        points: tuple[int, ...] | None = None,
        role: str = "",
        **scalars: Any,
    ) -> None:
        generator = np.random.default_rng([count, *resolution])
        self.points = points
        self._role, self._count = role, count
        self._scalars = {k: np.full(count, v, np.float64) for k, v in scalars.items()}
        shapes = [resolution] * count if points is None else [(n,) for n in points]
        self.inputs = [generator.standard_normal((1, *s)).astype("f4") for s in shapes]
        self.outputs = [generator.standard_normal((2, *s)).astype("f4") for s in shapes]
        self.coords = [generator.random((s[0], 2)).astype("f4") for s in shapes]
        self._spec = DatasetSpec(
            "darcy",
            Box(("x", "y"), (0.0, 0.0), (1.0, 1.0)),
            resolution if points is None else (max(points),),
            (FieldSpec("coefficient"),),
            (FieldSpec("flux", 1, 2),),
            unstructured=points is not None,
        )

    @property
    def spec(self) -> DatasetSpec:
        return self._spec

    @property
    def paths(self) -> tuple[Path, ...]:
        return (Path(f"{self._role or 'pairs'}.npz"),)

    @property
    def scalars(self) -> Mapping[str, NDArray[np.float64]]:
        return self._scalars

    @property
    def role(self) -> str:
        return self._role

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.ones(self._count, np.int64)

    @property
    def memory_mapped(self) -> bool:
        return True

    def num_points(self, trajectory: int) -> int:
        return self.inputs[trajectory].shape[-1]

    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        out[0] = self.inputs[trajectory]

    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        out[:] = self.outputs[trajectory]

    def read_coords(self, trajectory: int, out: NDArray[np.float32]) -> None:
        out[:] = self.coords[trajectory]

    def times(self, trajectory: int) -> NDArray[np.float64]:
        return np.zeros(1)

    def describe(self) -> str:
        return "in memory"
