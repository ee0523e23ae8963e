"""Writing PDEBench's layouts, for round trips and for the benchmark's own loaders.

Source: M. Takamoto et al., PDEBench: An Extensive Benchmark for Scientific Machine Learning,
NeurIPS 2022, arXiv:2210.07182. Arrays are contiguous single precision, as published for most
families. What the layouts have no place for (name, box, boundary conditions) stands in one more
attribute, which the benchmark's loaders do not look at.
"""

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.base import Source
from sciml.data.writers.atomic import write_atomically
from sciml.data.writers.pdebench_layouts import (
    Region,
    Selection,
    lay_out_flat,
    lay_out_groups,
    lay_out_incompressible,
)
from sciml.typing import StrPath

Layout = Literal["auto", "flat", "groups", "incompressible"]
"""Layouts by what they are made of, see `sciml.data.sources.pdebench`."""

_BLOCK_BYTES = 2**26
_LAY_OUT: dict[str, Callable[[Path, Selection], list[Region]]] = {
    "flat": lay_out_flat,
    "groups": lay_out_groups,
    "incompressible": lay_out_incompressible,
}


def write_pdebench(
    path: StrPath,
    source: Source,
    *,
    layout: Layout = "auto",
    trajectories: Sequence[int] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Write trajectories or pairs of a source as one PDEBench file, in constant memory.

    Flat files hold one-dimensional scalar fields, compressible flows (``density``,
    ``pressure``, ``velocity``), or pairs of two-dimensional scalar fields, all of the same
    parameters; groups hold any fields and parameters of their own; the incompressible layout
    holds ``particles``, ``velocity`` and a static ``force``. The file appears under its name
    only when it is complete and on disk.

    Args:
        path: File to write; an existing one is replaced.
        source: Where fields are read, block by block.
        layout: The layout; by default the first of these that can hold the fields.
        trajectories: Numbers of the trajectories; all by default.
        progress: Called with the number of trajectories written so far, after each.

    Returns:
        The path.

    Raises:
        ValueError: If the layout cannot hold what the source has.
        OSError: If the folder cannot be made or written or the disk is full, with the remedy.
    """
    total = source.num_trajectories
    numbers = range(total) if trajectories is None else trajectories
    if not len(numbers) or min(numbers) < 0 or max(numbers) >= total:
        raise ValueError(
            f"write_pdebench: expected one or more of the trajectories 0 to {total - 1}, got "
            f"{list(numbers)[:12]}; correct trajectories="
        )
    selection = Selection(source, np.array(numbers, np.int64))
    chosen = _choose(selection, layout)
    _check_uniform(selection, chosen)
    target = Path(path)

    def write(partial: Path) -> None:
        try:
            regions = _LAY_OUT[chosen](partial, selection)
        except RuntimeError as error:  # how HDF5 may report a full disk
            raise OSError(errno.EIO, str(error)) from error
        _write_fields(partial, selection, regions, progress)

    write_atomically(target, write)
    return target


def _choose(selection: Selection, layout: Layout) -> str:
    """The layout, which must be able to hold the fields."""
    spec = selection.spec
    names = [field.name for field in spec.in_fields]
    vector = spec.in_fields[-1].components == spec.ndim
    static = [field.name for field in selection.source.static_fields]
    fits = {
        "flat": not static
        and (
            (spec.paired and spec.ndim == 2 and spec.in_channels == spec.out_channels == 1)
            or (not spec.paired and spec.ndim == spec.out_channels == 1)
            or (not spec.paired and vector and names == ["density", "pressure", "velocity"])
        ),
        "groups": not static and not spec.paired,
        "incompressible": not spec.paired
        and vector
        and names == ["particles", "velocity"]
        and static == ["force"],
    }
    for name, holds in fits.items():
        if layout in ("auto", name) and holds and not spec.unstructured and spec.ndim <= 3:
            return name
    kind = "point clouds" if spec.unstructured else "pairs" if spec.paired else "trajectories"
    raise ValueError(
        f"write_pdebench: expected fields that the layout {layout} of PDEBench can hold, got "
        f"{kind} of {names} with static fields {static} on {spec.ndim} axes; choose another of "
        f"{['auto', *fits]}, or write The Well's layout"
    )


def _check_uniform(selection: Selection, layout: str) -> None:
    """All trajectories must have what a file of the layout states once."""
    source, first = selection.source, selection.first
    once: dict[str, Callable[[int], NDArray[np.float64] | NDArray[np.int64]]] = {
        "number of frames": lambda number: source.lengths[number : number + 1],
        "boundary": source.boundary,
    }
    if layout != "incompressible":
        once["times"] = source.times
    if layout != "groups":
        once[f"parameters {source.spec.params}"] = source.params
    for number in map(int, selection.trajectories):
        for name, of in once.items():
            if not np.allclose(of(number), of(first), rtol=1e-6, atol=1e-9):
                raise ValueError(
                    f"write_pdebench: expected the same {name} of all trajectories in a file "
                    f"of the layout {layout}, got {of(first)} of trajectory {first} and "
                    f"{of(number)} of {number}; write one file of each with trajectories="
                )


def _write_fields(
    path: Path,
    selection: Selection,
    regions: Sequence[Region],
    progress: Callable[[int], object] | None,
) -> None:
    """Stream the fields to where they go."""
    source, spec, steps = selection.source, selection.spec, selection.num_steps
    static = sum(field.components for field in source.static_fields)
    channels = {"frames": spec.frame_channels, "targets": spec.out_channels, "static": static}
    frame_bytes = 4 * max(channels.values()) * int(np.prod(spec.resolution))
    length = min(max(_BLOCK_BYTES // frame_bytes, 1), steps)
    buffers = {
        origin: np.empty((length, count, *spec.resolution), np.float32)
        for origin, count in channels.items()
    }
    with path.open("r+b") as file:
        for place, trajectory in enumerate(map(int, selection.trajectories)):
            for start in range(0, steps, length):
                stop = min(start + length, steps)
                block = buffers["frames"][: stop - start]
                source.read(trajectory, start, stop, 1, block)
                if start == 0 and spec.paired:
                    source.read_targets(trajectory, buffers["targets"][0])
                if start == 0 and static:
                    source.read_static(trajectory, buffers["static"][0])
                for region in regions:
                    if region.origin != "frames" and start:
                        continue
                    values = region.arrange(
                        block if region.origin == "frames" else buffers[region.origin][:1]
                    )
                    file.seek(int(region.offsets[place]) + start * values[:1].nbytes)
                    file.write(values.data)
            if progress is not None:
                progress(place + 1)
