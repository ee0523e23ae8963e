"""Errors of trajectories, per sample; frames lead the channels, ``(b, t, c, *space)``."""

from jaxtyping import Float, Int
from torch import Tensor

from sciml.metrics.spatial import check_pair, relative_l2


def rollout_curve(
    pred: Float[Tensor, "b t *axes"], target: Float[Tensor, "..."]
) -> Float[Tensor, "b t"]:
    r"""Relative L2 error of every frame on its own, :math:`\|p_t - y_t\|_2 / \|y_t\|_2`.

    Args:
        pred: Predicted frames.
        target: True frames, of the same shape. A frame that is zero gives ``inf`` (see
            `sciml.metrics.spatial.relative_l2`).

    Returns:
        One value per sample and frame.

    Raises:
        ValueError: If the shapes differ or there is no axis behind the frames.
    """
    check_pair("rollout_curve", pred, target)
    if pred.ndim < 3:
        raise ValueError(
            f"rollout_curve: expected (b, t, c, *space), got {tuple(pred.shape)}; "
            "keep the channel and space axes"
        )
    errors = relative_l2(pred.flatten(0, 1), target.flatten(0, 1))
    return errors.reshape(pred.shape[0], pred.shape[1])


def rollout_relative_l2(
    pred: Float[Tensor, "b t *axes"], target: Float[Tensor, "..."]
) -> Float[Tensor, " b"]:
    r"""Relative L2 error of all frames together, :math:`\|p - y\|_2 / \|y\|_2`.

    Not the mean of `rollout_curve`: frames weigh by their norm.

    Args:
        pred: Predicted frames.
        target: True frames, of the same shape.

    Returns:
        One value per sample.

    Raises:
        ValueError: If the shapes differ.

    Source: Li et al., "Fourier Neural Operator", 2021, arXiv:2010.08895, Section 5.3 (the error
    of the full field over the predicted interval).
    """
    check_pair("rollout_relative_l2", pred, target)
    return relative_l2(pred, target)


def divergence_step(
    pred: Float[Tensor, "b t *axes"], target: Float[Tensor, "..."], threshold: float = 1.0
) -> Int[Tensor, " b"]:
    """Number of frames before the relative L2 error first exceeds a threshold or is not finite.

    Args:
        pred: Predicted frames.
        target: True frames, of the same shape.
        threshold: Relative error from which a forecast counts as lost. At one, the default,
            predicting zero would have been as good.

    Returns:
        One count per sample, from 0 (lost at the first frame) to t (never lost).

    Raises:
        ValueError: If the shapes differ or the threshold is not positive.
    """
    if not threshold > 0:
        raise ValueError(
            f"divergence_step: expected a positive threshold, got {threshold}; 1.0 is usual"
        )
    kept = rollout_curve(pred, target) <= threshold  # False for NaN too
    return kept.cumprod(dim=1).sum(dim=1)
