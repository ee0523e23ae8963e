"""Curves of a run: error against time, energy spectra, loss."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sciml.evaluation.style import COLOURS, MARKERS, STYLE, field_label
from sciml.metrics.spectral import radial_spectrum
from sciml.spec import DatasetSpec
from sciml.typing import StrPath


def error_figure(
    curves: Mapping[str, Float[Tensor, "n t"]], times: Float[Tensor, " t"]
) -> Figure:
    """Relative error against time of every method: mean over samples, band from 10 to 90 %.

    Args:
        curves: Relative L2 error of every sample and frame, by method.
        times: Physical time of the frames.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        when = times.double().cpu().numpy()
        for i, (name, curve) in enumerate(curves.items()):
            errors = curve.double().cpu()
            colour = COLOURS[i % len(COLOURS)]
            low, high = errors.quantile(torch.tensor([0.1, 0.9]).double(), dim=0).numpy()
            axes.fill_between(when, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(
                when,
                errors.mean(0).numpy(),
                color=colour,
                marker=MARKERS[i % len(MARKERS)],
                markersize=4.5,
                label=name,
            )
        _log_scale(axes)
        axes.set(xlabel="time", ylabel="relative L2 error")
        axes.grid(visible=True, which="major")
        axes.margins(x=0.03)
        # Above the axes: bands fill the panel and would lie under a legend inside.
        figure.legend(loc="outside upper center", ncols=min(len(curves), 3))
        return figure


def spectrum_figure(
    truth: Float[Tensor, "k t c *space"],
    prediction: Float[Tensor, "k t c *space"],
    times: Float[Tensor, "k t"],
    spec: DatasetSpec,
    *,
    channel: int = 0,
) -> Figure:
    """Energy spectra of truth, prediction and error at the first and the last frame.

    Where the error's spectrum meets that of the truth, the prediction has no skill left.

    Args:
        truth: True frames of some samples, which are averaged.
        prediction: Predicted frames.
        times: Physical time of the frames.
        spec: Extents and names.
        channel: Channel to show.
    """
    with rc_context(STYLE):
        shown = [0] if truth.shape[1] == 1 else [0, truth.shape[1] - 1]
        figure = Figure(figsize=(1.6 + 4.2 * len(shown), 4.0), layout="constrained")
        panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        largest = 0.0
        for axes, frame in zip(panels, shown, strict=True):
            y, p = truth[:, frame, channel].double(), prediction[:, frame, channel].double()
            lines = (
                ("truth", y, {"color": "0.25", "linewidth": 3.5, "alpha": 0.6}),
                ("prediction", p, {"color": COLOURS[0], "linestyle": "--"}),
                ("error", p - y, {"color": COLOURS[1], "linestyle": ":"}),
            )
            for name, field, style in lines:
                k, energy = radial_spectrum(field.cpu(), spec.domain.extent)
                mean = energy.reshape(-1, len(k)).mean(0)
                axes.plot(k[1:].numpy(), mean[1:].numpy(), label=name, **style)
                largest = max(largest, mean[1:].max().item())
            axes.set(xscale="log", xlabel="wavenumber |k| (rad per length)")
            _log_scale(axes)
            if spec.dt is not None:
                axes.set_title(f"t = {times[0, frame].item():g}")
            axes.grid(visible=True, which="major")
        panels[0].set_ylabel(f"energy of {field_label(spec, channel)}")
        if largest > 0:
            # Below this lies rounding of float32 data, which would stretch the axis.
            panels[0].set_ylim(bottom=max(panels[0].get_ylim()[0], 1e-15 * largest))
        panels[0].legend(loc="upper right")
        return figure


def loss_figure(history: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Loss, validation error and learning rate against the optimiser's steps.

    Args:
        history: Steps and values by name, as `read_history` returns them. Names with
            ``learning_rate`` go to a panel of their own, names with ``loss`` are lines,
            ``valid/…`` are marked; everything else is left out.
    """
    with rc_context(STYLE):
        rates = {name: xy for name, xy in history.items() if "learning_rate" in name}
        figure = Figure(figsize=(6.4, 5.0 if rates else 4.0), layout="constrained")
        panels = figure.subplots(
            2 if rates else 1,
            squeeze=False,
            sharex=True,
            height_ratios=[3, 1] if rates else [1],
        )[:, 0]
        validations = 0
        for name, (steps, values) in history.items():
            if name.startswith("valid"):
                validations += 1
                look: Any = {"color": COLOURS[validations], "marker": MARKERS[validations]}
                panels[0].plot(steps, values, markersize=4.5, label=_label(name), **look)
            elif name.endswith("loss"):
                window = max(len(values) // 25, 1)
                smooth = _median(values, window)
                centred = steps[(window - 1) // 2 :][: len(smooth)]
                panels[0].plot(steps, values, color=COLOURS[0], alpha=0.35, linewidth=1.0)
                panels[0].plot(centred, smooth, color=COLOURS[0], label=_label(name))
        panels[0].set_ylabel("relative L2")
        _log_scale(panels[0])
        panels[0].grid(visible=True, which="major")
        panels[0].legend(loc="upper right")
        for steps, values in rates.values():
            panels[1].plot(steps, values, color=COLOURS[2])
            panels[1].set_ylabel("learning rate")
            panels[1].set_ylim(bottom=0)
            panels[1].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
            panels[1].grid(visible=True, which="major")
        panels[-1].set_xlabel("optimiser step")
        return figure


def read_history(path: StrPath) -> dict[str, tuple[list[float], list[float]]]:
    """Columns of a ``metrics.csv`` with blanks left out: steps and values by name."""
    columns: dict[str, tuple[list[float], list[float]]] = {}
    with Path(path).open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if text and row.get("step") and name not in ("step", "epoch"):
                    steps, values = columns.setdefault(name, ([], []))
                    steps.append(float(row["step"]))
                    values.append(float(text))
    return columns


def _log_scale(axes: Axes) -> None:
    """A logarithmic value axis, if any value can be shown on one."""
    values = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    if any(bool(np.any((v > 0) & np.isfinite(v))) for v in values):
        axes.set_yscale("log")


def _label(name: str) -> str:
    """A metric's name in words."""
    kind, _, rest = name.partition("/")
    kind = {"train": "training", "valid": "validation"}.get(kind, kind)
    return f"{kind} {rest.replace('_', ' ').replace('l2', 'L2')}".strip()


def _median(values: Sequence[float], window: int) -> list[float]:
    """Running median over `window` values, robust against single bad batches."""
    line = torch.tensor([v if math.isfinite(v) else math.nan for v in values])
    return [float(v) for v in line.unfold(0, window, 1).nanmedian(dim=1).values]
