"""Smoke as pictures: a sheet of frames, and an animation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from sciml.data.writers.atomic import write_atomically
from sciml.evaluation.style import COLOURS, STYLE
from sciml.simulate.smoke import SmokeSimulation
from sciml.typing import StrPath

_SMOKE = LinearSegmentedColormap.from_list(
    "smoke", ["#ffffff", "#9a9aa2", "#2b2b33", "#0b0b10"]
)
_BODY = COLOURS[4]
_OPACITY = 8.0
"""Optical depth of smoke of density one across the whole box, for pictures of three axes."""

_SMALLEST_SIDE = 320  # pixels of an animation
_MILLISECONDS = 60


@final
@dataclass(frozen=True)
class SmokePicture:
    """What an observer sees at one time.

    Args:
        time: Simulated time.
        smoke: Part of the light that smoke takes, 0 to 1; the second axis points up.
        body: Where a body stands.
        extent: Width and height of the box.
    """

    time: float
    smoke: Float[np.ndarray, "x up"]
    body: Bool[np.ndarray, "x up"]
    extent: tuple[float, float]


def picture(simulation: SmokeSimulation) -> SmokePicture:
    """The present state: a plane as it is, a box as seen along its second axis.

    Light is absorbed along the lines of sight (Beer's law) up to the first solid cell.
    """
    density = simulation.density
    solid = simulation.operator.flags <= 1
    scene = simulation.scene
    if density.ndim == 2:
        smoke, body = density.clamp(0, 1), solid
    else:
        free = torch.cumprod((~solid).to(density.dtype), dim=1)
        smoke = 1 - torch.exp(-_OPACITY * scene.spacing * (density * free).sum(1))
        body = solid.any(1)
    width, *_, height = scene.domain.extent
    seen = smoke.to(torch.float32).cpu().numpy()
    return SmokePicture(simulation.time, seen, body.cpu().numpy(), (width, height))


def smoke_sheet(runs: Mapping[str, Sequence[SmokePicture]], *, num_frames: int = 5) -> Figure:
    """One row of frames for each run, spread over it without its empty start.

    Args:
        runs: Pictures in the order of time, by the name of the run.
        num_frames: Frames to show.
    """
    first = next(iter(runs.values()))[0]
    panel = (2.2, 2.2 * first.extent[1] / first.extent[0] + 0.25)
    with rc_context(STYLE):
        size = (num_frames * panel[0] + 0.2, len(runs) * panel[1])
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(runs), num_frames, squeeze=False)
        for row, (name, pictures) in zip(grid, runs.items(), strict=True):
            last = len(pictures) - 1
            for column, axes in enumerate(row):
                shown = pictures[round(last * (column + 1) / num_frames)]
                axes.imshow(_colours(shown), interpolation="bilinear")
                axes.set_title(f"t = {shown.time:.2f}", fontsize=9, pad=3)
                axes.set_xticks([])
                axes.set_yticks([])
                for side in axes.spines.values():
                    side.set(visible=True, color="0.6", linewidth=0.8)
            row[0].set_ylabel(name)
    return figure


def write_animation(path: StrPath, pictures: Sequence[SmokePicture]) -> Path:
    """Write an animated GIF, whole or not at all.

    Args:
        path: File to write; an existing one is replaced.
        pictures: In the order of time.

    Raises:
        OSError: If it cannot be written, naming the file and the remedy.
    """
    target = Path(path)
    zoom = -(-_SMALLEST_SIDE // min(pictures[0].smoke.shape))
    frames = [
        Image.fromarray(_colours(item).repeat(zoom, axis=0).repeat(zoom, axis=1))
        for item in pictures
    ]

    def write(partial: Path) -> None:
        frames[0].save(
            partial,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=_MILLISECONDS,
            loop=0,
        )

    write_atomically(target, write)
    return target


def _colours(item: SmokePicture) -> UInt8[np.ndarray, "up x 3"]:
    """Smoke over the body on white, as rows of pixels from the top."""
    body = np.array(to_rgb(_BODY))
    smoke: NDArray[np.float64] = _SMOKE(item.smoke)[..., :3]
    # smoke in front of a body darkens its colour as it darkens the white behind it
    colours = np.where(item.body[..., None], body * smoke, smoke)
    pixels = np.round(255 * colours).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 0, 2)[::-1])
