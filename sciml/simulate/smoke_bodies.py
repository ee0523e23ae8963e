"""Solid bodies in the way of smoke: unions of ellipsoids and boxes in rigid motion.

A rigid velocity is constant along its own axis, so on the staircase of faces that a body
becomes on a grid its inflow and outflow cancel exactly, and a closed box stays solvable
whatever moves in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@final
@dataclass(frozen=True)
class Part:
    """An ellipsoid or box.

    Args:
        centre: Its middle, in the coordinates of the body.
        radii: Half its size along each axis.
        shape: Which of the two.
        tilt: Angle from the first axis towards the last, in radians.
    """

    centre: tuple[float, ...]
    radii: tuple[float, ...]
    shape: Literal["ellipsoid", "box"] = "ellipsoid"
    tilt: float = 0.0

    def contains(self, points: Sequence[Float[Tensor, "..."]]) -> Tensor:
        """Which points lie in it; coordinates of each axis that broadcast to a grid."""
        moved = [x - c for x, c in zip(points, self.centre, strict=True)]
        turned = _rotated(moved, -self.tilt)
        scaled = [x.abs() / r for x, r in zip(turned, self.radii, strict=True)]
        inside = scaled[0] <= 1
        if self.shape == "box":
            for s in scaled[1:]:
                inside = inside & (s <= 1)
            return inside
        total = scaled[0].square()
        for s in scaled[1:]:
            total = total + s.square()
        return total <= 1


@final
@dataclass(frozen=True)
class Body:
    """A union of parts that swings to and fro and spins at a constant rate.

    Args:
        parts: What it consists of.
        centre: Where its origin is at time zero.
        swing: Largest displacement of the origin along each axis; none by default.
        period: Time of one swing.
        spin: Angular velocity from the first axis towards the last, in radians per time.
    """

    parts: tuple[Part, ...]
    centre: tuple[float, ...]
    swing: tuple[float, ...] = ()
    period: float = 1.0
    spin: float = 0.0

    @property
    def moving(self) -> bool:
        """Whether it moves at all."""
        return self.spin != 0 or any(self.swing)

    def contains(
        self, points: Sequence[Float[Tensor, "..."]], time: float
    ) -> Bool[Tensor, "*space"]:
        """Which points lie in the body; coordinates of each axis that broadcast to a grid."""
        origin = self._origin(time)
        moved = [x - c for x, c in zip(points, origin, strict=True)]
        own = _rotated(moved, -self.spin * time)
        inside = self.parts[0].contains(own)
        for part in self.parts[1:]:
            inside = inside | part.contains(own)
        return inside

    def velocity(
        self, points: Sequence[Float[Tensor, "..."]], axis: int, time: float
    ) -> Float[Tensor, "..."]:
        """One component of the body's velocity, v + ω × (x − c)."""
        origin, last = self._origin(time), len(points) - 1
        rate = 2 * math.pi / self.period
        swing = self.swing[axis] * rate * math.cos(rate * time) if self.swing else 0.0
        around = torch.zeros_like(points[axis])
        if axis == 0:
            around = -self.spin * (points[last] - origin[last])
        elif axis == last:
            around = self.spin * (points[0] - origin[0])
        return swing + around

    def _origin(self, time: float) -> tuple[float, ...]:
        if not self.swing:
            return self.centre
        phase = math.sin(2 * math.pi * time / self.period)
        return tuple(c + s * phase for c, s in zip(self.centre, self.swing, strict=True))


def _rotated(points: Sequence[Tensor], angle: float) -> list[Tensor]:
    """Points turned by an angle from the first axis towards the last."""
    if angle == 0:
        return list(points)
    cos, sin = math.cos(angle), math.sin(angle)
    first, *between, last = points
    return [cos * first - sin * last, *between, sin * first + cos * last]
