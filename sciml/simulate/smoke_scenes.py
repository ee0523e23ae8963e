"""Where smoke rises: a box with a source near its floor, perhaps a body in the way.

Lengths are in units of the box's width, the last axis points up.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sciml.domain import Box
from sciml.option_types import nearest
from sciml.simulate.geometry import AIR, FLUID, SOLID
from sciml.simulate.smoke_bodies import Body, Part

_FLOOR_GAP, _SOURCE_RADIUS, _SOURCE_HEIGHT = 0.03, 0.11, 0.05
_EARS = 0.45
"""Radians by which the ears of the bunny lean outwards."""


@final
@dataclass(frozen=True)
class SmokeScene:
    """Everything that a smoke simulation starts from.

    Args:
        name: Its name, for files and tables.
        resolution: Cells per axis, cubes of the width 1 / resolution[0].
        source: Where the density is held at one.
        body: What stands or moves in the way, if anything.
        open_top: Whether the uppermost layer of cells is air at pressure zero, into which smoke
            leaves; otherwise the box is closed on all sides.
        buoyancy: Upward acceleration at density one.
        courant: Cells crossed in a step at the velocity √(buoyancy · height) / 2, about half of
            the largest that appears. 2.5 by default: each step blurs the velocity once, so
            shorter ones blur more, and longer ones follow curved paths worse.
        source_time: Time after which the source stops; never by default.

    Raises:
        ValueError: If there are not two or three axes of at least 8 cells, the numbers of axes
            differ, or a number is not positive.
    """

    name: str
    resolution: tuple[int, ...]
    source: Part
    body: Body | None = None
    open_top: bool = True
    buoyancy: float = 1.0
    courant: float = 2.5
    source_time: float = math.inf

    def __post_init__(self) -> None:
        if len(self.resolution) not in (2, 3) or min(self.resolution) < 8:
            raise ValueError(
                f"SmokeScene: expected two or three axes of at least 8 cells, got resolution="
                f"{self.resolution}; the source and the body need some cells each"
            )
        ndim = len(self.resolution)
        centres = [self.source.centre] + ([] if self.body is None else [self.body.centre])
        if any(len(centre) != ndim for centre in centres):
            raise ValueError(
                f"SmokeScene: expected a source and a body in {ndim} axes, as resolution="
                f"{self.resolution} has, got centres {centres}; give one coordinate per axis"
            )
        if not (self.buoyancy > 0 and self.courant > 0 and self.source_time > 0):
            raise ValueError(
                f"SmokeScene: expected positive numbers, got buoyancy={self.buoyancy}, "
                f"courant={self.courant}, source_time={self.source_time}; correct them"
            )

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.resolution)

    @property
    def spacing(self) -> float:
        """Width of a cell, along every axis."""
        return 1.0 / self.resolution[0]

    @property
    def domain(self) -> Box:
        """The box; its last axis points up."""
        axes = ("x", "y", "z")[: self.ndim]
        high = tuple(n * self.spacing for n in self.resolution)
        return Box(axes, (0.0,) * self.ndim, high)

    @property
    def dt(self) -> float:
        """Time step."""
        fastest = math.sqrt(self.buoyancy * self.resolution[-1] * self.spacing / 4)
        return self.courant * self.spacing / fastest

    def flags(self, time: float, device: torch.device | None = None) -> Tensor:
        """Cell flags at a time, as `PoissonOperator` takes them."""
        flags = torch.full(self.resolution, FLUID, dtype=torch.uint8, device=device)
        if self.open_top:
            flags[..., -1] = AIR
        if self.body is not None:
            flags[self.body.contains(self.cells(device), time)] = SOLID
        return flags

    def cells(self, device: torch.device | None = None) -> tuple[Tensor, ...]:
        """Coordinates of the cell centres, one tensor per axis that broadcasts to the grid."""
        return self._lines(None, device)

    def faces(self, axis: int, device: torch.device | None = None) -> tuple[Tensor, ...]:
        """Coordinates of the faces across an axis, as `cells`."""
        return self._lines(axis, device)

    def _lines(self, across: int | None, device: torch.device | None) -> tuple[Tensor, ...]:
        lines = []
        for axis, n in enumerate(self.resolution):
            size, offset = (n + 1, 0.0) if axis == across else (n, 0.5)
            line = torch.arange(size, dtype=torch.float64, device=device) + offset
            shape = [1] * self.ndim
            shape[axis] = size
            lines.append((line * self.spacing).reshape(shape))
        return tuple(lines)


def make_scene(
    name: str, num_cells: int, *, ndim: int = 2, open_top: bool = True
) -> SmokeScene:
    """A scene by name: a square or cube of `num_cells` cells along each axis.

    Args:
        name: ``plume``: nothing in the way; ``sphere``: a disc or ball; ``bunny``: a body of
            ellipsoids with ears; ``spinning_box``: a box that turns; ``moving_sphere``: a ball
            that swings from side to side.
        num_cells: Cells along each axis.
        ndim: Two or three axes.
        open_top: Whether smoke can leave through the top.

    Raises:
        ValueError: If the name is unknown or a number is out of range.
    """
    if name not in _BODIES:
        names = list(_BODIES)
        raise ValueError(
            f"make_scene: expected one of the scenes {names}, got {name!r}; "
            f"{nearest(name, names)}choose one of them"
        )
    if ndim not in (2, 3):
        raise ValueError(f"make_scene: expected 2 or 3 axes, got {ndim}; choose one of them")
    middle = (0.5,) * (ndim - 1)
    source = Part(
        (*middle, _FLOOR_GAP + _SOURCE_HEIGHT),
        (*((_SOURCE_RADIUS,) * (ndim - 1)), _SOURCE_HEIGHT),
    )
    return SmokeScene(name, (num_cells,) * ndim, source, _BODIES[name](ndim), open_top)


def _sphere(ndim: int) -> Body:
    # a little off the middle, so that the smoke does not stay symmetric
    ball = Part((0.0,) * ndim, (0.1,) * ndim)
    return Body((ball,), (0.52, *((0.5,) * (ndim - 2)), 0.45))


def _bunny(ndim: int) -> Body:
    deep = (0.0,) * (ndim - 2)

    def part(x: float, up: float, *radii: float, tilt: float = 0.0, depth: float) -> Part:
        return Part((x, *deep, up), (radii[0], *((depth,) * len(deep)), radii[1]), tilt=tilt)

    parts = (
        part(0.0, -0.06, 0.12, 0.10, depth=0.10),  # body
        part(0.09, 0.06, 0.065, 0.06, depth=0.06),  # head
        part(0.055, 0.16, 0.022, 0.075, tilt=_EARS, depth=0.03),
        part(0.13, 0.155, 0.022, 0.07, tilt=-_EARS / 2, depth=0.03),
        part(-0.125, -0.08, 0.035, 0.035, depth=0.035),  # tail
    )
    return Body(parts, (0.47, *((0.5,) * (ndim - 2)), 0.5))


def _spinning_box(ndim: int) -> Body:
    bar = Part((0.0,) * ndim, (0.17, *((0.12,) * (ndim - 2)), 0.045), "box")
    return Body((bar,), (0.5,) * ndim, spin=1.5)


def _moving_sphere(ndim: int) -> Body:
    swing = (0.2, *((0.0,) * (ndim - 1)))
    ball = Part((0.0,) * ndim, (0.09,) * ndim)
    return Body((ball,), (0.5,) * ndim, swing=swing, period=4.0)


def _nothing(ndim: int) -> None:
    del ndim


_BODIES: dict[str, Callable[[int], Body | None]] = {
    "plume": _nothing,
    "sphere": _sphere,
    "bunny": _bunny,
    "spinning_box": _spinning_box,
    "moving_sphere": _moving_sphere,
}
