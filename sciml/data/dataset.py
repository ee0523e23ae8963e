"""Windows of trajectories as batches, read straight into one buffer."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from sciml.data.buffers import BufferPool
from sciml.data.sources import open_source
from sciml.data.sources.base import Source
from sciml.data.sources.resident import ResidentSource, fits_in_memory
from sciml.data.splits import Share, Trajectories, choose_splits
from sciml.data.windows import WindowIndex, Windows
from sciml.spec import Batch, DatasetSpec
from sciml.typing import StrPath

RESIDENCES = ("auto", "stream", "ram")
"""Where frames live: files, memory, or memory when that is faster and they fit."""

_MOST_THREADS = 4


class WindowOptions(TypedDict, total=False):
    """Options of `Windows`, all of them optional."""

    history: int
    horizon: int
    stride: int
    first: int
    per_trajectory: int | None


def open_dataset(
    path: StrPath,
    *,
    split: str | None = None,
    splits: str | Mapping[str, Share] | None = None,
    root: StrPath = "data",
    format: str | None = None,  # noqa: A002  the public name of the option
    residence: str = "auto",
    reader_threads: int | None = None,
    **windows: Unpack[WindowOptions],
) -> "WindowedDataset":
    """Open a data set of any known format as windowed samples.

    Args:
        path: A file, a folder, or a plain name, which is looked up here, in `root` and in the
            folder that the environment variable ``SCIML_DATA`` names.
        split: Only the trajectories of this split; all of them by default.
        splits: Name of a published split (`sciml.data.splits.PRESETS`), or shares (see
            `trajectory_splits`). By default the split folders or files that there are, else the
            split of the benchmark's papers, else 80, 10 and 10 percent as The Well's.
        root: Folder of data sets.
        format: Format name, to override the detection by content.
        residence: ``"ram"`` keeps frames in memory after the first read, ``"stream"`` reads
            files every time. ``"auto"`` keeps them when the files cannot be memory-mapped and
            all frames need less than a quarter of the available memory.
        reader_threads: See `WindowedDataset`.
        windows: Options of `Windows`: history, horizon, stride, first, per_trajectory.

    Raises:
        FileNotFoundError: If there is no such data set, or no data in it.
        ValueError: If the files are damaged, or hold no window or split as asked for.
    """
    if residence not in RESIDENCES:
        raise ValueError(
            f"open_dataset: expected a residence of {RESIDENCES}, got {residence!r}; use auto"
        )
    source = open_source(_look_up(path, root), format=format)
    named = choose_splits(source, splits)
    keep = residence == "ram" or (
        residence == "auto" and not source.memory_mapped and fits_in_memory(source)
    )
    frames = ResidentSource(source) if keep else source
    dataset = WindowedDataset(
        frames, _windows(source, windows), splits=named, reader_threads=reader_threads
    )
    return dataset if split is None else dataset.split(split)


def _windows(source: Source, options: WindowOptions) -> Windows:
    """Windows of a source; pairs have none in time."""
    return Windows(**({"horizon": 0} | options)) if source.spec.paired else Windows(**options)


def _look_up(path: StrPath, root: StrPath) -> Path:
    """The path itself if it exists, else the entry of a data folder that a plain name means."""
    target = Path(path)
    folders = [Path(root)]
    if "SCIML_DATA" in os.environ:
        folders.append(Path(os.environ["SCIML_DATA"]))
    if target.exists() or len(target.parts) != 1:
        return target
    candidates = [folder / target for folder in folders]
    # with nothing found, the error below names the nearest entry of the first data folder
    fallback = candidates[0] if folders[0].is_dir() else target
    return next((candidate for candidate in candidates if candidate.exists()), fallback)


@final
class WindowedDataset(Dataset[Batch]):
    """Samples of h input and t target frames of the trajectories of a source, or its pairs.

    A batch is one buffer (b, h + t, c, *space) that the source fills in the order of the files;
    inputs and targets are views of it. There are no tensors of single samples and nothing to
    collate: give `torch.utils.data.DataLoader` a `collate_fn` that returns its argument, or use
    `sciml.data.loader.BatchLoader`.

    The points of clouds of different sizes are filled up with zeros to the largest one;
    ``Batch.mask`` says which ones count.

    Args:
        source: The trajectories, or pairs.
        windows: Frames of a sample; for pairs the input alone, ``Windows(horizon=0)``.
        splits: Named splits of the source's trajectories; the source's own by default.
        trajectories: Numbers, in the source, of the trajectories in use; all by default.
        reader_threads: Threads that share the samples of a batch; neither their order nor
            their values depend on it. By default one where reading is a copy from mapped
            memory, which one thread does as fast as the memory allows, else one for each core
            up to four, as filtered chunks are decoded by the thread that reads them.

    Raises:
        ValueError: If no trajectory is long enough for a window, or windows in time are asked
        of pairs.
    """

    def __init__(
        self,
        source: Source,
        windows: Windows | None = None,
        *,
        splits: Mapping[str, Trajectories] | None = None,
        trajectories: Sequence[int] | NDArray[np.int64] | None = None,
        reader_threads: int | None = None,
    ) -> None:
        if reader_threads is None:
            reader_threads = 1 if source.memory_mapped else min(_MOST_THREADS, _num_cores())
        if reader_threads < 1:
            raise ValueError(
                f"WindowedDataset: expected reader_threads >= 1, got {reader_threads}; leave "
                "it out to choose by the kind of files"
            )
        self.source = source
        self.reader_threads = reader_threads
        self._buffers = BufferPool()
        self.windows = windows or _windows(source, {})
        if source.spec.paired and replace(self.windows, per_trajectory=None) != Windows(
            horizon=0
        ):
            raise ValueError(
                f"WindowedDataset: expected no windows in time for {source.spec.name}, whose "
                f"samples are pairs of inputs and outputs, got {self.windows}; leave history, "
                "horizon, stride and first out"
            )
        if trajectories is None:
            trajectories = range(source.num_trajectories)
        self.trajectories = np.asarray(trajectories, np.int64)
        self._splits: dict[str, Trajectories] = dict(source.splits if splits is None else splits)
        self._index = WindowIndex(self.windows, self.lengths)
        if not len(self._index):
            longest = int(self.lengths.max(initial=0))
            raise ValueError(
                "WindowedDataset: expected a trajectory of at least "
                f"{self.windows.first + self.windows.span} frames for {self.windows}, got at "
                f"most {longest} frames in {source.spec.name}; lower history, horizon, stride "
                "or first"
            )

    @property
    def spec(self) -> DatasetSpec:
        """Self-description as a model sees it: with the history and stride of the windows."""
        spec = self.source.spec
        dt = None if spec.dt is None else spec.dt * self.windows.stride
        return replace(spec, history=self.windows.history, dt=dt)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of frames of each trajectory in use."""
        return self.source.lengths[self.trajectories]

    @property
    def num_trajectories(self) -> int:
        """Number of trajectories in use."""
        return len(self.trajectories)

    @property
    def split_names(self) -> tuple[str, ...]:
        """Splits that `split` can take; none once a split was taken."""
        return tuple(self._splits)

    def split(self, name: str) -> "WindowedDataset":
        """The same windows of one split's trajectories.

        Raises:
            ValueError: If there is no such split.
        """
        if name not in self._splits:
            raise ValueError(
                f"WindowedDataset.split: expected one of {list(self.split_names)}, got "
                f"{name!r}; take a split of the whole data set, or define it with splits="
            )
        chosen = self._splits[name]
        return WindowedDataset(
            self.source,
            self.windows,
            splits={},
            trajectories=chosen,
            reader_threads=self.reader_threads,
        )

    def windowed(self, **windows: Unpack[WindowOptions]) -> "WindowedDataset":
        """Other windows of the same trajectories; what is not named stays as it is."""
        return WindowedDataset(
            self.source,
            replace(self.windows, **windows),
            splits=self._splits,
            trajectories=self.trajectories,
            reader_threads=self.reader_threads,
        )

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._index)

    @override
    def __getitem__(self, index: int) -> Batch:
        """One sample, as a batch of one."""
        return self.batch([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch; the name is the one that `torch.utils.data.DataLoader` looks for."""
        return self.batch(indices)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Read windows by number, in one pass over the files in the order of their positions.

        Args:
            indices: Window numbers; negative ones count from the end.

        Returns:
            The samples in the order asked for, in host memory (pinned once CUDA is in use).

        Raises:
            IndexError: If a number is out of range.
        """
        numbers = np.asarray(indices, np.int64)
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        if numbers.size == 0 or numbers.min() < 0 or numbers.max() >= len(self):
            raise IndexError(
                f"WindowedDataset.batch: expected window numbers below {len(self)}, got "
                f"{np.asarray(indices).tolist()}; see len()"
            )
        position, start = self._index.locate(numbers)
        trajectory = self.trajectories[position]
        frames = self._read_frames(trajectory, start)
        history = self.windows.history
        return Batch(
            # frames and channels lie next to each other, so that flattening them is a view
            inputs=frames[:, :history].flatten(1, 2),
            targets=self._targets(trajectory, frames[:, history:]),
            index=torch.from_numpy(np.stack([trajectory, start], axis=1)),
            **self._read_rest(trajectory, start),
        )

    def _read_frames(self, trajectory: NDArray[np.int64], start: NDArray[np.int64]) -> Tensor:
        """Frames (b, h + t, c, *space)."""
        spec = self.source.spec
        span, stride = self.windows.span, self.windows.stride
        shape = (len(start), self.windows.frames, spec.frame_channels, *spec.resolution)
        # page-locked memory has a pool of its own, which waits for copies under way
        pinned = _cuda_in_use()
        frames = torch.empty(shape, pin_memory=True) if pinned else self._buffers.take(shape)
        buffer = frames.numpy()

        def read(samples: NDArray[np.int64]) -> None:
            for sample in samples.tolist():
                first = int(start[sample])
                number = int(trajectory[sample])
                out = buffer[sample]
                if spec.unstructured:
                    points = self.source.num_points(number)
                    out[..., points:] = 0.0
                    out = out[..., :points]
                self.source.read(number, first, first + span, stride, out)

        order = np.lexsort((start, trajectory))
        threads = min(self.reader_threads, len(order))
        if threads == 1:
            read(order)
            return frames
        # neighbours in the files stay with one thread, which keeps the chunks it has decoded;
        # threads end with the batch, so that there are none to pickle, fork or close
        with ThreadPoolExecutor(threads, thread_name_prefix="sciml-reader") as executor:
            list(executor.map(read, np.array_split(order, threads)))
        return frames

    def _targets(self, trajectory: NDArray[np.int64], later: Tensor) -> Tensor | None:
        """Output fields of pairs, else the frames after the history."""
        if not self.source.spec.paired:
            return later if self.windows.horizon else None
        spec = self.source.spec
        # a point cloud may have fewer points than the buffer
        shape = (len(trajectory), 1, spec.out_channels, *spec.resolution)
        targets = torch.zeros(shape) if spec.unstructured else torch.empty(shape)
        for sample, i in enumerate(trajectory.tolist()):
            points = self._points(i)
            self.source.read_targets(i, targets[sample, 0][..., :points].numpy())
        return targets

    def _points(self, trajectory: int) -> int | None:
        """Length of the last axis that a trajectory fills; None is all of it."""
        cloud = self.source.spec.unstructured
        return self.source.num_points(trajectory) if cloud else None

    def _read_rest(
        self, trajectory: NDArray[np.int64], start: NDArray[np.int64]
    ) -> dict[str, Tensor]:
        """Parameters, static fields, boundary codes and times, as far as there are any."""
        source, spec = self.source, self.source.spec
        numbers = trajectory.tolist()
        last_input = start + self.windows.stride * (self.windows.history - 1)
        steps = last_input[:, None] + self.windows.stride * np.arange(self.windows.horizon + 1)
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


def _num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cuda_in_use() -> bool:
    """Whether batches will be copied to CUDA, which is faster from page-locked memory."""
    # asking whether CUDA is available would initialise it, also in worker processes
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
