"""Batches on an accelerator: frames that live there, and copies that overlap with work."""

import logging
from collections.abc import Callable
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml.data.sources.base import Source
from sciml.data.sources.resident import available_bytes, frame_bytes
from sciml.spec import Batch

_LOG = logging.getLogger(__name__)

_SHARE_OF_DEVICE = 0.25

Copy: TypeAlias = "tuple[Batch, torch.cuda.Event | None]"
"""A batch on its way, and what marks its arrival."""


@final
class DeviceFrames:
    """All frames of some trajectories in the memory of a device, gathered there by number.

    Args:
        source: The trajectories, or pairs, on a grid.
        trajectories: Numbers of the trajectories to keep.
        device: Where they are kept.
    """

    def __init__(
        self, source: Source, trajectories: NDArray[np.int64], device: torch.device
    ) -> None:
        spec = source.spec
        lengths = source.lengths[trajectories]
        self._starts = np.cumsum(lengths) - lengths
        shape = (int(lengths.sum()), spec.frame_channels, *spec.resolution)
        self._frames = torch.empty(shape, device=device)
        self._targets: Tensor | None = None
        if spec.paired:
            self._targets = torch.empty(
                (len(trajectories), spec.out_channels, *spec.resolution), device=device
            )
        for position, number in enumerate(trajectories.tolist()):
            steps, first = int(lengths[position]), int(self._starts[position])
            block = torch.empty((steps, *shape[1:]))
            source.read(number, 0, steps, 1, block.numpy())
            self._frames[first : first + steps] = block.to(device)
            if self._targets is not None:
                outputs = torch.empty(self._targets.shape[1:])
                source.read_targets(number, outputs.numpy())
                self._targets[position] = outputs.to(device)
        if device.type == "cuda":  # other streams will read what this one has written
            torch.cuda.synchronize(device)

    def frames(
        self,
        position: NDArray[np.int64],
        start: NDArray[np.int64],
        stride: NDArray[np.int64],
        count: int,
    ) -> Tensor:
        """Frames (b, count, c, *space) of windows.

        Args:
            position: Position of each window's trajectory in the list of trajectories.
            start: First frame of each window.
            stride: Distance of the frames of each window.
            count: Number of frames.
        """
        first = self._starts[position] + start
        rows = torch.from_numpy(first[:, None] + stride[:, None] * np.arange(count))
        gathered = self._frames.index_select(0, rows.flatten().to(self._frames.device))
        return gathered.view(len(first), count, *gathered.shape[1:])

    def targets(self, position: NDArray[np.int64]) -> Tensor:
        """Output fields (b, 1, c, *space) of pairs.

        Raises:
            ValueError: If the source holds trajectories.
        """
        if self._targets is None:
            raise ValueError(
                "DeviceFrames.targets: expected pairs, got trajectories; their targets are "
                "frames"
            )
        rows = torch.from_numpy(position).to(self._targets.device)
        return self._targets.index_select(0, rows)[:, None]


def fits_on(device: torch.device, source: Source, trajectories: NDArray[np.int64]) -> bool:
    """Whether the frames need less than a quarter of a device's free memory; says so if not."""
    if source.spec.unstructured:
        _LOG.info("%s: point clouds are read from memory or files", source.spec.name)
        return False
    needed = frame_bytes(source, trajectories)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()
    if needed < _SHARE_OF_DEVICE * free:
        return True
    _LOG.info(
        "%s: frames of %.1f GB are not kept on %s, which has %.1f GB free",
        source.spec.name,
        needed / 1e9,
        device,
        free / 1e9,
    )
    return False


@final
class DeviceCopies:
    """Brings batches to a device; on CUDA from another thread and on a stream of its own.

    The copy of one batch then overlaps with the work on the one before it. The consumer's
    stream waits for the copy, not the consumer, and the memory of a batch is not given out
    again before the consumer's work on it has ended.

    Args:
        device: Where batches go; None leaves them where they are.
    """

    def __init__(self, device: torch.device | None) -> None:
        self.device = device
        cuda = device is not None and device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]

    def start(
        self, read: Callable[[NDArray[np.int64]], Batch], indices: NDArray[np.int64]
    ) -> Copy:
        """Read a batch and begin to copy it; for the thread that reads ahead."""
        if self.device is None:
            return read(indices), None
        if self._stream is None:
            return read(indices).to(self.device), None
        with torch.cuda.stream(self._stream):
            batch = read(indices).to(self.device, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(self._stream)
        return batch, event

    def finish(self, batch: Batch, event: torch.cuda.Event | None) -> Batch:
        """Let the stream of the calling thread use a batch."""
        if event is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(event)
            for value in vars(batch).values():
                if value is not None:
                    value.record_stream(stream)
        return batch
