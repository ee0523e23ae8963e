"""The views of one data set that training and evaluation need."""

import logging
import math
from collections.abc import Iterator
from typing import Any, final

from typing_extensions import override

from sciml.data.dataset import WindowedDataset
from sciml.data.loader import BatchLoader
from sciml.data.statistics import DataStatistics
from sciml.data.statistics_cache import cached_statistics
from sciml.data.training_data import TrainingData
from sciml.data.well_statistics import read_well_statistics
from sciml.spec import Batch, DatasetSpec
from sciml.typing import StrPath

_LOG = logging.getLogger(__name__)

_VALIDATION_BYTES = 2**26
_VALIDATION_SAMPLES = 32


@final
class DataModule(TrainingData):
    """Training samples, rollouts and statistics of one data set with splits.

    Pairs of inputs and outputs have no rollouts: their samples serve for all purposes.

    Args:
        dataset: The data set with all of its splits; the stride of its windows is the distance
            of a model's frames.
        batch_size: Training samples of a batch, over all processes together.
        history: Frames h that the model reads.
        rollout_from: Frame at which rollouts start, that is the last input frame; by default
            the middle frame of the shortest trajectory, so that half of it is predicted.
        rollout_steps: Frames that a rollout predicts; by default up to the end of the shortest
            trajectory.
        seed: Seed of the training order.
        statistics_file: The Well's ``stats.yaml``, whose values are used instead of statistics
            of the training split as far as they cover it: all fields, frames one apart, no
            statistics of points. They have four significant digits, and save a pass over the
            data.

    Raises:
        ValueError: If the data set has no training split, rollouts do not fit trajectories, or
            there are published statistics of pairs.
    """

    def __init__(
        self,
        dataset: WindowedDataset,
        *,
        batch_size: int = 4,
        history: int = 1,
        rollout_from: int | None = None,
        rollout_steps: int | None = None,
        seed: int = 0,
        statistics_file: StrPath | None = None,
    ) -> None:
        if "train" not in dataset.split_names:
            raise ValueError(
                f"DataModule: expected a data set with a train split, got the splits "
                f"{list(dataset.split_names)}; pass the whole data set, or define splits= when "
                "opening it"
            )
        self._batch_size = batch_size
        self.seed = seed
        self.statistics_file = statistics_file
        self._statistics: dict[bool, DataStatistics] = {}
        if dataset.spec.paired:
            given = {
                "rollout_from": rollout_from,
                "rollout_steps": rollout_steps,
                "statistics_file": statistics_file,
            }
            if history != 1 or set(given.values()) != {None}:
                raise ValueError(
                    f"DataModule: expected no history and no rollout of {dataset.spec.name}, "
                    "whose samples are pairs of inputs and outputs, got history="
                    f"{history}, {given}; leave them out"
                )
            self.dataset = dataset
            return
        self.dataset = dataset.windowed(
            history=history, horizon=1, first=0, per_trajectory=None
        )
        shortest, stride = int(dataset.lengths.min()), dataset.windows.stride
        start = (shortest - 1) // 2 if rollout_from is None else rollout_from
        first = start - stride * (history - 1)
        steps = (shortest - 1 - start) // stride if rollout_steps is None else rollout_steps
        if first < 0 or steps < 1 or start + stride * steps >= shortest:
            raise ValueError(
                f"DataModule: expected rollouts within trajectories of {shortest} frames, got "
                f"{history} input frames up to frame {start} and {steps} steps of {stride} "
                "frames; change history, rollout_from or rollout_steps"
            )
        self.rollout_from = start
        self.rollout_steps = steps
        self._rollout_first = first

    @property
    @override
    def batch_size(self) -> int:
        return self._batch_size

    @property
    @override
    def spec(self) -> DatasetSpec:
        """Self-description of the data set, with the history."""
        return self.dataset.spec

    @property
    @override
    def has_targets(self) -> bool:
        return True

    @property
    @override
    def settings(self) -> dict[str, Any]:
        return {}

    @override
    def has_split(self, name: str) -> bool:
        """Whether the data set has trajectories for a purpose."""
        return name in self.dataset.split_names

    @override
    def train_loader(self, horizon: int, rank: int = 0, world_size: int = 1) -> BatchLoader:
        """Shuffled windows of the training trajectories with `horizon` target frames, or pairs.

        An objective of several steps refuses pairs before it asks (`Objective.check_spec`).
        """
        train = self.dataset.split("train")
        return BatchLoader(
            train if self.spec.paired else train.windowed(horizon=horizon),
            batch_size=self.batch_size,
            shuffle=True,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )

    @override
    def validation_loader(self) -> BatchLoader:
        """Rollouts of the validation trajectories, in batches of at most 64 MiB.

        Rollouts and not single steps, because the error of a rollout is what a model is chosen
        for.

        Raises:
            ValueError: If there is no validation split.
        """
        rollouts = self.rollout_dataset("valid")
        spec = self.spec
        frame_bytes = 4 * spec.frame_channels * math.prod(spec.resolution)
        fitting = _VALIDATION_BYTES // (frame_bytes * rollouts.windows.frames)
        size = max(1, min(fitting, _VALIDATION_SAMPLES, len(rollouts)))
        return BatchLoader(rollouts, batch_size=size)

    def rollout_dataset(self, split: str) -> WindowedDataset:
        """One window of each trajectory of a split: inputs up to `rollout_from`, then targets.

        Of pairs, the split's samples.

        Raises:
            ValueError: If there is no such split.
        """
        if self.spec.paired:
            return self.dataset.split(split)
        return self.dataset.split(split).windowed(
            horizon=self.rollout_steps, first=self._rollout_first, per_trajectory=1
        )

    def rollout_chunks(
        self, split: str, *, batch_size: int, chunk_steps: int
    ) -> Iterator[Batch]:
        """Rollouts of a split in pieces, whose memory does not grow with their length.

        Trajectories come in groups of `batch_size`, and those of a group piece by piece in the
        order of time: the targets of each batch follow on those of the one before. Inputs are
        the true frames before the targets; those of the first piece begin the rollout.

        Args:
            split: Name of the split.
            batch_size: Trajectories of a group.
            chunk_steps: Most target frames of a batch.

        Raises:
            ValueError: If there is no such split, the samples are pairs, or a size is below
                one.
        """
        if self.spec.paired or batch_size < 1 or chunk_steps < 1:
            raise ValueError(
                "DataModule.rollout_chunks: expected trajectories, batch_size >= 1 and "
                f"chunk_steps >= 1, got {'pairs' if self.spec.paired else 'trajectories'}, "
                f"{batch_size} and {chunk_steps}; correct them"
            )
        rollouts = self.rollout_dataset(split)
        stride = rollouts.windows.stride
        pieces = [
            rollouts.windowed(
                horizon=min(chunk_steps, self.rollout_steps - done),
                first=self._rollout_first + stride * done,
            )
            for done in range(0, self.rollout_steps, chunk_steps)
        ]
        for start in range(0, len(rollouts), batch_size):
            for piece in pieces:
                yield piece.batch(range(start, min(start + batch_size, len(rollouts))))

    def one_step_dataset(self, split: str) -> WindowedDataset:
        """All windows of a split with one target frame.

        Raises:
            ValueError: If there is no such split.
        """
        return self.dataset.split(split)

    @override
    def statistics(self, *, per_point: bool = False) -> DataStatistics:
        """Statistics of the training split's fields and increments.

        Computed once in a process; those of large data sets once for all runs.

        Args:
            per_point: Of every point of a channel instead of every channel.
        """
        if per_point not in self._statistics:
            train = self.dataset.split("train")
            self._statistics[per_point] = self._published(
                train, per_point
            ) or cached_statistics(
                train.source,
                train.trajectories.tolist(),
                lag=train.windows.stride,
                per_point=per_point,
            )
        return self._statistics[per_point]

    def _published(self, train: WindowedDataset, per_point: bool) -> DataStatistics | None:
        """Statistics of the file, if there is one and it has what is asked for."""
        if self.statistics_file is None:
            return None
        found = read_well_statistics(
            self.statistics_file,
            train.source.spec,
            num_frames=int(train.lengths.sum()),
            num_steps=int(train.lengths.min()),
        )
        if found.field and found.increment and train.windows.stride == 1 and not per_point:
            return DataStatistics(found.field, found.field, found.increment)
        _LOG.info("%s does not cover what is asked for: computing it", self.statistics_file)
        return None
