"""``.pt`` files with the tensors of neuraloperator's published data sets.

Source: J. Kossaifi et al., neuraloperator, 2024, arXiv:2412.10354.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml.data.sources.base import Source
from sciml.data.writers.array_sets import ScalarSelection, fill_samples, reserve, select
from sciml.data.writers.atomic import write_atomically
from sciml.typing import StrPath

_BURGERS_STEP = 0.06  # what readers assume: the files state no times


def write_torch(
    path: StrPath,
    source: Source,
    *,
    trajectories: Sequence[int] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Write pairs, or trajectories of Burgers' equation, as a dict of tensors.

    Pairs become ``x`` and ``y`` (n, s, s); one-dimensional trajectories ``x`` (n, s) with the
    first frame, ``y`` (n, t, s) and ``visc``. Tensors are gathered in unnamed files beside the
    target, not in memory. The file appears under its name only when it is complete and on disk.

    Args:
        path: File to write; an existing one is replaced.
        source: Where fields are read, block by block.
        trajectories: Numbers of the trajectories; all by default.
        progress: Called with the number of samples gathered so far of the output tensor.

    Returns:
        The path.

    Raises:
        ValueError: If the format cannot hold what the source has.
        OSError: If the folder cannot be made or written or the disk is full, with the remedy.
    """
    selection = select("write_torch", source, trajectories)
    _check(selection)
    target = Path(path)

    def write(partial: Path) -> None:
        spec, n = selection.spec, selection.num_samples
        steps = () if spec.paired else (len(selection.times),)
        read = selection.target if spec.paired else selection.frames
        with (
            tempfile.TemporaryFile(dir=partial.parent) as inputs,
            tempfile.TemporaryFile(dir=partial.parent) as outputs,
        ):
            tensors = {
                "x": _gather(inputs, (n, *spec.resolution), selection.first_frame),
                "y": _gather(outputs, (n, *steps, *spec.resolution), read, progress),
            }
            viscosity = None if spec.paired else selection.viscosity
            if viscosity is not None:
                tensors["visc"] = torch.full((1, 1), viscosity, dtype=torch.float64)
            torch.save(tensors, partial)

    write_atomically(target, write)
    return target


def _check(selection: ScalarSelection) -> None:
    """Refuse what readers would take for something else."""
    spec = selection.spec
    if spec.paired:
        square = spec.ndim == 2 and spec.resolution[0] == spec.resolution[1]
        if square and selection.fills(1.0, periodic=False):
            return
        if square and selection.fills(2 * math.pi, periodic=True):
            return
        raise selection.refusal(
            "a square unit box, or a square periodic one of side 2 pi, of vertices",
            f"{spec.domain} with {spec.resolution} points on a {spec.grid} grid",
        )
    assumed = _BURGERS_STEP * np.arange(len(selection.times))
    if spec.ndim != 1 or not np.allclose(selection.times, assumed, rtol=1e-6, atol=1e-9):
        raise selection.refusal(
            f"pairs, or one-dimensional trajectories from time 0 in steps of {_BURGERS_STEP}",
            f"trajectories on {spec.ndim} axes in steps of {spec.dt}",
        )
    if not selection.fills(1.0, periodic=True):
        raise selection.refusal("the periodic unit interval of vertices", f"{spec.domain}")


def _gather(
    file: IO[bytes],
    shape: tuple[int, ...],
    read: Callable[[int], NDArray[np.float32]],
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """A tensor in a file without a name, filled sample by sample."""
    reserve(file, 0, 4 * math.prod(shape))
    mapped = np.memmap(file, np.float32, "r+", 0, shape)
    fill_samples(mapped, read, progress)
    return torch.from_numpy(np.asarray(mapped))
