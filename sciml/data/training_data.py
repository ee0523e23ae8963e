"""What training needs of data, wherever they come from."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from sciml.data.epochs import EpochLoader
from sciml.data.statistics import DataStatistics
from sciml.spec import DatasetSpec


class TrainingData(ABC):
    """Batches to train and to validate on."""

    default_normalization: ClassVar[str] = "zscore"
    """Normalisation of a model that is fitted without naming one."""

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Training samples of a batch, over all processes together."""

    @property
    @abstractmethod
    def spec(self) -> DatasetSpec:
        """Self-description of the data."""

    @property
    @abstractmethod
    def has_targets(self) -> bool:
        """Whether batches hold what a model has to predict; else the objective knows it."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What a resumed run has to find unchanged besides the spec, in plain values."""

    @abstractmethod
    def has_split(self, name: str) -> bool:
        """Whether there are samples for a purpose: train, valid or test."""

    @abstractmethod
    def train_loader(self, horizon: int, rank: int = 0, world_size: int = 1) -> EpochLoader:
        """Training batches with `horizon` target frames for one of several processes."""

    @abstractmethod
    def validation_loader(self) -> EpochLoader:
        """Batches to validate on, the same ones every time.

        Raises:
            ValueError: If there is no validation split.
        """

    @abstractmethod
    def statistics(self, *, per_point: bool = False) -> DataStatistics:
        """Statistics of the training samples.

        Raises:
            ValueError: If these data have none.
        """
