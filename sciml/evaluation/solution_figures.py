"""Solutions of problems as pictures: the field, its error, its residual, its spectrum."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from sciml.evaluation.figures import save_figure
from sciml.evaluation.solution_values import GridValues, grid_values
from sciml.evaluation.style import COLOURS, STYLE
from sciml.pde.problem import Problem
from sciml.solution import Solution
from sciml.solvers.base import Field
from sciml.typing import StrPath

LINE_POINTS, PLANE_POINTS = 3000, 400
CLOSE_UP = {1: 1 / 16, 2: 1 / 8}
"""Part of an axis that the close-up shows, in the middle: some periods of a fast wave."""
SMALLEST_WEIGHT, SMALLEST_LABELLED, NUM_LABELS = 1e-8, 0.03, 4
LABEL_WIDTH = 0.06  # of the axis of frequencies
PLANE_AT = 0.37
"""Where the plane across a third axis lies; waves of whole periods vanish in the middle."""
MAGNITUDES = 6
"""Orders of magnitude below the largest value that a logarithmic colour scale reaches."""


def draw_solution_figures(
    problem: Problem, solution: Solution[Field], folder: StrPath
) -> dict[str, Path]:
    """Write every figure that there are data for.

    Args:
        problem: What was solved.
        solution: What the solver gave.
        folder: Folder for the PNG files; made if needed.

    Returns:
        The files by name: ``solution``, ``residual``, ``error`` where the exact solution is
        known, ``deviation`` where there is a posterior in more than one dimension, ``spectrum``
        where the solver learned one.

    Raises:
        OSError: If the folder cannot be written.
    """
    views = [grid_values(problem, solution.value, lines) for lines in _views(problem)]
    figures = {
        "solution": solution_figure(problem, views),
        "residual": magnitude_figure(
            problem, views, [view.residual for view in views], "|residual of the equation|"
        ),
    }
    errors = [view.error for view in views if view.error is not None]
    if errors:
        figures["error"] = magnitude_figure(problem, views, errors, "|error|")
    deviations = [view.deviation for view in views if view.deviation is not None]
    if deviations and problem.domain.ndim > 1:  # in one dimension it is a band of the solution
        figures["deviation"] = magnitude_figure(
            problem, views, deviations, "standard deviation"
        )
    spectrum = solution.stats.get("spectrum", {})
    if spectrum:
        figures["spectrum"] = learned_spectrum_figure(spectrum)
    return {
        name: save_figure(figure, Path(folder) / f"{name}.png")
        for name, figure in figures.items()
    }


def solution_figure(problem: Problem, views: Sequence[GridValues]) -> Figure:
    """Each field, whole and in a close-up; in one dimension with the exact solution.

    A posterior is a band of two standard deviations. Of three axes a plane across the last
    one is shown.

    Args:
        problem: What was solved.
        views: The solution on the grids to show, one column each.
    """
    with rc_context(STYLE):
        figure, panels = _panels(problem, problem.num_fields, len(views))
        for name, k in zip(problem.fields, range(problem.num_fields), strict=True):
            for axes, view in zip(panels[k], views, strict=True):
                if problem.domain.ndim == 1:
                    _solution_line(axes, view, k)
                    axes.set_ylabel(name)
                else:
                    plane = _plane(view.value[k])
                    limit = float(plane.abs().max()) or 1.0
                    signed = bool((plane < 0).any())
                    low, cmap = (-limit, "RdBu_r") if signed else (0.0, "viridis")
                    image = _image(axes, view, plane, cmap=cmap, vmin=low, vmax=limit)
                    figure.colorbar(image, ax=axes, label=name)
        if problem.domain.ndim == 1:
            handles = panels[0][0].get_legend_handles_labels()
            figure.legend(*handles, loc="outside upper center", ncols=3)
        return figure


def magnitude_figure(
    problem: Problem,
    views: Sequence[GridValues],
    values: Sequence[Float[Tensor, "rows *_"]],
    label: str,
) -> Figure:
    """Magnitudes on a logarithmic scale: of the error, the residual, or the error bar.

    Args:
        problem: What was solved.
        views: Grids, one column each.
        values: What to show on each of them, one row of panels per leading index.
        label: What it is.
    """
    with rc_context(STYLE):
        rows = values[0].shape[0]
        figure, panels = _panels(problem, rows, len(views))
        for row in range(rows):
            for axes, view, shown in zip(panels[row], views, values, strict=True):
                sizes = shown[row].abs()
                finite = sizes.nan_to_num(0.0, posinf=0.0)
                largest = float(finite.max()) or 1.0
                floor = max(float(finite.quantile(0.01)), largest * 10.0**-MAGNITUDES)
                floor = min(floor, 0.1 * largest)
                sizes = sizes.clamp_min(floor)
                if problem.domain.ndim == 1:
                    axes.semilogy(
                        view.lines[0].numpy(), sizes.numpy(), color=COLOURS[1], linewidth=0.9
                    )
                    axes.set(ylabel=label, xlabel=problem.domain.axes[0])
                    axes.grid(visible=True, which="major")
                else:
                    norm = LogNorm(floor, largest)
                    image = _image(axes, view, _plane(sizes), cmap="magma", norm=norm)
                    figure.colorbar(image, ax=axes, label=label)
        return figure


def learned_spectrum_figure(
    spectrum: Mapping[str, Mapping[str, Float[Tensor, " _"]]],
) -> Figure:
    """Frequencies that a solver found and their weights, largest 1, one panel per axis.

    The heaviest lines are labelled with their frequency, as far as the labels have room.

    Args:
        spectrum: ``frequency`` (cycles per unit length) and ``weight`` of the lines, by axis.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.6 + 2.6 * len(spectrum)), layout="constrained")
        panels = figure.subplots(len(spectrum), 1, squeeze=False)[:, 0]
        for axes, (axis, lines) in zip(panels, spectrum.items(), strict=True):
            frequency = lines["frequency"].detach().abs()
            weight = lines["weight"].detach()
            weight = weight / (float(weight.max()) or 1.0)
            kept = weight > SMALLEST_WEIGHT
            frequency, weight = frequency[kept], weight[kept]
            right = 1.1 * float(frequency.max()) if len(frequency) else 0.0
            axes.vlines(
                frequency.numpy(),
                SMALLEST_WEIGHT,
                weight.numpy(),
                color=COLOURS[0],
                linewidth=1.2,
            )
            axes.plot(frequency.numpy(), weight.numpy(), "o", color=COLOURS[0], markersize=3.5)
            for k in _labelled(frequency, weight, LABEL_WIDTH * right):
                place = (float(frequency[k]), float(weight[k]))
                axes.annotate(
                    f"{place[0]:.4g}", place, (0, 6), textcoords="offset points",
                    ha="center", fontsize=8,
                )  # fmt: skip
            axes.set(
                yscale="log",
                ylim=(SMALLEST_WEIGHT, 20.0),
                ylabel="weight",
                xlabel=f"frequency along {axis} (cycles per unit length)",
            )
            axes.set_xlim(-0.02 * (right or 1.0), right or 1.0)
            axes.grid(visible=True, which="major")
        return figure


def _labelled(frequency: Tensor, weight: Tensor, width: float) -> list[int]:
    """The heaviest lines, those left out whose label would cover that of a heavier one."""
    heaviest = weight.argsort(descending=True)[:NUM_LABELS]
    chosen: list[int] = []
    for k in heaviest[weight[heaviest] > SMALLEST_LABELLED].tolist():
        if all(float((frequency[k] - frequency[j]).abs()) > width for j in chosen):
            chosen.append(k)
    return chosen


def _views(problem: Problem) -> list[list[Tensor]]:
    """Lines of the grids to draw: the whole box, and a part in its middle."""
    domain = problem.domain
    shown = min(domain.ndim, 2)
    count = LINE_POINTS if shown == 1 else PLANE_POINTS
    views = []
    for part in (1.0, CLOSE_UP[shown]):
        lines = []
        for k in range(domain.ndim):
            place = 0.5 if k < shown else PLANE_AT
            middle = domain.low[k] + place * domain.extent[k]
            half = 0.5 * part * domain.extent[k] if k < shown else 0.0
            ends = max(middle - half, domain.low[k]), min(middle + half, domain.high[k])
            lines.append(torch.linspace(*ends, count if half else 1, dtype=torch.float64))
        views.append(lines)
    return views


def _panels(
    problem: Problem, rows: int, columns: int
) -> tuple[Figure, Sequence[Sequence[Axes]]]:
    domain = problem.domain
    flat = domain.ndim == 1
    figure = Figure(
        figsize=(5.0 * columns, 0.5 + (2.8 if flat else 3.5) * rows), layout="constrained"
    )
    panels = figure.subplots(rows, columns, squeeze=False)
    across = ""
    if domain.ndim > 2:
        across = f"{domain.axes[2]} = {domain.low[2] + PLANE_AT * domain.extent[2]:.4g}"
    for row in panels:
        for axes, title in zip(row, ("", "close-up"), strict=False):
            axes.set_title(", ".join(part for part in (title, across) if part))
            axes.set_xlabel(domain.axes[0])
            if not flat:
                axes.set_ylabel(domain.axes[1])
    return figure, panels.tolist()


def _plane(values: Tensor) -> Tensor:
    """Values over the first two axes; views of three have one point along the last."""
    return values if values.ndim == 2 else values[..., 0]


def _solution_line(axes: Axes, view: GridValues, field: int) -> None:
    line, value = view.lines[0].numpy(), view.value[field].numpy()
    if view.exact is not None:
        look: Any = {"color": "0.25", "linewidth": 3.0, "alpha": 0.5}
        axes.plot(line, view.exact[field].numpy(), label="exact", **look)
    axes.plot(line, value, color=COLOURS[0], linewidth=1.1, label="solution")
    if view.deviation is not None:
        band = 2.0 * view.deviation[field].numpy()
        axes.fill_between(
            line, value - band, value + band, color=COLOURS[0], alpha=0.2, linewidth=0,
            label="two standard deviations",
        )  # fmt: skip


def _image(axes: Axes, view: GridValues, plane: Tensor, **look: Any) -> AxesImage:
    """A plane with its first axis to the right and its second upwards."""
    x, y = view.lines[:2]
    extent = (float(x[0]), float(x[-1]), float(y[0]), float(y[-1]))
    image = axes.imshow(
        plane.T.numpy(),
        origin="lower",
        extent=extent,
        aspect="auto",
        interpolation="nearest",
        **look,
    )
    axes.set_box_aspect(min(max((extent[3] - extent[2]) / (extent[1] - extent[0]), 0.4), 1.6))
    return image
