"""Rollouts as pictures: truth, prediction and error side by side."""

from typing import Any

import torch
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from sciml.evaluation.style import STYLE, field_label
from sciml.metrics.spatial import relative_l2
from sciml.spec import DatasetSpec

FIELD_MAP, ERROR_MAP, POSITIVE_MAP = "RdBu_r", "PuOr_r", "viridis"


def rollout_figure(
    truth: Float[Tensor, "t c *space"],
    prediction: Float[Tensor, "t c *space"],
    times: Float[Tensor, " t"],
    spec: DatasetSpec,
    *,
    channel: int = 0,
    num_frames: int = 5,
) -> Figure:
    """Truth, prediction and error of one trajectory.

    A field of one axis is shown as an image over that axis and time, one of two as frames, one
    of three as frames of its middle plane across the last axis. Truth and prediction share one
    colour scale, symmetric about zero if the field takes both signs; the error has its own.

    Args:
        truth: True frames.
        prediction: Predicted frames.
        times: Physical time of the frames.
        spec: Names, extents and units.
        channel: Channel to show.
        num_frames: Frames to show, spread over the rollout with the first and the last.
    """
    with rc_context(STYLE):
        if spec.ndim == 1:
            return _line_rollout(
                truth[:, channel], prediction[:, channel], times, spec, channel
            )
        frames = _spread(len(times), num_frames)
        fields = (
            torch.stack([truth[frames, channel], prediction[frames, channel]]).double().cpu()
        )
        while fields.ndim > 4:
            fields = fields.select(-1, fields.shape[-1] // 2)
        errors = relative_l2(prediction[frames, channel], truth[frames, channel])
        return _frame_rollout(fields, times[frames], errors, spec, channel)


def _frame_rollout(
    fields: Tensor, times: Tensor, errors: Tensor, spec: DatasetSpec, channel: int
) -> Figure:
    """Three rows of frames; `fields` holds truth and prediction."""
    rows = [*fields.unbind(0), fields[1] - fields[0]]
    width, height = spec.domain.extent[:2]
    num_frames = len(times)
    panel = 2.0 * min(max(height / width, 0.4), 2.5)
    figure = Figure(figsize=(2.0 * num_frames + 1.5, 2.75 * panel + 1.1))
    figure.set_layout_engine("constrained", h_pad=0.05, w_pad=0.05, hspace=0.02, wspace=0.02)
    grid = figure.subplots(3, num_frames, squeeze=False, sharex=True, sharey=True)
    names = ("truth", "prediction", "prediction − truth")
    scales = [_scale(fields[0], FIELD_MAP)] * 2 + [_scale(rows[2], ERROR_MAP, signed=True)]
    for row, (name, field, scale) in enumerate(zip(names, rows, scales, strict=True)):
        image = None
        for column, axes in enumerate(grid[row]):
            image = _image(axes, field[column], spec, (0, 1), scale)
            axes.tick_params(length=2, labelsize=8)
            axes.locator_params(nbins=2)
            if row == 0:
                when = f"t = {times[column].item():g}" if spec.dt is not None else ""
                axes.set_title(when)
            if row == 2:
                axes.set_title(f"relative L2 {100 * errors[column].item():.2g}%", fontsize=9)
                axes.set_xlabel(spec.axes[0])
        grid[row][0].set_ylabel(f"{name}\n{spec.axes[1]}")
        if row > 0 and image is not None:
            members = list(grid[:2].flat) if row == 1 else list(grid[2])
            label = field_label(spec, channel) if row == 1 else "error"
            bar = figure.colorbar(image, ax=members, shrink=0.9, pad=0.015, label=label)
            bar.ax.ticklabel_format(axis="y", scilimits=(-2, 3))
            bar.outline.set_visible(False)
    return figure


def _line_rollout(
    truth: Tensor, prediction: Tensor, times: Tensor, spec: DatasetSpec, channel: int
) -> Figure:
    """Truth, prediction and error of a field of one axis, over that axis and time."""
    truth, prediction = truth.double().cpu(), prediction.double().cpu()
    figure = Figure(figsize=(11.0, 3.4), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    step = (times[-1] - times[0]).item() / max(len(times) - 1, 1) or 1.0
    span = (times[0].item() - step / 2, times[-1].item() + step / 2)
    low, high = spec.domain.low[0], spec.domain.high[0]
    scale, error_scale = (
        _scale(truth, FIELD_MAP),
        _scale(prediction - truth, ERROR_MAP, signed=True),
    )
    shown = (
        ("truth", truth, scale),
        ("prediction", prediction, scale),
        ("prediction − truth", prediction - truth, error_scale),
    )
    for axes, (name, field, limits) in zip(panels, shown, strict=True):
        image = axes.imshow(
            field.numpy(), origin="lower", aspect="auto", extent=(low, high, *span), **limits
        )
        axes.set(title=name, xlabel=spec.axes[0])
        label = "error" if limits is error_scale else field_label(spec, channel)
        figure.colorbar(image, ax=axes, label=label)
    panels[0].set_ylabel("t")
    return figure


def _spread(count: int, wanted: int) -> list[int]:
    """Indices of up to `wanted` frames out of `count`, the first and the last among them."""
    wanted = max(1, min(count, wanted))
    if wanted == 1:
        return [count - 1]
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]


def _scale(field: Tensor, signed_map: str, *, signed: bool | None = None) -> dict[str, Any]:
    """Colour limits and map: symmetric for a field of both signs, otherwise from its range."""
    finite = field[field.isfinite()]
    if finite.numel() == 0:
        finite = field.new_zeros(1)
    low, high = finite.min().item(), finite.max().item()
    if signed if signed is not None else low < 0 < high:
        limit = max(-low, high) or 1.0
        return {"cmap": signed_map, "vmin": -limit, "vmax": limit}
    return {"cmap": POSITIVE_MAP, "vmin": low, "vmax": high if high > low else low + 1.0}


def _image(
    axes: Axes, field: Tensor, spec: DatasetSpec, shown: tuple[int, int], scale: dict[str, Any]
) -> AxesImage:
    """A plane with its first axis to the right and its second upwards."""
    (x, y), domain = shown, spec.domain
    extent = (domain.low[x], domain.high[x], domain.low[y], domain.high[y])
    return axes.imshow(
        field.T.numpy(), origin="lower", extent=extent, aspect="equal", interpolation="nearest",
        **scale,
    )  # fmt: skip
