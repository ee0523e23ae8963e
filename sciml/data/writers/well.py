"""Writing The Well's HDF5 layout: one file per shard, whole or not at all.

Source: R. Ohana et al., The Well, 2024, arXiv:2412.00568; layout as described by its data
format document. Every attribute is listed in ``data/README.md``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from sciml.data.sources.base import Source
from sciml.data.writers.atomic import write_atomically
from sciml.data.writers.well_layout import WellHeader, lay_out
from sciml.spec import DatasetSpec
from sciml.typing import StrPath

_BLOCK_BYTES = 2**26
_Block = tuple[int, int, bool, NDArray[Any]]
"""Trajectory, first frame, whether it has a time axis, and frames (t, c, *space)."""


@final
@dataclass(frozen=True)
class WellContents:
    """What goes into one file, in memory.

    Args:
        spec: Self-description; `out_fields` name the channels.
        fields: Trajectories.
        time: Time of each frame.
        params: Values of `spec.params` for each trajectory; none when there are no such.
        attributes: Further root attributes: text or numbers.

    Raises:
        ValueError: If the arrays contradict the spec or each other.
    """

    spec: DatasetSpec
    fields: Float[np.ndarray, "n t c *space"]
    time: Float[np.ndarray, " t"]
    params: Float[np.ndarray, "n p"] | None = None
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.spec.paired:
            raise ValueError(
                f"WellContents: expected trajectories, got the pairs of {self.spec.name}; "
                "write them from a source with write_well_from"
            )
        expected = (len(self.time), self.spec.out_channels, *self.spec.resolution)
        if self.fields.shape[1:] != expected:
            raise ValueError(
                f"WellContents: expected fields of shape (n, {', '.join(map(str, expected))}) "
                f"by {self.spec.name}'s spec and time, got {self.fields.shape}; correct one"
            )
        given = None if self.params is None else self.params.shape
        wanted = (len(self.fields), len(self.spec.params)) if self.spec.params else None
        if given != wanted:
            raise ValueError(
                f"WellContents: expected params of shape {wanted} for {self.spec.params}, got "
                f"{given}; give one value per trajectory and parameter"
            )


def write_well(path: StrPath, contents: WellContents) -> Path:
    """Write one file in The Well's layout, contiguous float32.

    The same contents give the same bytes. The file appears under its name only when it is
    complete and on disk, see `write_atomically`.

    Args:
        path: File to write; an existing one is replaced.
        contents: What to write.

    Returns:
        The path.

    Raises:
        OSError: If the folder cannot be made or written or the disk is full, with the remedy.
    """
    spec, fields = contents.spec, contents.fields
    # an axis that is not periodic is open as far as a spec can tell
    codes = np.array([[2, 2] if periodic else [1, 1] for periodic in spec.periodic], np.int64)
    header = WellHeader(
        spec=spec,
        num_trajectories=len(fields),
        time=np.asarray(contents.time, np.float64),
        params=np.empty((len(fields), 0)) if contents.params is None else contents.params,
        boundary=codes[None],
        attributes=contents.attributes,
    )
    return _write(path, header, ((n, 0, True, frames) for n, frames in enumerate(fields)))


def write_trajectory(
    path: StrPath,
    header: WellHeader,
    frames: Iterable[Float[np.ndarray, "c *space"]],
) -> Path:
    """Write one trajectory in The Well's layout while it is made, in constant memory.

    The file appears under its name only when every frame is there; if making them fails,
    nothing stays behind.

    Args:
        path: File to write; an existing one is replaced.
        header: What else stands in the file, of one trajectory.
        frames: Frames in the order of ``header.time``, channels as ``header.spec.out_fields``.

    Returns:
        The path.

    Raises:
        ValueError: If the header is of several trajectories or has fields without time axis, or
            number or shape of the frames differ from it.
        OSError: If the folder cannot be made or written or the disk is full, with the remedy.
    """
    if header.num_trajectories != 1 or header.still_fields:
        raise ValueError(
            f"write_trajectory: expected a header of one trajectory without static fields, got "
            f"{header.num_trajectories} and {[f.name for f in header.still_fields]}; write "
            "them with write_well_from"
        )
    return _write(path, header, _numbered(header, frames))


def write_well_from(
    path: StrPath,
    source: Source,
    *,
    trajectories: Sequence[int] | None = None,
    attributes: Mapping[str, str | int | float] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Write trajectories or pairs of a source in The Well's layout, in constant memory.

    Pairs become one frame of their outputs, and inputs without a time axis that the attribute
    ``input_fields`` names. The file appears under its name only when it is complete and on
    disk.

    Args:
        path: File to write; an existing one is replaced.
        source: Where fields are read, block by block.
        trajectories: Numbers of the trajectories, all of one length; all by default.
        attributes: Further root attributes: text or numbers.
        progress: Called with the number of trajectories written so far, after each.

    Returns:
        The path.

    Raises:
        ValueError: If the layout cannot hold what the source has.
        OSError: If the folder cannot be made or written or the disk is full, with the remedy.
    """
    total = source.num_trajectories
    numbers = list(range(total) if trajectories is None else map(int, trajectories))
    if not numbers or min(numbers) < 0 or max(numbers) >= total:
        raise ValueError(
            f"write_well_from: expected one or more of the trajectories 0 to {total - 1}, got "
            f"{numbers[:12]}; correct trajectories="
        )
    lengths = sorted({source.num_steps(number) for number in numbers})
    if len(lengths) > 1:
        raise ValueError(
            f"write_well_from: expected trajectories of one length in a file, got lengths "
            f"{lengths} in {source.spec.name}; write one file of each with trajectories="
        )
    times = np.stack([source.times(number) for number in numbers])
    header = WellHeader(
        spec=source.spec,
        num_trajectories=len(numbers),
        time=times[0] if (times == times[:1]).all() else times,
        params=np.stack([source.params(number) for number in numbers]),
        boundary=np.stack([source.boundary(number) for number in numbers]),
        static_fields=source.static_fields,
        attributes=dict(attributes or {}),
    )
    return _write(path, header, _read_blocks(source, numbers, header, progress))


def _write(path: StrPath, header: WellHeader, blocks: Iterator[_Block]) -> Path:
    """Lay a file out and stream the fields to their places."""
    target = Path(path)
    image, regions = lay_out(header)

    def write(partial: Path) -> None:
        with partial.open("r+b") as file:
            for offset, piece in image.pieces:
                file.seek(offset)
                file.write(piece)
            file.truncate(image.size)
            for number, start, in_time, frames in blocks:
                for region in regions:
                    if region.in_time != in_time:
                        continue
                    place = number * header.num_steps + start if in_time else number
                    file.seek(region.offset + place * region.frame_bytes)
                    file.write(region.arrange(frames).data)

    write_atomically(target, write)
    return target


def _numbered(header: WellHeader, frames: Iterable[NDArray[Any]]) -> Iterator[_Block]:
    """Frames of one trajectory as blocks, as many and of the shape that the header says."""
    shape = (header.spec.out_channels, *header.spec.resolution)
    count = 0
    for frame in frames:
        if frame.shape != shape or count == header.num_steps:
            raise ValueError(
                f"write_trajectory: expected {header.num_steps} frames of shape {shape}, got "
                f"one of {frame.shape} as number {count + 1}; correct the header's spec or time"
            )
        yield 0, count, True, frame[None]
        count += 1
    if count != header.num_steps:
        raise ValueError(
            f"write_trajectory: expected {header.num_steps} frames, got {count}; correct the "
            "header's time"
        )


def _read_blocks(
    source: Source,
    numbers: Sequence[int],
    header: WellHeader,
    progress: Callable[[int], object] | None,
) -> Iterator[_Block]:
    """Frames and fields without time axis, trajectory by trajectory."""
    spec = source.spec
    steps, channels = header.num_steps, max(spec.frame_channels, spec.out_channels)
    points = int(np.prod(spec.resolution))
    length = min(max(_BLOCK_BYTES // (4 * channels * points), 1), steps)
    frames = np.empty((length, spec.out_channels, *spec.resolution), np.float32)
    inputs = spec.frame_channels if spec.paired else 0
    still_channels = sum(item.components for item in header.still_fields)
    still = np.empty((1, still_channels, *spec.resolution), np.float32)
    for place, number in enumerate(numbers):
        if spec.paired:
            source.read(number, 0, 1, 1, still[:, :inputs])
            source.read_targets(number, frames[0])
            yield place, 0, True, frames
        else:
            for start in range(0, steps, length):
                stop = min(start + length, steps)
                source.read(number, start, stop, 1, frames[: stop - start])
                yield place, start, True, frames[: stop - start]
        if header.static_fields:
            source.read_static(number, still[0, inputs:])
        if still_channels:
            yield place, 0, False, still
        if progress is not None:
            progress(place + 1)
