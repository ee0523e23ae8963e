"""Training orders in which several data sets have given shares of every batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray


@final
@dataclass(frozen=True)
class Mixture:
    """Shares of several data sets in the samples of an epoch.

    Args:
        members: Number of the data set of each trajectory.
        proportions: Share of each data set; they need not sum to one.

    Raises:
        ValueError: If a data set has no share, or a share is not positive and finite.
    """

    members: NDArray[np.int64]
    proportions: tuple[float, ...]

    def __post_init__(self) -> None:
        count = int(self.members.max()) + 1
        shares = np.array(self.proportions)
        if len(shares) != count or not np.all((shares > 0) & np.isfinite(shares)):
            raise ValueError(
                f"Mixture: expected a positive share for each of {count} data sets, got "
                f"{self.proportions}; leave out the data sets that are not wanted"
            )

    def order(
        self,
        trajectories: NDArray[np.int64],
        counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> NDArray[np.int64]:
        """An epoch of as many samples as there are, in the proportions.

        A data set with fewer samples than its share asks for comes again, each time in another
        order; of one with more samples, a random part is shown. Each data set's samples are
        spread evenly over the epoch, one at a random place of every interval of length 1/q
        where q is their number, so that every batch comes close to the proportions.

        Args:
            trajectories: Trajectories in use.
            counts: Number of samples of each of them; samples are numbered in that order.
            generator: Source of random numbers.

        Returns:
            Sample numbers.
        """
        member = np.repeat(self.members[trajectories], counts)
        groups = [np.flatnonzero(member == m) for m in range(len(self.proportions))]
        places, samples = [], []
        for group, quota in zip(groups, self._quotas(groups), strict=True):
            num_rounds = -(-quota // max(len(group), 1))
            rounds = [generator.permutation(group) for _ in range(num_rounds)]
            samples += [np.concatenate([*rounds, group[:0]])[:quota]]
            places += [(np.arange(quota) + generator.random(quota)) / max(quota, 1)]
        order = np.argsort(np.concatenate(places), kind="stable")
        return np.concatenate(samples)[order]

    def _quotas(self, groups: Sequence[NDArray[np.int64]]) -> list[int]:
        """Samples of each data set in an epoch, rounded to the largest remainders."""
        total = sum(map(len, groups))
        present = np.array([len(group) > 0 for group in groups])
        shares = np.where(present, self.proportions, 0.0)
        exact = total * shares / shares.sum()
        quotas = np.floor(exact).astype(np.int64)
        largest = np.argsort(quotas - exact, kind="stable")[: total - int(quotas.sum())]
        quotas[largest] += 1
        return [int(q) for q in quotas]
