"""Autoregression: feed a model's predictions back into its window of history frames."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class OneStepModel(Protocol):
    """What can be rolled out: history frames flattened into channels to the next frame."""

    def __call__(self, u: Tensor, *, params: Tensor | None = None) -> Tensor:
        """Predict the frame that follows."""
        ...


def slide(
    u: Float[Tensor, "b c_in *space"], frame: Float[Tensor, "b c *space"]
) -> Float[Tensor, "b c_in *space"]:
    """Drop the oldest frame of a history window and append the newest.

    Raises:
        ValueError: If the window does not consist of whole frames.
    """
    num_channels = frame.shape[1]
    if u.shape[1] % num_channels:
        raise ValueError(
            f"slide: expected a window of whole frames of {num_channels} channels, got "
            f"{u.shape[1]} channels; predict the fields that are read"
        )
    return (
        torch.cat((u[:, num_channels:], frame), dim=1) if u.shape[1] > num_channels else frame
    )


def rollout(
    model: OneStepModel,
    u: Float[Tensor, "b c_in *space"],
    num_steps: int,
    *,
    params: Float[Tensor, "b p"] | None = None,
) -> Float[Tensor, "b t c *space"]:
    """Predict `num_steps` frames without the initial ones.

    Args:
        model: One-step model in physical units.
        u: History frames flattened into channels, oldest first.
        num_steps: Number of frames t to predict.
        params: PDE parameters, for a model that uses them.

    Raises:
        ValueError: If `num_steps` is not positive.
    """
    if num_steps < 1:
        raise ValueError(
            f"rollout: expected at least one step, got {num_steps}; the initial frames are not "
            "part of the result"
        )
    frames = []
    for _ in range(num_steps):
        frames.append(model(u, params=params))
        u = slide(u, frames[-1])
    return torch.stack(frames, dim=1)
