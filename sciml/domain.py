"""Axis-aligned boxes: the domain that a data set, a problem or an operator lives on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

GridKind = Literal["vertex", "cell"]


@final
@dataclass(frozen=True)
class Box:
    """A box with named axes, `low < high` on each, some of them periodic.

    Args:
        axes: Axis names in array order, e.g. ``("x", "y")``.
        low: Lower end of each axis, in physical units.
        high: Upper end of each axis; on a periodic axis the point identified with `low`.
        periodic: Whether each axis is periodic; none by default.

    Raises:
        ValueError: If the lengths differ, a name repeats, or an extent is empty.
    """

    axes: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    periodic: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if not self.periodic:
            object.__setattr__(self, "periodic", (False,) * len(self.axes))
        sizes = {len(self.axes), len(self.low), len(self.high), len(self.periodic)}
        if len(sizes) != 1:
            raise ValueError(
                f"Box: expected one low, high and periodic per axis {self.axes}, got "
                f"low={self.low}, high={self.high}, periodic={self.periodic}; "
                "give every axis one of each"
            )
        if len(set(self.axes)) != len(self.axes):
            raise ValueError(f"Box: expected distinct axis names, got {self.axes}; rename one")
        for axis, low, high in zip(self.axes, self.low, self.high, strict=True):
            if not low < high:
                raise ValueError(
                    f"Box: expected low < high on axis {axis!r}, got [{low}, {high}]"
                )

    @property
    def ndim(self) -> int:
        """Number of axes d."""
        return len(self.axes)

    @property
    def extent(self) -> tuple[float, ...]:
        """Length of each axis."""
        return tuple(high - low for low, high in zip(self.low, self.high, strict=True))

    def grid_kinds(self, grid: Sequence[GridKind] | None) -> Sequence[GridKind]:
        """The grid kind of each axis: vertex-centred unless stated."""
        return grid if grid is not None else ["vertex"] * self.ndim

    def points_along(
        self,
        axis: int,
        num_points: int,
        grid: GridKind = "vertex",
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> Float[Tensor, " n"]:
        """Grid coordinates along one axis.

        Cell grids hold the centres. Vertex grids hold both ends on a bounded axis, and on a
        periodic axis the lower end only (the upper one is the same point).
        """
        low, length = self.low[axis], self.extent[axis]
        index = torch.arange(num_points, dtype=torch.float64, device=device)
        if grid == "cell":
            unit = (index + 0.5) / num_points
        elif self.periodic[axis]:
            unit = index / num_points
        else:
            unit = index / max(num_points - 1, 1)
        return (low + length * unit).to(dtype)

    def spacing(
        self, resolution: Sequence[int], grid: Sequence[GridKind] | None = None
    ) -> tuple[float, ...]:
        """Distance between neighbouring grid points on each axis."""
        kinds = self.grid_kinds(grid)
        return tuple(
            length / (n if kind == "cell" or periodic else max(n - 1, 1))
            for length, n, kind, periodic in zip(
                self.extent, resolution, kinds, self.periodic, strict=True
            )
        )

    def grid(
        self,
        resolution: Sequence[int],
        grid: Sequence[GridKind] | None = None,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> Float[Tensor, "d *space"]:
        """Coordinates of all grid points, one channel per axis."""
        kinds = self.grid_kinds(grid)
        lines = [
            self.points_along(i, n, kind, dtype=dtype, device=device)
            for i, (n, kind) in enumerate(zip(resolution, kinds, strict=True))
        ]
        return torch.stack(torch.meshgrid(*lines, indexing="ij"))
