"""The figures of a run as files: rollout frames, error against time, spectra, loss curves.

Each is a matplotlib `Figure` of its own (no global state, no window), made in
`sciml.evaluation.frames` and `sciml.evaluation.curves`.
"""

from pathlib import Path

from matplotlib.figure import Figure

from sciml.data.writers.atomic import write_atomically
from sciml.evaluation.compare import Comparison
from sciml.evaluation.curves import error_figure, loss_figure, read_history, spectrum_figure
from sciml.evaluation.frames import rollout_figure
from sciml.typing import StrPath

DPI = 160
"""Dots per inch of the files: sharp on a dense screen, some hundred kilobytes each."""


def draw_figures(
    comparison: Comparison, folder: StrPath, history: StrPath | None = None
) -> dict[str, Path]:
    """Write every figure that there are data for.

    Args:
        comparison: Results with example trajectories.
        folder: Folder for the PNG files; made if needed.
        history: The run's ``metrics.csv``, for the loss curves; left out where it does not
        exist.

    Returns:
        The files by name: ``rollout``, ``error``, ``spectrum``, ``loss``.

    Raises:
        OSError: If the folder cannot be written.
    """
    spec, examples = comparison.spec, comparison.surrogate.evaluation.examples
    figures = {
        "rollout": rollout_figure(
            examples.truth[0], examples.prediction[0], examples.times[0], spec
        ),
        "spectrum": spectrum_figure(examples.truth, examples.prediction, examples.times, spec),
    }
    if spec.autoregressive:
        curves = {row.contestant.name: row.evaluation.curve for row in comparison.rows}
        figures["error"] = error_figure(curves, examples.times[0])
    if history is not None and Path(history).is_file():
        columns = read_history(history)
        if any(name.endswith("loss") for name in columns):
            figures["loss"] = loss_figure(columns)
    return {
        name: save_figure(figure, Path(folder) / f"{name}.png")
        for name, figure in figures.items()
    }


def save_figure(figure: Figure, path: StrPath) -> Path:
    """Write a figure as PNG, whole or not at all.

    Raises:
        OSError: If it cannot be written, naming the file and the remedy.
    """
    target = Path(path)
    write_atomically(target, lambda temporary: figure.savefig(temporary, format="png", dpi=DPI))
    return target
