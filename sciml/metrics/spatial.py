"""Pointwise errors per sample; the same functions serve as losses (their mean) and as metrics.

Every function takes a prediction and a target of one shape ``(b, ...)`` and returns one value
per sample. Errors enter through a 2-norm, whose gradient at a perfect prediction is zero rather
than NaN, so that all of them can be minimised.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def check_pair(function: str, pred: Tensor, target: Tensor) -> None:
    """Refuse a pair that would broadcast against each other or has no axis besides the batch.

    Raises:
        ValueError: If the shapes differ or there is no axis to reduce over.
    """
    if pred.shape != target.shape:
        raise ValueError(
            f"{function}: expected pred and target of the same shape, got "
            f"{tuple(pred.shape)} and {tuple(target.shape)}; "
            "select the same frames and channels of both"
        )
    if pred.ndim < 2:
        raise ValueError(
            f"{function}: expected a batch axis and at least one more, got "
            f"{tuple(pred.shape)}; add a batch axis with unsqueeze(0)"
        )


def relative_l2(
    pred: Float[Tensor, "b *axes"], target: Float[Tensor, "..."]
) -> Float[Tensor, " b"]:
    r"""Relative error :math:`\|p - y\|_2 / \|y\|_2` over all axes but the batch.

    There is no regularisation: a target that is zero everywhere gives ``inf``, and NaN when the
    prediction is zero as well. Use `rmse` for such data.

    Args:
        pred: Prediction p.
        target: Truth y, of the same shape.

    Returns:
        One value per sample.

    Raises:
        ValueError: If the shapes differ.

    Source: Li et al., "Fourier Neural Operator", 2021, arXiv:2010.08895, Section 5.
    """
    check_pair("relative_l2", pred, target)
    return _norm((pred - target).flatten(1)) / _norm(target.flatten(1))


def rmse(pred: Float[Tensor, "b *axes"], target: Float[Tensor, "..."]) -> Float[Tensor, " b"]:
    r"""Root mean square error :math:`\langle (p - y)^2 \rangle^{1/2}` over all but the batch.

    Args:
        pred: Prediction p.
        target: Truth y, of the same shape.

    Returns:
        One value per sample, in the unit of the field.

    Raises:
        ValueError: If the shapes differ.
    """
    check_pair("rmse", pred, target)
    error = (pred - target).flatten(1)
    return _norm(error) / math.sqrt(error.shape[1])


def nmse(
    pred: Float[Tensor, "b *axes"],
    target: Float[Tensor, "..."],
    *,
    ndim: int | None = None,
    eps: float = 1e-7,
) -> Float[Tensor, " b"]:
    r"""Mean square error :math:`\langle e^2 \rangle / (\langle y^2 \rangle + \epsilon)`.

    The brackets are means over space, field by field (and frame by frame); the result is the
    mean of these quotients.

    Args:
        pred: Prediction, ``(b, c, *space)`` or ``(b, t, c, *space)``.
        target: Truth y, of the same shape.
        ndim: Number of trailing space axes; None takes all after ``(b, c)``.
        eps: Added to the mean square, in squared units of the field; The Well's value.

    Returns:
        One value per sample.

    Raises:
        ValueError: If the shapes differ or there are fewer than `ndim` space axes.

    Source: Ohana et al., "The Well", 2024, arXiv:2412.00568.
    """
    check_pair("nmse", pred, target)
    pred, target = _fields("nmse", pred, ndim), _fields("nmse", target, ndim)
    error = (pred - target).square().mean(dim=2)
    return (error / (target.square().mean(dim=2) + eps)).mean(dim=1)


def vrmse(
    pred: Float[Tensor, "b *axes"],
    target: Float[Tensor, "..."],
    *,
    ndim: int | None = None,
    eps: float = 1e-7,
) -> Float[Tensor, " b"]:
    r"""Root mean square error in standard deviations of the target (VRMSE).

    .. math:: \Big(\frac{\langle e^2 \rangle}{\mathrm{Var}\, y + \epsilon}\Big)^{1/2}

    Brackets and variance are taken over space, field by field (and frame by frame), then
    averaged. Predicting the spatial mean scores one, so that numbers read across data sets.

    Args:
        pred: Prediction, ``(b, c, *space)`` or ``(b, t, c, *space)``.
        target: Truth y, of the same shape.
        ndim: Number of trailing space axes; None takes all after ``(b, c)``.
        eps: Added to the variance, in squared units of the field; The Well's value.

    Returns:
        One value per sample.

    Raises:
        ValueError: If the shapes differ or there are fewer than `ndim` space axes.

    Source: Ohana et al., "The Well", 2024, arXiv:2412.00568.

    Deviations: the variance is the population's, as in the paper's formula; The Well's code
    divides by n - 1.
    """
    check_pair("vrmse", pred, target)
    pred, target = _fields("vrmse", pred, ndim), _fields("vrmse", target, ndim)
    error = _norm(pred - target) / math.sqrt(pred.shape[2])
    return (error / (target.var(dim=2, correction=0) + eps).sqrt()).mean(dim=1)


def _norm(u: Tensor) -> Tensor:
    """2-norm over the last axis."""
    norm: Tensor = torch.linalg.vector_norm(u, dim=-1)
    return norm


def _fields(function: str, u: Tensor, ndim: int | None) -> Tensor:
    """View `u` as (b, fields, points): everything between batch and space counts as a field."""
    first_space_axis = 2 if ndim is None else u.ndim - ndim
    if not 1 <= first_space_axis < u.ndim:
        raise ValueError(
            f"{function}: expected a batch axis, fields and {ndim or 'some'} space axes, got "
            f"{tuple(u.shape)}; pass the number of space axes as ndim"
        )
    num_points = math.prod(u.shape[first_space_axis:])
    return u.reshape(u.shape[0], math.prod(u.shape[1:first_space_axis]), num_points)
