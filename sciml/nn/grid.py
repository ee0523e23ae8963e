"""Coordinates of a grid as input channels."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def coordinate_channels(
    space: Sequence[int], periodic: Sequence[bool], like: Float[Tensor, "..."]
) -> Float[Tensor, "c *space"]:
    """Sine and cosine of a periodic axis' coordinate, the coordinate itself of a bounded one.

    Args:
        space: Points per axis.
        periodic: Whether each axis is periodic; then its coordinate is an angle 2πj/n, which
            has no jump where the axis closes. A bounded axis runs from 0 to 1.
        like: Tensor whose dtype and device the result takes.

    Raises:
        ValueError: If there is not one flag per axis.
    """
    if len(space) != len(periodic):
        raise ValueError(
            f"coordinate_channels: expected one flag per axis of {tuple(space)}, got "
            f"{tuple(periodic)}; say of every axis whether it is periodic"
        )
    channels = []
    for axis, (n, closed) in enumerate(zip(space, periodic, strict=True)):
        index = torch.arange(n, device=like.device, dtype=torch.float32)
        view = [n if i == axis else 1 for i in range(len(space))]
        if closed:
            phase = 2 * math.pi / n * index
            lines = [phase.sin(), phase.cos()]
        else:
            lines = [index / max(n - 1, 1)]
        channels += [line.to(like.dtype).view(view).expand(*space) for line in lines]
    return torch.stack(channels)
