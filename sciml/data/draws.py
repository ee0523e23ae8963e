"""Random numbers of training samples, the same however a run is divided and resumed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

_STREAMS = {"stride": 1, "augment": 2}


@final
@dataclass(frozen=True)
class Draw:
    """Random numbers of the samples of one epoch.

    They are a function of seed, epoch and sample number: neither the batch that a sample is
    in nor the process that reads it changes them.

    Args:
        seed: Seed of the training.
        epoch: Number of the epoch.
    """

    seed: int
    epoch: int

    def uniform(
        self, samples: Sequence[int], count: int, purpose: Literal["stride", "augment"]
    ) -> NDArray[np.float64]:
        """Evenly distributed numbers of [0, 1), one row of `count` for each sample.

        Args:
            samples: Sample numbers.
            count: Numbers for each.
            purpose: What they are for; each purpose has numbers of its own.
        """
        sequence = np.random.SeedSequence([self.seed, self.epoch, _STREAMS[purpose]])
        key = sequence.generate_state(2, np.uint64)
        rows = np.empty((len(samples), count))
        for row, sample in zip(rows, samples, strict=True):
            # Philox counts blocks in the lowest word; the highest one is free for the sample
            bits = np.random.Philox(key=key, counter=[0, 0, 0, sample])
            row[:] = np.random.Generator(bits).random(count)
        return rows
