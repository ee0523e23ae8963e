"""Training samples that are drawn when they are needed instead of read from files."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from sciml.spec import Batch, DatasetSpec


class Sampler(ABC):
    """An endless numbered series of samples.

    Subclasses are frozen dataclasses of plain values, whose text is what a resumed run is
    compared with.
    """

    @property
    @abstractmethod
    def spec(self) -> DatasetSpec:
        """Self-description of the samples, known before any is drawn."""

    @abstractmethod
    def draw(self, seed: int, indices: Sequence[int]) -> Batch:
        """The samples with these numbers.

        Args:
            seed: Non-negative seed of the series.
            indices: Non-negative numbers; each sample depends on (seed, number) alone, neither
                on the batch that it is in nor on what was drawn before.
        """


def sample_stream(seed: int, index: int) -> np.random.Generator:
    """Random numbers of one sample of a series."""
    # counter-based; the spawn key keeps pairs (seed, index) apart
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence(seed, spawn_key=(index,)))
    )
