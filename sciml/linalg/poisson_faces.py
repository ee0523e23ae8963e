"""Which faces of a grid of cells are open, and how well they conduct."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import final

import torch
from torch import Tensor

SOLID, FLUID, AIR = 1, 2, 3


@final
class Faces:
    """Faces between the cells of one or several geometries of the same shape.

    A face is *open* if it has fluid on at least one side, solid on none, and its fraction is
    not zero; faces on the rim of the array have solid beyond it. On an open face lie the
    mobility κ_f (harmonic mean of the fluid cells' κ, the fluid cell's own beside air) and the
    conductance a κ_f / h², a the open fraction.

    Args:
        flags: Cells (*batch, *space), uint8.
        spacing: Cell width per axis of space.
        fractions: Open fraction a of all faces per axis; None for one.
        coefficients: κ of each cell; None for one.
        dtype: Precision of weights.
    """

    def __init__(
        self,
        flags: Tensor,
        spacing: Sequence[float],
        fractions: tuple[Tensor, ...] | None,
        coefficients: Tensor | None,
        dtype: torch.dtype,
    ) -> None:
        self.flags, self.spacing, self.dtype = flags, tuple(spacing), dtype
        self.fractions, self.coefficients = fractions, coefficients
        self.fluid = flags == FLUID
        self.axes = tuple(range(-len(self.spacing), 0))

    def pairs(self, field: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each axis, the cells below and above the faces inside of the array."""
        for axis in self.axes:
            size = field.shape[axis] - 1
            yield field.narrow(axis, 0, size), field.narrow(axis, 1, size)

    def open_faces(self) -> list[Tensor]:
        """Of each axis, which inner faces are open."""
        return [
            found if inner is None else found & (inner > 0)
            for found, inner in zip(
                self._between_open_cells(), self._inner_fractions(), strict=True
            )
        ]

    def between_fluid(self) -> list[Tensor]:
        """Of each axis, which inner faces are open and have fluid on both sides."""
        pairs = self.pairs(self.fluid)
        return [
            (low & high) if inner is None else (low & high) & (inner > 0)
            for (low, high), inner in zip(pairs, self._inner_fractions(), strict=True)
        ]

    def beside_air(self) -> Tensor:
        """Fluid cells with an open face to air."""
        found = torch.zeros_like(self.fluid)
        pairs = self.pairs(self.flags == AIR)
        for axis, inner, (low, high) in zip(
            self.axes, self._inner_fractions(), pairs, strict=True
        ):
            size = low.shape[axis]
            above, below = (
                (high, low) if inner is None else (high & (inner > 0), low & (inner > 0))
            )
            found.narrow(axis, 0, size).logical_or_(above)
            found.narrow(axis, 1, size).logical_or_(below)
        return found & self.fluid

    @cached_property
    def mobility(self) -> list[Tensor]:
        """Of each axis, κ_f on open inner faces, zero on others."""
        opened = self.open_faces()
        if self.coefficients is None:
            return [faces.to(self.dtype) for faces in opened]
        # 1/κ of a cell that is not fluid: the one on the other side counts alone
        resistance = torch.where(self.fluid, self.coefficients.reciprocal(), 0.0)
        cells = self.fluid.to(torch.uint8)
        found = []
        for faces, (low, high), (left, right) in zip(
            opened, self.pairs(resistance), self.pairs(cells), strict=True
        ):
            num_fluid = left + right
            total = (low + high).add_(num_fluid == 0)  # never zero
            found.append((num_fluid * faces).to(self.dtype) / total)
        return found

    @cached_property
    def conductances(self) -> list[Tensor]:
        """Of each axis, a κ_f / h² on open inner faces, zero on others."""
        found = []
        for width, value, inner in zip(
            self.spacing, self.mobility, self._inner_fractions(), strict=True
        ):
            area = value if inner is None else value * inner
            found.append(area if width == 1 else area / width**2)
        return found

    @cached_property
    def couplings(self) -> list[Tensor]:
        """`conductances` between fluid cells, zero elsewhere."""
        if not self.has_air:
            return self.conductances
        pairs = zip(self.conductances, self.between_fluid(), strict=True)
        return [weight * both for weight, both in pairs]

    @cached_property
    def has_air(self) -> bool:
        """Whether there is an air cell."""
        return bool((self.flags == AIR).any())

    def diagonal(self) -> Tensor:
        """Sum of the conductances around each fluid cell."""
        total = torch.zeros(self.flags.shape, dtype=self.dtype, device=self.flags.device)
        for axis, weight in zip(self.axes, self.conductances, strict=True):
            size = weight.shape[axis]
            total.narrow(axis, 0, size).add_(weight)
            total.narrow(axis, 1, size).add_(weight)
        return total * self.fluid if self.has_air else total

    def plain_diagonal(self) -> Tensor:
        """`diagonal` where no face has a weight but 1 / h², by counting in bytes."""
        not_solid = (self.flags > SOLID).to(torch.uint8)
        isotropic = len(set(self.spacing)) == 1
        counts = [torch.zeros_like(not_solid) for _ in self.axes[: 1 if isotropic else None]]
        for k, axis in enumerate(self.axes):
            count, size = counts[0 if isotropic else k], not_solid.shape[axis] - 1
            count.narrow(axis, 1, size).add_(not_solid.narrow(axis, 0, size))
            count.narrow(axis, 0, size).add_(not_solid.narrow(axis, 1, size))
        first, *others = [count.mul_(self.fluid) for count in counts]
        total = first.to(self.dtype).div_(self.spacing[0] ** 2)
        for count, width in zip(others, self.spacing[1:], strict=False):
            total.add_(count, alpha=width**-2)
        return total

    @cached_property
    def flux_fractions(self) -> list[Tensor] | None:
        """Of each axis, the weight of every face in a divergence; None for one throughout.

        The open fraction between cells that are not solid; one on walls and the rim, where the
        velocity is that of the wall.
        """
        if self.fractions is None:
            return None
        found = []
        solid = self.flags <= SOLID
        for axis, fraction, (low, high) in zip(
            self.axes, self.fractions, self.pairs(solid), strict=True
        ):
            size = low.shape[axis]
            weight = torch.ones_like(fraction)
            inner = torch.where(low | high, 1.0, fraction.narrow(axis, 1, size))
            found.append(weight.slice_scatter(inner, axis % fraction.ndim, 1, 1 + size))
        return found

    def digest(self) -> str:
        """A hash of geometry and weights."""
        found = hashlib.blake2b(repr((tuple(self.flags.shape), self.spacing)).encode())
        coefficients = () if self.coefficients is None else (self.coefficients,)
        for name, tensors in (
            ("flags", (self.flags,)),
            ("coefficients", coefficients),
            ("fractions", self.fractions or ()),
        ):
            found.update(name.encode())
            for tensor in tensors:
                found.update(tensor.detach().cpu().contiguous().numpy().data)
        return found.hexdigest()

    def _between_open_cells(self) -> Iterator[Tensor]:
        solid = self.flags <= SOLID
        pairs = zip(self.pairs(solid), self.pairs(self.fluid), strict=True)
        for (low, high), (left, right) in pairs:
            yield (left | right) & ~(low | high)

    def _inner_fractions(self) -> list[Tensor | None]:
        if self.fractions is None:
            return [None] * len(self.axes)
        return [
            fraction.narrow(axis, 1, fraction.shape[axis] - 2)
            for axis, fraction in zip(self.axes, self.fractions, strict=True)
        ]
