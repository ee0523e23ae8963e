"""Velocities on the faces of a grid: their divergence, and the gradient that corrects them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml.linalg.poisson_faces import Faces
from sciml.linalg.poisson_input import face_shapes


def divergence(faces: Faces, velocity: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Net outflow per volume, times `mask`; see `PoissonOperator.divergence`."""
    weights = faces.flux_fractions
    total: Tensor | None = None
    for k, (axis, width) in enumerate(zip(faces.axes, faces.spacing, strict=True)):
        flux = velocity[k] if weights is None else weights[k] * velocity[k]
        size = mask.shape[axis]
        change = flux.narrow(axis, 1, size) - flux.narrow(axis, 0, size)
        total = change.div_(width) if total is None else total.add_(change, alpha=1 / width)
    return mask if total is None else total * mask


def gradient(faces: Faces, field: Tensor) -> tuple[Tensor, ...]:
    """κ_f times the difference quotient on open faces, of a field that is zero off fluid."""
    found = []
    for k, (mobility, width, (low, high)) in enumerate(
        zip(faces.mobility, faces.spacing, faces.pairs(field), strict=True)
    ):
        quotient = (mobility * (high - low)).div_(width)
        found.append(with_rim(quotient, k, len(faces.axes)))
    return tuple(found)


def with_rim(inner: Tensor, k: int, num_axes: int) -> Tensor:
    """Values on the faces inside of the array along axis k, and zero on both ends."""
    # torch counts the axes of a padding from the last one
    return torch.nn.functional.pad(inner, (0, 0) * (num_axes - 1 - k) + (1, 1))


def check_velocity(
    velocity: Sequence[Tensor],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """Refuse velocities that do not lie on the faces between cells of `shape`.

    Raises:
        ValueError: If their number or a shape differs.
        TypeError: If dtype or device differ.
    """
    expected = face_shapes(shape, len(shape))
    if [tuple(u.shape[max(0, u.ndim - len(shape)) :]) for u in velocity] != expected:
        raise ValueError(
            f"PoissonOperator.divergence: expected velocities of shapes {expected} behind "
            f"batch axes, got {[tuple(u.shape) for u in velocity]}; give one field per axis, "
            "with one face more than cells along it"
        )
    for u in velocity:
        if u.dtype != dtype or u.device != device:
            raise TypeError(
                f"PoissonOperator.divergence: expected velocities of {dtype} on {device}, got "
                f"{u.dtype} on {u.device}; convert them with .to()"
            )
