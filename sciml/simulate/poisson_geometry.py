"""Poisson systems on a pool of random geometries, to train preconditioners on."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.geometry import FLUID, SOLID, make_flags
from sciml.simulate.poisson_samples import poisson_spec
from sciml.simulate.sampler import Sampler, sample_stream
from sciml.spec import Batch, DatasetSpec, FieldSpec

_NUM_WAVES = 3
_LONGEST_WAVES = 4  # half periods along an axis, at most one less than this


@final
@dataclass(frozen=True)
class GeometrySampler(Sampler):
    r"""Right-hand sides on geometries from a finite pool, with the cell flags as second field.

    A right-hand side is :math:`\tfrac12` white noise plus twice a sum of three long cosines of
    unit variance, projected onto the range of the matrix and scaled to unit norm. The pool is
    finite because a geometry's multigrid hierarchy costs more than a step of training on it.

    Args:
        resolution: Cells per axis, of unit size.
        kinds: Kinds of `make_flags`, which take turns.
        num_geometries: Size of the pool, at least one of each kind.
        largest_speckle: Largest share of the fluid cells that turn solid one by one; most
            geometries have much less. Speckles cut off pockets and narrow passages, which are
            rare otherwise and on which a preconditioner must not fail.
        geometry_seed: Seed of the pool, whatever the seed of the samples.

    Raises:
        ValueError: If the pool is smaller than the number of kinds, there is no kind, or the
            share is not in [0, 1).

    Source: specification of the learned multigrid of this package.
    """

    resolution: Sequence[int]
    kinds: Sequence[str] = ("random", "dense", "freesurf", "thin")
    num_geometries: int = 40
    largest_speckle: float = 0.3
    geometry_seed: int = 60013

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolution", tuple(self.resolution))
        object.__setattr__(self, "kinds", tuple(self.kinds))
        if not 1 <= len(self.kinds) <= self.num_geometries:
            raise ValueError(
                f"GeometrySampler: expected at least one geometry of each kind, got kinds "
                f"{list(self.kinds)} and num_geometries={self.num_geometries}; raise "
                "num_geometries"
            )
        if not 0 <= self.largest_speckle < 1:
            raise ValueError(
                f"GeometrySampler: expected largest_speckle in [0, 1), got "
                f"{self.largest_speckle}; 0 switches speckles off"
            )

    @property
    @override
    def spec(self) -> DatasetSpec:
        plain = poisson_spec("poisson_geometry", self.resolution, masks=False)
        return dataclasses.replace(plain, in_fields=(*plain.in_fields, FieldSpec("flags")))

    @override
    def draw(self, seed: int, indices: Sequence[int]) -> Batch:
        fields, static = [], []
        for index in indices:
            stream = sample_stream(seed, index)
            flags, operator = self._geometry(int(stream.integers(self.num_geometries)))
            b = operator.project(torch.from_numpy(_field(self.resolution, stream)))
            static.append(flags.float())
            fields.append(torch.stack([(b / b.norm()).float(), static[-1]]))
        return Batch(torch.stack(fields), static=torch.stack(static)[:, None])

    @cached_property
    def _found(self) -> dict[int, tuple[Tensor, PoissonOperator]]:
        """The geometries that were asked for so far."""
        return {}

    def _geometry(self, number: int) -> tuple[Tensor, PoissonOperator]:
        if number not in self._found:
            kind = self.kinds[number % len(self.kinds)]
            stream = sample_stream(self.geometry_seed, number)
            cells = make_flags(kind, self.resolution, seed=int(stream.integers(2**31)))
            share = self.largest_speckle * stream.uniform() ** 4
            cells[(cells == FLUID) & (stream.uniform(size=cells.shape) < share)] = SOLID
            flags = torch.from_numpy(cells)
            self._found[number] = flags, PoissonOperator(flags)
        return self._found[number]


def _field(shape: Sequence[int], stream: np.random.Generator) -> NDArray[np.float64]:
    """Half white noise, and twice a smooth field of unit variance."""
    smooth = np.zeros(tuple(shape))
    for _ in range(_NUM_WAVES):
        numbers = stream.integers(0, _LONGEST_WAVES, size=len(shape))
        phase = stream.uniform(0, 2 * math.pi)
        place = sum(
            math.pi * number * (index + 0.5) / size
            for number, index, size in zip(
                numbers, np.indices(tuple(shape), sparse=True), shape, strict=True
            )
        )
        smooth = smooth + np.cos(place + phase)
    smooth *= math.sqrt(2 / _NUM_WAVES)
    return np.asarray(0.5 * stream.standard_normal(tuple(shape)) + 2 * smooth)
