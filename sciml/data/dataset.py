"""Windows of trajectories as batches, read straight into one buffer."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from typing_extensions import override

from sciml.data.augment import Augmentation
from sciml.data.device import DeviceFrames, fits_on
from sciml.data.draws import Draw
from sciml.data.mixing import Mixture
from sciml.data.options import OpenOptions, WindowOptions
from sciml.data.samples import SampleReader
from sciml.data.sources import open_source
from sciml.data.sources.base import Source
from sciml.data.sources.mixed import MixedSource
from sciml.data.sources.prepared import prepare
from sciml.data.splits import Share, Trajectories, choose_splits
from sciml.data.windows import WindowIndex, Windows
from sciml.spec import Batch, DatasetSpec
from sciml.typing import StrPath

_MOST_THREADS = 4


def open_dataset(
    path: StrPath | Sequence[StrPath],
    *,
    split: str | None = None,
    splits: str | Mapping[str, Share] | None = None,
    root: StrPath = "data",
    format: str | None = None,  # noqa: A002  the public name of the option
    **options: Unpack[OpenOptions],
) -> "WindowedDataset":
    """Open a data set of any known format as windowed samples.

    Args:
        path: A file, a folder, or a plain name, which is looked up here, in `root` and in the
            folder that the environment variable ``SCIML_DATA`` names. Several paths are mixed
            into one data set.
        split: Only the trajectories of this split; all of them by default.
        splits: Name of a published split (`sciml.data.splits.PRESETS`), or shares (see
            `trajectory_splits`). By default the split folders or files that there are, else the
            split of the benchmark's papers, else 80, 10 and 10 percent as The Well's.
        root: Folder of data sets.
        format: Format name, to override the detection by content.
        options: Options of `OpenOptions`, and of `Windows`: history, horizon, stride, first,
            per_trajectory, max_stride.

    Raises:
        FileNotFoundError: If there is no such data set, or no data in it.
        ValueError: If the files are damaged, or do not allow what the options ask for.
    """
    given: dict[str, Any] = dict(options)
    augment, pseudo = given.pop("augment", None), given.pop("pseudo_fields", None)
    proportions = given.pop("proportions", None)
    threads = given.pop("reader_threads", None)
    changes = {k: given.pop(k) for k in ("fields", "resample", "residence") if k in given}
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not paths:
        raise ValueError("open_dataset: expected at least one path, got none; name a data set")
    opened = [open_source(_look_up(each, root), format=format) for each in paths]
    named = [choose_splits(source, splits) for source in opened]
    sources = [prepare(source, **changes) for source in opened]
    source, mixture = sources[0], None
    own_splits = named[0]
    if len(sources) > 1:
        source = MixedSource(sources, named)
        own_splits = source.splits
        if proportions is not None:
            mixture = Mixture(source.members, tuple(proportions))
    elif proportions is not None:
        raise ValueError(
            f"open_dataset: expected proportions for several data sets, got {proportions} for "
            f"{path}; pass a list of paths"
        )
    dataset = WindowedDataset(
        source,
        _windows(source, given),
        splits=own_splits,
        reader_threads=threads,
        augmentation=Augmentation(augment, source.spec, source.static_fields, pseudo)
        if augment
        else None,
        mixture=mixture,
        on_device=changes.get("residence") == "gpu",
    )
    return dataset if split is None else dataset.split(split)


def _windows(source: Source, options: Mapping[str, Any]) -> Windows:
    """Windows of a source; pairs have none in time."""
    return Windows(**{"horizon": 0, **options}) if source.spec.paired else Windows(**options)


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
        augmentation: Random symmetries of the samples that `batch` draws.
        mixture: Shares of the data sets that the source is made of, in `shuffled`.
        on_device: Whether to keep frames on the device that batches are asked for, as far as
            they fit.

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
        augmentation: Augmentation | None = None,
        mixture: Mixture | None = None,
        on_device: bool = False,
    ) -> None:
        self.source = source
        if reader_threads is None:
            reader_threads = 1 if source.memory_mapped else min(_MOST_THREADS, _num_cores())
        self._reader = SampleReader(source, reader_threads)
        self.augmentation = augmentation
        self.mixture = mixture
        self.on_device = on_device
        self._kept: dict[torch.device, DeviceFrames | None] = {}
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
        named: Mapping[str, Trajectories] = source.splits if splits is None else splits
        self._splits = dict(named)
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
    def reader_threads(self) -> int:
        """Threads that share the samples of a batch."""
        return self._reader.threads

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
        return self._with(self.windows, {}, self._splits[name])

    def windowed(self, **windows: Unpack[WindowOptions]) -> "WindowedDataset":
        """Other windows of the same trajectories; what is not named stays as it is."""
        return self._with(replace(self.windows, **windows), self._splits, self.trajectories)

    def _with(
        self,
        windows: Windows,
        splits: Mapping[str, Trajectories],
        trajectories: Sequence[int] | NDArray[np.int64],
    ) -> "WindowedDataset":
        """Other windows or trajectories, everything else the same."""
        return WindowedDataset(
            self.source,
            windows,
            splits=splits,
            trajectories=trajectories,
            reader_threads=self.reader_threads,
            augmentation=self.augmentation,
            mixture=self.mixture,
            on_device=self.on_device,
        )

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Leave frames on devices behind."""
        return {**self.__dict__, "_kept": {}}

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

    def shuffled(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Window numbers of an epoch: each one once, or in the proportions of the mixture."""
        if self.mixture is None:
            return generator.permutation(len(self)).astype(np.int64, copy=False)
        counts = self.windows.counts(self.lengths)
        return self.mixture.order(self.trajectories, counts, generator)

    def batch(
        self,
        indices: Sequence[int] | NDArray[np.int64],
        *,
        draw: Draw | None = None,
        device: torch.device | None = None,
    ) -> Batch:
        """Read windows by number, in one pass over the files in the order of their positions.

        Args:
            indices: Window numbers; negative ones count from the end.
            draw: Random numbers of an epoch, for random strides and augmentations; without
                them samples have the smallest stride and stay as they are.
            device: Where frames that are kept on a device should be gathered.

        Returns:
            The samples in the order asked for, in host memory (pinned once CUDA is in use), or
            frames on the device if they are kept there.

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
        stride = self._strides(numbers, position, start, draw)
        kept = self._frames_on(device)
        if kept is None:
            frames = self._reader.frames(trajectory, start, stride, self.windows.frames)
        else:
            frames = kept.frames(position, start, stride, self.windows.frames)
        history, horizon = self.windows.history, self.windows.horizon
        targets = frames[:, history:] if horizon else None
        if self.source.spec.paired:
            own = self._reader.targets(trajectory) if kept is None else kept.targets(position)
            targets = own
        batch = Batch(
            # frames and channels lie next to each other, so that flattening them is a view
            inputs=frames[:, :history].flatten(1, 2),
            targets=targets,
            index=torch.from_numpy(np.stack([trajectory, start], axis=1)),
            **self._reader.rest(trajectory, start, stride, self.windows),
        )
        if draw is None or self.augmentation is None:
            return batch
        return self.augmentation(batch, draw, numbers.tolist())

    def _strides(
        self,
        numbers: NDArray[np.int64],
        position: NDArray[np.int64],
        start: NDArray[np.int64],
        draw: Draw | None,
    ) -> NDArray[np.int64]:
        """Distance of the frames of each window."""
        draws = None
        if draw is not None and self.windows.max_stride is not None:
            draws = draw.uniform(numbers.tolist(), 1, "stride")[:, 0]
        return self.windows.strides(start, self.lengths[position], draws)

    def _frames_on(self, device: torch.device | None) -> DeviceFrames | None:
        """The frames of the trajectories in use on a device, if they are kept there."""
        if device is None or not self.on_device:
            return None
        if device not in self._kept:
            fits = fits_on(device, self.source, self.trajectories)
            self._kept[device] = (
                DeviceFrames(self.source, self.trajectories, device) if fits else None
            )
        return self._kept[device]


def _num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
