"""Say what a data set holds, look for NaN and damage, and draw a sheet of samples.

The exit status is 1 if the files cannot be read, hold values that are not finite, or depart
from The Well's layout while claiming to follow it.

Examples:
    python scripts/check_data.py data/navier_stokes --sheet sheet.png
    python scripts/check_data.py 1D_Burgers_Sols_Nu0.01.hdf5 --quick
"""

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from sciml.data.check import Scan, layout_departures, scan, summarise
from sciml.data.sources import open_source
from sciml.data.sources.base import Source
from sciml.evaluation.style import COLOURS, STYLE, field_label

_ROWS, _FRAMES = 3, 4


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 after an error or a finding."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", help="file or folder of the data set")
    parser.add_argument("--format", help="format of the files (default: by content)")
    parser.add_argument("--sheet", type=Path, help="PNG file for a sheet of samples")
    parser.add_argument("--channel", type=int, default=0, help="channel to draw (default: 0)")
    parser.add_argument("--quick", action="store_true", help="do not read every value")
    options = parser.parse_args(arguments)
    try:
        source = open_source(options.path, format=options.format)
        print("\n".join(summarise(source)))
        found = layout_departures(options.path)
        for line in found:
            print(f"departure from The Well's layout: {line}")
        bad = 0 if options.quick else _print_scan(_scan(source))
        if options.sheet is not None:
            draw_sheet(source, options.channel).savefig(options.sheet, dpi=110)
            print(f"sheet: {options.sheet}")
    except (ValueError, OSError) as error:
        print(f"check_data.py: {error}", file=sys.stderr)
        return 1
    return 1 if found or bad else 0


def _scan(source: Source) -> Scan:
    """Read everything, with a bar where someone looks at it."""
    console = Console(stderr=True)
    bar = iter(
        track(
            range(source.num_trajectories),
            "reading",
            console=console,
            disable=not console.is_terminal,
        )
    )
    return scan(source, lambda finished: [next(bar) for _ in range(finished)])


def _print_scan(result: Scan) -> int:
    for name, statistics in result.statistics.items():
        if statistics is None:
            print(f"values of {name}: none that are finite")
            continue
        for channel in range(len(statistics.mean)):
            component = f" {channel + 1}" if len(statistics.mean) > 1 else ""
            print(
                f"values of {name}{component}: min {statistics.minimum[channel]:.6g}, max "
                f"{statistics.maximum[channel]:.6g}, mean {statistics.mean[channel]:.6g}, "
                f"std {statistics.std[channel]:.6g}"
            )
    print(f"frames that are not finite: {result.bad_frames}")
    for place in result.places:
        print(f"  {place}")
    if result.bad_frames > len(result.places):
        print(f"  and {result.bad_frames - len(result.places)} more")
    return result.bad_frames


def draw_sheet(source: Source, channel: int) -> Figure:
    """A few trajectories over time, or pairs with inputs and outputs.

    Raises:
        ValueError: If there is no such channel.
    """
    spec = source.spec
    label = field_label(spec, channel)
    numbers = np.unique(np.linspace(0, source.num_trajectories - 1, _ROWS).astype(int)).tolist()
    rows = [_panels(source, number, channel) for number in numbers]
    columns = max(map(len, rows))
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(2.6 * columns + 0.8, 2.5 * len(rows) + 0.5), layout="constrained"
        )
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for number, row, panels in zip(numbers, axes, rows, strict=True):
            coords = None
            if spec.unstructured:
                coords = np.empty((source.num_points(number), spec.ndim), np.float32)
                source.read_coords(number, coords)
            for axis, (title, values) in zip(row, panels.items(), strict=False):
                _draw(figure, axis, source, values, coords)
                axis.set_title(title)
            for axis in row[len(panels) :]:
                axis.set_axis_off()
            row[0].set_ylabel(
                f"trajectory {number}" + (f"\n{spec.axes[1]}" if spec.ndim > 1 else "")
            )
        figure.suptitle(f"{spec.name}: {label}")
    return figure


def _panels(source: Source, number: int, channel: int) -> dict[str, np.ndarray]:
    """Values by title: input and output of a pair, or some frames of a trajectory."""
    spec = source.spec
    space = (source.num_points(number),) if spec.unstructured else spec.resolution
    steps = source.num_steps(number)
    if spec.paired:
        inputs = np.empty((1, spec.frame_channels, *space), np.float32)
        outputs = np.empty((spec.out_channels, *space), np.float32)
        source.read(number, 0, 1, 1, inputs)
        source.read_targets(number, outputs)
        given = (
            {f"{spec.in_fields[0].name} (input)": inputs[0, 0]} if spec.frame_channels else {}
        )
        return given | {field_label(spec, channel): outputs[channel]}
    panels = {}
    for frame in np.unique(np.linspace(0, steps - 1, _FRAMES).astype(int)).tolist():
        values = np.empty((1, spec.frame_channels, *space), np.float32)
        source.read(number, frame, frame + 1, 1, values)
        panels[f"t = {source.times(number)[frame]:.4g}"] = values[0, channel]
    return panels


def _draw(
    figure: Figure,
    axis: Axes,
    source: Source,
    values: np.ndarray,
    coords: np.ndarray | None,
) -> None:
    """One field: a line, an image (the middle plane in 3-D), or coloured points."""
    spec = source.spec
    axis.set_xlabel(spec.axes[0])
    if coords is not None:
        if spec.ndim == 1:
            axis.plot(coords[:, 0], values, ".", color=COLOURS[0])
            return
        shown = axis.scatter(coords[:, 0], coords[:, 1], c=values, s=3, cmap="viridis")
        axis.set_aspect("equal")
    elif spec.ndim == 1:
        points = spec.domain.points_along(0, spec.resolution[0], spec.grid[0])
        axis.plot(points, values, color=COLOURS[0])
        return
    else:
        plane = values if spec.ndim == 2 else values[..., values.shape[-1] // 2]
        (left, bottom), (right, top) = spec.domain.low[:2], spec.domain.high[:2]
        slender = not 1 / 3 <= (top - bottom) / (right - left) <= 3
        # the first axis of the array is x, which is drawn to the right
        shown = axis.imshow(
            plane.T,
            origin="lower",
            extent=(left, right, bottom, top),
            cmap="viridis",
            aspect="auto" if slender else "equal",
        )
    figure.colorbar(shown, ax=axis, shrink=0.85)


if __name__ == "__main__":
    sys.exit(main())
