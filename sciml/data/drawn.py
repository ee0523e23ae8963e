"""Training data that are drawn on the fly: no file, no epoch repeats a sample."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NoReturn, final

from typing_extensions import override

from sciml.data.epochs import EpochLoader
from sciml.data.plan import Plan
from sciml.data.training_data import TrainingData
from sciml.simulate.sampler import Sampler
from sciml.spec import Batch, DatasetSpec


@final
class DrawnLoader(EpochLoader):
    """Batches of consecutive samples of a series.

    Sample i of epoch e has number e · num_samples + i, so that the order is a function of the
    epoch alone and a run resumes anywhere. Of several ranks each draws every `world_size`-th
    sample of every batch.

    Args:
        sampler: Draws the samples.
        seed: Seed of the series.
        batch_size: Samples of a batch, over all ranks together.
        num_samples: Samples of an epoch.
        repeated: Whether every epoch is the first one, as validation wants it.
        rank: This process.
        world_size: Number of processes.

    Raises:
        ValueError: If `world_size` does not divide `batch_size` and the last batch, or a number
            is out of range.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        seed: int,
        batch_size: int,
        num_samples: int,
        repeated: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1 or num_samples < 1 or not 0 <= rank < world_size or seed < 0:
            raise ValueError(
                "DrawnLoader: expected batch_size >= 1, num_samples >= 1, seed >= 0 and 0 <= "
                f"rank < world_size, got {batch_size}, {num_samples}, {seed}, rank {rank} of "
                f"{world_size}; correct them"
            )
        if batch_size % world_size or num_samples % batch_size % world_size:
            raise ValueError(
                f"DrawnLoader: expected batches divisible by {world_size} processes, got "
                f"{num_samples} samples in batches of {batch_size}; take multiples of "
                f"{world_size}"
            )
        super().__init__(num_samples, batch_size)
        self.sampler = sampler
        self.seed = seed
        self.repeated = repeated
        self.rank, self.world_size = rank, world_size

    @override
    def __iter__(self) -> Iterator[Batch]:
        """The rest of the epoch that was set; the next pass is the epoch after it."""
        epoch, first = self._epoch, self._position
        self._epoch, self._position = epoch + 1, 0
        for number in range(first, len(self)):
            batch = self.sampler.draw(self.seed, self._indices(epoch, number))
            yield batch if self.device is None else batch.to(self.device)

    def _indices(self, epoch: int, number: int) -> Sequence[int]:
        """This rank's sample numbers of a batch."""
        start = number * self.batch_size
        stop = min(start + self.batch_size, self.num_samples)
        offset = 0 if self.repeated else epoch * self.num_samples
        return range(offset + start, offset + stop)[self.rank :: self.world_size]


@final
class DrawnData(TrainingData):
    """Samples of a series to train on, those of another to validate on.

    Args:
        sampler: Draws training samples.
        batch_size: Training samples of a batch, over all processes together.
        epoch_size: Training samples between two validations.
        validation: Draws validation samples; None for no validation.
        validation_size: Number of validation samples, in one batch.
        validation_seed: Their seed, the same for all runs, so that runs compare.
        seed: Seed of the training samples.

    Raises:
        ValueError: If a number is out of range or both samplers describe other fields.
    """

    default_normalization: ClassVar[str] = "none"

    def __init__(
        self,
        sampler: Sampler,
        *,
        batch_size: int,
        epoch_size: int,
        validation: Sampler | None = None,
        validation_size: int = 2,
        validation_seed: int = 7919,
        seed: int = 0,
    ) -> None:
        if validation is not None and (
            validation.spec.in_fields != sampler.spec.in_fields
            or validation.spec.ndim != sampler.spec.ndim
        ):
            raise ValueError(
                "DrawnData: expected validation samples with the fields "
                f"{[f.name for f in sampler.spec.in_fields]} on {sampler.spec.ndim} axes, got "
                f"{[f.name for f in validation.spec.in_fields]} on {validation.spec.ndim}; "
                "draw the same kind of samples for both"
            )
        self.sampler = sampler
        self.validation = validation
        self.epoch_size = epoch_size
        self.validation_size = validation_size
        self.validation_seed = validation_seed
        self.seed = seed
        self._batch_size = batch_size
        self.train_loader(1)  # refuses numbers out of range now

    @property
    @override
    def batch_size(self) -> int:
        return self._batch_size

    @property
    @override
    def spec(self) -> DatasetSpec:
        return self.sampler.spec

    @property
    @override
    def has_targets(self) -> bool:
        return False

    @property
    @override
    def settings(self) -> dict[str, Any]:
        return {"sampler": repr(self.sampler), "epoch_size": self.epoch_size}

    @override
    def has_split(self, name: str) -> bool:
        return name == "train" or (name == "valid" and self.validation is not None)

    @override
    def train_loader(self, horizon: int, rank: int = 0, world_size: int = 1) -> DrawnLoader:
        """Training batches for one of several processes; `horizon` has no meaning here."""
        return DrawnLoader(
            self.sampler,
            seed=self.seed,
            batch_size=self.batch_size,
            num_samples=self.epoch_size,
            rank=rank,
            world_size=world_size,
        )

    @override
    def validation_loader(self) -> DrawnLoader:
        if self.validation is None:
            raise ValueError(
                f"DrawnData: expected validation samples of {self.spec.name!r}, got none; pass "
                "validation="
            )
        return DrawnLoader(
            self.validation,
            seed=self.validation_seed,
            batch_size=self.validation_size,
            num_samples=self.validation_size,
            repeated=True,
        )

    @override
    def statistics(self, *, per_point: bool = False) -> NoReturn:
        raise ValueError(
            f"DrawnData: expected no normalisation of {self.spec.name!r}, whose samples are "
            "drawn as the model wants them, got a request for statistics; use "
            "normalization=none (kind='none')"
        )


@final
class DrawnPlan(Plan):
    """What a configuration says about data that are drawn on the fly.

    Args:
        sampler: Draws training samples.
        batch_size: Training samples of a batch.
        epoch_size: Training samples between two validations.
        validation: Draws validation samples; None for no validation.
        validation_size: Number of validation samples.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        batch_size: int,
        epoch_size: int,
        validation: Sampler | None = None,
        validation_size: int = 2,
    ) -> None:
        self._open = {
            "batch_size": batch_size,
            "epoch_size": epoch_size,
            "validation_size": validation_size,
        }
        self.sampler = sampler
        self.validation = validation
        self.open(0)

    @property
    @override
    def has_targets(self) -> bool:
        return False

    @override
    def spec(self) -> DatasetSpec:
        return self.sampler.spec

    @override
    def open(self, seed: int) -> DrawnData:
        return DrawnData(self.sampler, validation=self.validation, seed=seed, **self._open)
