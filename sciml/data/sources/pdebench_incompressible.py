"""PDEBench's incompressible flow: one file for each seed, with a batch of trajectories.

One of three layouts, see `sciml.data.sources.pdebench`: ``velocity`` (B, T, X, Y, 2),
``particles`` (B, T, X, Y, 1), a static ``force`` (B, X, Y, 2) and ``t`` (B, T). Cells have
length one. A run that crashed leaves frames of zeros behind the one that ``latestIndex`` names.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.sources.hdf5 import ArrayReader, inspect_array
from sciml.data.sources.pdebench_config import config_text, numbers_of, parse_config
from sciml.data.sources.pdebench_contents import (
    AXES,
    MOST_POINTS,
    Contents,
    PDEBenchSource,
    check_shape,
    copy_frames,
    member,
)
from sciml.data.sources.pdebench_family import INCOMPRESSIBLE
from sciml.data.sources.pdebench_setting import (
    check_setting,
    published_setting,
    read_setting,
)
from sciml.domain import Box
from sciml.spec import FieldSpec

_ARRAYS = ("particles", "velocity", "force")


@final
class IncompressibleSource(PDEBenchSource):
    """Trajectories of one file.

    Channels are ``particles`` and the components of ``velocity``; ``force`` is static.

    Args:
        file: The file as `open_hdf5` opened it; it may be closed afterwards.
        back_end: How arrays are read.

    Raises:
        ValueError: If the file is damaged or contradicts itself.
    """

    def __init__(self, file: Any, back_end: str) -> None:
        path = Path(file.filename)
        super().__init__(_describe(path, file))
        datasets = {name: member(file, name) for name in _ARRAYS}
        self._layouts = {
            name: inspect_array(dataset, back_end) for name, dataset in datasets.items()
        }
        self._frames_per_chunk = {
            name: dataset.chunks[1] if dataset.chunks else 1
            for name, dataset in datasets.items()
        }
        self._reader = ArrayReader(path, self._layouts)

    @property
    @override
    def static_fields(self) -> tuple[FieldSpec, ...]:
        return (FieldSpec("force", 1, self._spec.ndim),)

    @property
    @override
    def memory_mapped(self) -> bool:
        return all(layout.memory_mapped for layout in self._layouts.values())

    @override
    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        frames = slice(start, stop, stride)
        for name, channels in (("particles", slice(1)), ("velocity", slice(1, None))):
            last = np.moveaxis(out[:, channels], 1, -1)
            piece = self._frames_per_chunk[name]
            copy_frames(self._reader[name], (trajectory,), frames, last, piece)

    @override
    def read_static(self, trajectory: int, out: NDArray[np.float32]) -> None:
        self._reader["force"].read_into((trajectory,), np.moveaxis(out, 0, -1))

    @override
    def back_ends(self) -> Sequence[str]:
        return [
            f"array {name}: {layout.back_end} ({layout.reason})"
            for name, layout in self._layouts.items()
        ]


def _describe(path: Path, file: Any) -> Contents:
    """What the arrays mean, the times and the viscosity."""
    velocity = member(file, "velocity")
    ndim = velocity.ndim - 3
    if ndim not in (2, 3):
        check_shape(velocity, (None, None, None, None, 2))
    count, stored, *resolution = (int(n) for n in velocity.shape[:-1])
    check_shape(velocity, (None,) * (ndim + 2) + (ndim,))
    check_shape(member(file, "particles"), (count, stored, *resolution, 1))
    check_shape(member(file, "force"), (count, *resolution, ndim))
    num_steps = _written_frames(file, stored)
    setting = read_setting(file)
    if setting is None:
        box = Box(AXES[:ndim], (0.0,) * ndim, tuple(float(n) for n in resolution))
        fields = FieldSpec("particles"), FieldSpec("velocity", 1, ndim)
        setting = published_setting(INCOMPRESSIBLE, "wall", box, fields, fields)
    else:
        check_setting(setting, file, 1 + ndim, tuple(resolution))
    values = numbers_of(parse_config(config_text(file), file), setting.params)
    return Contents(
        path=path,
        setting=setting,
        resolution=tuple(resolution),
        scalars={name: np.broadcast_to(value, count) for name, value in values.items()},
        times=_times(member(file, "t"), count, stored, num_steps),
        num_trajectories=count,
        remarks=(
            f"PDEBench incompressible layout, {tuple(resolution)} points",
            f"{num_steps} of {stored} frames were written",
            f"boundary codes {setting.boundary.tolist()}",
        ),
    )


def _written_frames(file: Any, stored: int) -> int:
    """Frames before those that a crashed run left empty."""
    latest = np.asarray(file.attrs.get("latestIndex", stored - 1))
    if latest.size != 1 or latest.dtype.kind not in "iu" or latest.item() < 0:
        raise ValueError(
            f"open_source: expected the number of the last frame in the attribute latestIndex "
            f"of {file.filename}, got {latest!r}; the run wrote no frame, generate it again"
        )
    return min(int(latest.item()) + 1, stored)


def _times(dataset: Any, count: int, stored: int, num_steps: int) -> NDArray[np.float64]:
    """Times of the frames that were written, of all trajectories."""
    check_shape(dataset, (count, stored))
    if count * stored > MOST_POINTS:
        raise ValueError(
            f"open_source: expected at most {MOST_POINTS} times in {dataset.name} of "
            f"{dataset.file.filename}, got {count * stored}; download or generate it again"
        )
    times = np.asarray(dataset[()], np.float64)[:, :num_steps]
    if not (np.all(np.isfinite(times)) and np.all(np.diff(times) > 0)):
        raise ValueError(
            f"open_source: expected times that increase in {dataset.name} of "
            f"{dataset.file.filename}, got others in its first {num_steps} frames; download or "
            "generate it again"
        )
    return times
