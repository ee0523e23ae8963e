"""Connected parts of the fluid, and the constants on them that a pressure cannot see."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csgraph
from torch import Tensor

from sciml.linalg.poisson_faces import Faces


@final
@dataclass(frozen=True)
class Components:
    """Connected parts of the fluid, numbered from one on in the order of their first cells.

    Args:
        numbers: Number of the component of each fluid cell, zero elsewhere; int32. Those of a
            batch of geometries are numbered through.
        sizes: Cells of each component.
        singular: Of each component, whether no open face leads to air: its pressure is known up
            to a constant.
    """

    numbers: NDArray[np.int32]
    sizes: NDArray[np.int64]
    singular: NDArray[np.bool_]

    @classmethod
    def of(cls, faces: Faces) -> "Components":
        """Components over the open faces between fluid cells."""
        fluid = faces.fluid.cpu().numpy()
        if faces.fractions is None:
            numbers, count = _label_mask(fluid, len(faces.axes))
        else:
            between = [opened.cpu().numpy() for opened in faces.between_fluid()]
            numbers, count = _label_faces(fluid, between, faces.axes)
        if count == 1:
            sizes = np.array([fluid.sum()], dtype=np.int64)
        else:
            sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
        singular = np.ones(count, dtype=bool)
        if faces.has_air:
            singular[numbers[faces.beside_air().cpu().numpy()] - 1] = False
        return cls(numbers, sizes, singular)

    def labels(self) -> NDArray[np.int64]:
        """Numbers from zero on, -1 elsewhere."""
        return self.numbers.astype(np.int64) - 1

    def null_space(self, dtype: torch.dtype) -> Tensor:
        """Orthonormal null vectors of one geometry over all cells, as dense rows."""
        numbers = torch.from_numpy(self.numbers).flatten()
        singular = torch.from_numpy(np.flatnonzero(self.singular) + 1)
        constants = (numbers == singular[:, None]).to(dtype)
        constants /= torch.linalg.vector_norm(constants, dim=1, keepdim=True)
        identity = torch.eye(len(numbers), dtype=dtype)
        rows = torch.cat([constants, identity[numbers == 0]])
        return rows.reshape(-1, *self.numbers.shape)

    def largest_singular(self, num_axes: int) -> NDArray[np.int64]:
        """Of each geometry the index of its largest singular component, if it has one."""
        rows = self.numbers.reshape(-1, math.prod(self.numbers.shape[-num_axes:]))
        ends = rows.max(1) if len(rows) > 1 else np.array([len(self.sizes)])
        found = []
        for first, last in itertools.pairwise([0, *ends.tolist()]):
            sizes = (self.sizes * self.singular)[first:last]
            if sizes.any():
                found.append(first + int(sizes.argmax()))
        return np.array(found, dtype=np.int64)


def _label_mask(fluid: NDArray[np.bool_], num_axes: int) -> tuple[NDArray[np.int32], int]:
    """Numbers where all faces between fluid cells are open."""
    neighbours = ndimage.generate_binary_structure(fluid.ndim, 1)
    for axis in range(fluid.ndim - num_axes):  # geometries of a batch are not connected
        outer = np.moveaxis(neighbours, axis, 0)
        outer[0] = outer[2] = False
    numbers, count = ndimage.label(fluid, neighbours)
    return numbers, int(count)


def _label_faces(
    fluid: NDArray[np.bool_], between: Sequence[NDArray[np.bool_]], axes: Sequence[int]
) -> tuple[NDArray[np.int32], int]:
    """Numbers over a given set of faces between fluid cells."""
    count = int(fluid.sum())
    index = np.zeros(fluid.shape, dtype=np.int32)
    index[fluid] = np.arange(count, dtype=np.int32)
    lows, highs = [], []
    for axis, opened in zip(axes, between, strict=True):
        size = fluid.shape[axis]
        lows.append(index.take(range(size - 1), axis)[opened])
        highs.append(index.take(range(1, size), axis)[opened])
    low, high = np.concatenate(lows), np.concatenate(highs)
    links = scipy.sparse.coo_array((np.ones(len(low), np.int8), (low, high)), (count, count))
    found, labels = csgraph.connected_components(links, directed=False)
    index[fluid] = labels + 1
    return index, int(found)


@final
class RangeProjection:
    """Removes from a field what no pressure can produce: the range of A is what is left.

    That is what lies outside of the fluid, and the mean over each component without air. The
    largest component of each geometry is handled as a dense field, the others, which usually
    are pockets of few cells, by index.

    Args:
        mask: One on fluid cells (*batch, *space), zero elsewhere, in the precision of fields.
        components: The parts of the fluid.
        num_axes: Axes of space.
    """

    def __init__(self, mask: Tensor, components: Components, num_axes: int) -> None:
        self.mask, dtype = mask, mask.dtype
        self._space, self._ones = tuple(range(-num_axes, 0)), (1,) * num_axes
        chosen = np.zeros(len(components.sizes), dtype=bool)
        chosen[components.largest_singular(num_axes)] = True
        self._main: Tensor | None = None
        if chosen.any():
            self._main = mask if chosen.all() else self._select(components, chosen)
            count = self._main.sum(self._space, keepdim=True, dtype=torch.float64)
            self._main_count = count.clamp(min=1).to(dtype)
        others = components.singular & ~chosen
        self._rest: tuple[Tensor, Tensor, Tensor] | None = None
        if others.any():
            place = np.cumsum(others) - 1
            flat = components.numbers.ravel()
            cells = np.flatnonzero(np.append(False, others)[flat])
            self._rest = (
                torch.from_numpy(cells).to(mask.device),
                torch.from_numpy(place[flat[cells] - 1]).to(mask.device),
                torch.from_numpy(components.sizes[others]).to(mask.device, dtype),
            )

    def __call__(self, b: Tensor) -> Tensor:
        """The part of b in the range of A."""
        field = b * self.mask
        if self._main is not None:
            first = self._space[0]
            total = torch.linalg.vecdot(field.flatten(first), self._main.flatten(first))
            mean = total.reshape(*total.shape, *self._ones) / self._main_count
            field.addcmul_(self._main, mean, value=-1)
        if self._rest is not None:
            cells, numbers, sizes = self._rest
            flat = field.reshape(-1, self.mask.numel())
            sums = flat.new_zeros(len(flat), len(sizes)).index_add(1, numbers, flat[:, cells])
            field = flat.index_add(1, cells, -(sums / sizes)[:, numbers]).reshape(field.shape)
        return field

    def _select(self, components: Components, chosen: NDArray[np.bool_]) -> Tensor:
        """One on the cells of chosen components, zero elsewhere."""
        if chosen.sum() == 1:
            cells = components.numbers == np.flatnonzero(chosen)[0] + 1
        else:
            cells = np.append(False, chosen)[components.numbers]
        return torch.from_numpy(cells).to(self.mask)
