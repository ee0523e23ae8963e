"""What the samples of a batch hold, read from a source into one buffer."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml.data.buffers import BufferPool
from sciml.data.sources.base import Source
from sciml.data.windows import Windows


@final
class SampleReader:
    """Reads frames, output fields and all that goes with them.

    Args:
        source: The trajectories, or pairs.
        threads: Threads that share the samples of a batch.

    Raises:
        ValueError: If `threads` is below one.
    """

    def __init__(self, source: Source, threads: int) -> None:
        if threads < 1:
            raise ValueError(
                f"WindowedDataset: expected reader_threads >= 1, got {threads}; leave "
                "it out to choose by the kind of files"
            )
        self.source = source
        self.threads = threads
        self._buffers = BufferPool()

    def frames(
        self,
        trajectory: NDArray[np.int64],
        start: NDArray[np.int64],
        stride: NDArray[np.int64],
        count: int,
    ) -> Tensor:
        """Frames (b, count, c, *space) of windows, in host memory.

        Args:
            trajectory: Trajectory of each window.
            start: First frame of each window.
            stride: Distance of the frames of each window.
            count: Number of frames.
        """
        spec = self.source.spec
        shape = (len(start), count, spec.frame_channels, *spec.resolution)
        # page-locked memory has a pool of its own, which waits for copies under way
        pinned = _cuda_in_use()
        frames = torch.empty(shape, pin_memory=True) if pinned else self._buffers.take(shape)
        buffer = frames.numpy()

        def read(samples: NDArray[np.int64]) -> None:
            for sample in samples.tolist():
                first, step = int(start[sample]), int(stride[sample])
                number = int(trajectory[sample])
                out = buffer[sample]
                if spec.unstructured:
                    points = self.source.num_points(number)
                    out[..., points:] = 0.0
                    out = out[..., :points]
                self.source.read(number, first, first + step * (count - 1) + 1, step, out)

        order = np.lexsort((start, trajectory))
        threads = min(self.threads, len(order))
        if threads == 1:
            read(order)
            return frames
        # neighbours in the files stay with one thread, which keeps the chunks it has decoded;
        # threads end with the batch, so that there are none to pickle, fork or close
        with ThreadPoolExecutor(threads, thread_name_prefix="sciml-reader") as executor:
            list(executor.map(read, np.array_split(order, threads)))
        return frames

    def targets(self, trajectory: NDArray[np.int64]) -> Tensor:
        """Output fields (b, 1, c, *space) of pairs."""
        spec = self.source.spec
        # a point cloud may have fewer points than the buffer
        shape = (len(trajectory), 1, spec.out_channels, *spec.resolution)
        targets = torch.zeros(shape) if spec.unstructured else torch.empty(shape)
        for sample, i in enumerate(trajectory.tolist()):
            points = self.source.num_points(i) if spec.unstructured else None
            self.source.read_targets(i, targets[sample, 0][..., :points].numpy())
        return targets

    def rest(
        self,
        trajectory: NDArray[np.int64],
        start: NDArray[np.int64],
        stride: NDArray[np.int64],
        windows: Windows,
    ) -> dict[str, Tensor]:
        """Parameters, static fields, boundary codes and times, as far as there are any."""
        source, spec = self.source, self.source.spec
        numbers = trajectory.tolist()
        last_input = start + stride * (windows.history - 1)
        steps = last_input[:, None] + stride[:, None] * np.arange(windows.horizon + 1)
        if spec.paired:  # the outputs belong to the time of the inputs
            steps = np.repeat(steps, 2, axis=1)
        times = [source.times(i)[row] for i, row in zip(numbers, steps, strict=True)]
        boundary = [source.boundary(i) for i in numbers]
        rest: dict[str, Any] = {
            "times": torch.from_numpy(np.stack(times)),
            "boundary": torch.from_numpy(np.stack(boundary)),
        }
        if spec.params:
            params = np.stack([source.params(i) for i in numbers])
            rest["params"] = torch.from_numpy(params).to(torch.float32)
        if spec.unstructured:
            rest["coords"] = torch.zeros((len(numbers), spec.resolution[0], spec.ndim))
            rest["mask"] = torch.zeros((len(numbers), spec.resolution[0]), dtype=torch.bool)
            for sample, i in enumerate(numbers):
                points = source.num_points(i)
                rest["mask"][sample, :points] = True
                source.read_coords(i, rest["coords"][sample, :points].numpy())
        channels = sum(field.components for field in source.static_fields)
        if channels:
            rest["static"] = torch.empty((len(numbers), channels, *spec.resolution))
            for sample, i in enumerate(numbers):
                source.read_static(i, rest["static"][sample].numpy())
        return rest


def _cuda_in_use() -> bool:
    """Whether batches will be copied to CUDA, which is faster from page-locked memory."""
    # asking whether CUDA is available would initialise it, also in worker processes
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
