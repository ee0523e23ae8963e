"""Points of a box with named coordinates: what residuals and condition values are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.domain import Box


@final
@dataclass(frozen=True, eq=False)
class Points:
    """n points whose coordinates are attributes named after the axes: ``points.x``.

    Args:
        axes: Axis names in the order of the columns.
        coordinates: One row per point, one column per axis, float64.

    Raises:
        ValueError: If the number of columns is not the number of axes.
        TypeError: If the coordinates are not float64.
    """

    axes: tuple[str, ...]
    coordinates: Float[Tensor, "n d"]

    def __post_init__(self) -> None:
        if self.coordinates.shape[-1] != len(self.axes):
            raise ValueError(
                f"Points: expected one column per axis {self.axes}, got shape "
                f"{tuple(self.coordinates.shape)}; stack the coordinates along the last axis"
            )
        if self.coordinates.dtype != torch.float64:
            raise TypeError(
                f"Points: expected float64, got {self.coordinates.dtype}; equations are solved "
                "in double precision, convert with points.double()"
            )

    def __getattr__(self, name: str) -> Tensor:
        # looked up in __dict__: copying creates an object before it has its fields
        axes: tuple[str, ...] = self.__dict__.get("axes", ())
        if name not in axes:
            raise AttributeError(f"Points: expected one of the axes {axes}, got {name!r}")
        return self.coordinates[:, axes.index(name)]

    def __getitem__(self, name: str) -> Tensor:
        """The coordinate of one axis by its name."""
        return self.__getattr__(name)

    def __len__(self) -> int:
        return int(self.coordinates.shape[0])


def interior_points(
    domain: Box, num_points: int, generator: torch.Generator | None = None
) -> Float[Tensor, "n d"]:
    """Points drawn uniformly from the inside of a box, float64."""
    unit = torch.rand(num_points, domain.ndim, dtype=torch.float64, generator=generator)
    low = torch.tensor(domain.low, dtype=torch.float64)
    return low + unit * torch.tensor(domain.extent, dtype=torch.float64)


def face_points(
    domain: Box, axis: str, side: str, lines: Sequence[Float[Tensor, " _"]]
) -> Float[Tensor, "n d"]:
    """Tensor grid on one face of a box, in C order of the other axes.

    Args:
        domain: The box.
        axis: Axis that the face is normal to.
        side: "low" or "high" end of that axis.
        lines: Coordinates along each axis of the box; the one of `axis` is not used.
    """
    k = domain.axes.index(axis)
    end = domain.low[k] if side == "low" else domain.high[k]
    own = [*lines[:k], torch.tensor([end], dtype=torch.float64), *lines[k + 1 :]]
    return torch.stack(torch.meshgrid(*own, indexing="ij"), dim=-1).reshape(-1, domain.ndim)
