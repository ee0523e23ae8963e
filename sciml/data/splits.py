"""Training, validation and test trajectories.

Splits are made of whole trajectories, never of windows: neighbouring frames of one trajectory
in two splits would let a model be tested on what it was fitted to.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from sciml.data.sources.files import SPLIT_NAMES

Share = float | int | tuple[int, int]
"""A fraction, a count, or the trajectories from start to stop (negative: from the end)."""

DEFAULT_SHARES: Mapping[str, Share] = dict(zip(SPLIT_NAMES, (0.8, 0.1, 0.1), strict=True))
"""The Well's fractions, used where the files have no splits of their own."""


def trajectory_splits(
    num_trajectories: int, shares: Mapping[str, Share] = DEFAULT_SHARES
) -> dict[str, range]:
    """Contiguous splits of a list of trajectories, in the order of `shares`.

    Args:
        num_trajectories: Length of the list.
        shares: All fractions (floats of sum at most 1, rounded cumulatively, so that the whole
            is used when they sum to 1), all counts, or all ``(start, stop)`` pairs, where
            negative numbers count from the end as in slices and a stop of 0 means the end.

    Returns:
        Trajectories of each split; splits that come out empty are left out.

    Raises:
        TypeError: If kinds of shares are mixed.
        ValueError: If the shares exceed the list or overlap.
    """
    values = list(shares.values())
    if all(isinstance(v, tuple) for v in values):
        ranges = {
            name: _bounds(v, num_trajectories)
            for name, v in shares.items()
            if isinstance(v, tuple)
        }
    elif all(isinstance(v, int) for v in values) or all(isinstance(v, float) for v in values):
        sizes = np.array(values)
        total = 1.0 if sizes.dtype.kind == "f" else num_trajectories
        if np.any(sizes < 0) or sizes.sum() > total * (1 + 1e-12):
            raise ValueError(
                f"trajectory_splits: expected non-negative shares of sum at most {total}, got "
                f"{dict(shares)}; lower them or add trajectories"
            )
        ends = np.cumsum(sizes) * (num_trajectories if sizes.dtype.kind == "f" else 1)
        edges = [0, *np.rint(ends).astype(int).tolist()]
        ranges = dict(zip(shares, (range(a, b) for a, b in pairwise(edges)), strict=True))
    else:
        raise TypeError(
            "trajectory_splits: expected only fractions, only counts or only (start, stop) "
            f"pairs, got {dict(shares)}; use one kind"
        )
    _check_disjoint(ranges)
    return {name: span for name, span in ranges.items() if len(span)}


def _bounds(pair: tuple[int, int], num_trajectories: int) -> range:
    """Trajectories of a (start, stop) pair."""
    start = pair[0] + num_trajectories if pair[0] < 0 else pair[0]
    stop = pair[1] + num_trajectories if pair[1] <= 0 else pair[1]
    if not 0 <= start < stop <= num_trajectories:
        raise ValueError(
            f"trajectory_splits: expected start < stop within {num_trajectories} trajectories, "
            f"got {pair}; correct the pair or add trajectories"
        )
    return range(start, stop)


def _check_disjoint(ranges: Mapping[str, range]) -> None:
    ordered = sorted(ranges.items(), key=lambda item: (item[1].start, item[1].stop))
    for (name, span), (other, following) in pairwise(ordered):
        if len(following) and span.stop > following.start:
            raise ValueError(
                f"trajectory_splits: expected disjoint splits, got {name} with {span} and "
                f"{other} with {following}; a trajectory may stand in one split only"
            )
