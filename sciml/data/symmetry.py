"""Symmetries of a box, and how they act on fields."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.spec import FieldSpec


@final
@dataclass(frozen=True)
class Symmetry:
    """Axes exchanged, reversed and shifted: x'ᵢ = sᵢ x₍ₚ₍ᵢ₎₎ about the centre of the box.

    Scalars go along with the points. Vectors transform as positions do, v'ᵢ = sᵢ v₍ₚ₍ᵢ₎₎,
    tensors with one such factor for each index. Pseudoscalars, pseudovectors and pseudotensors
    (vorticity, magnetic field) change sign besides when handedness does, that is where the
    determinant of the map is -1.

    Args:
        axes: Old axis p(i) of each new one.
        signs: 1, or -1 where an axis is reversed.
        shifts: Grid points by which periodic axes are rolled afterwards; none by default.
    """

    axes: tuple[int, ...]
    signs: tuple[int, ...]
    shifts: tuple[int, ...] = ()

    @classmethod
    def identity(cls, ndim: int) -> "Symmetry":
        """The symmetry that changes nothing."""
        return cls(tuple(range(ndim)), (1,) * ndim)

    def flipped(self, axis: int) -> "Symmetry":
        """This one, then the reversal of an axis."""
        signs = tuple(-s if i == axis else s for i, s in enumerate(self.signs))
        return Symmetry(self.axes, signs)

    def turned(self, first: int, second: int) -> "Symmetry":
        """This one, then a quarter turn that carries the first axis into the second one."""
        axes, signs = list(self.axes), list(self.signs)
        axes[first], axes[second] = self.axes[second], self.axes[first]
        signs[first], signs[second] = -self.signs[second], self.signs[first]
        return Symmetry(tuple(axes), tuple(signs))

    @property
    def determinant(self) -> int:
        """1 for rotations, -1 where handedness changes."""
        odd = sum(a > b for a, b in combinations(self.axes, 2)) + self.signs.count(-1)
        return -1 if odd % 2 else 1

    @property
    def trivial(self) -> bool:
        """Whether it changes nothing."""
        return not any(self.shifts) and (self.axes, self.signs) == (
            tuple(range(len(self.axes))),
            (1,) * len(self.axes),
        )

    def components(
        self, fields: Sequence[FieldSpec], pseudo: Sequence[str]
    ) -> tuple[list[int], list[float]]:
        """Old channel, and sign, of each channel of a frame.

        Args:
            fields: Fields of the frame; vectors and tensors have one component for each axis
                and pair of axes.
            pseudo: Names of the pseudoscalars, pseudovectors and pseudotensors.
        """
        ndim = len(self.axes)
        channels: list[int] = []
        signs: list[float] = []
        first = 0
        for field in fields:
            handed = self.determinant if field.name in pseudo else 1
            scalars = field.components if field.rank == 0 else 1
            own, factors = list(range(scalars)), [handed] * scalars
            for _ in range(field.rank):
                own = [ndim * c + axis for c in own for axis in self.axes]
                factors = [f * sign for f in factors for sign in self.signs]
            channels += [first + c for c in own]
            signs += map(float, factors)
            first += field.components
        return channels, signs

    def move_points(
        self, values: Float[Tensor, "..."], on_lattice: Sequence[bool]
    ) -> Float[Tensor, "..."]:
        """Carry grid values to the points that their own are mapped to.

        Args:
            values: Values with the d axes of the grid last.
            on_lattice: For each axis, whether it is periodic with a vertex grid: its mirror
                image then begins one point later, because the high end is not stored.
        """
        ndim = len(self.axes)
        lead = list(range(values.ndim - ndim))
        moved = values.permute(*lead, *(len(lead) + a for a in self.axes))
        flips = [i - ndim for i, sign in enumerate(self.signs) if sign < 0]
        moved = moved.flip(flips) if flips else moved
        rolls = [1 if i in flips and on_lattice[i] else 0 for i in range(-ndim, 0)]
        shifts = self.shifts or (0,) * ndim
        total = [roll + shift for roll, shift in zip(rolls, shifts, strict=True)]
        return torch.roll(moved, total, list(range(-ndim, 0))) if any(total) else moved
