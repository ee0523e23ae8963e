"""Training, validation and test trajectories.

Splits are made of whole trajectories, never of windows: neighbouring frames of one trajectory
in two splits would let a model be tested on what it was fitted to.
"""

import difflib
import logging
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.base import Source
from sciml.data.sources.files import SPLIT_NAMES

_LOG = logging.getLogger(__name__)

Share = float | int | tuple[int, int]
"""A fraction, a count, or the trajectories from start to stop (negative: from the end)."""

Trajectories: TypeAlias = "range | NDArray[np.int64]"
"""Numbers of the trajectories of a split."""

_Preset: TypeAlias = Callable[[Source], Mapping[str, Trajectories]]

DEFAULT_SHARES: Mapping[str, Share] = dict(zip(SPLIT_NAMES, (0.8, 0.1, 0.1), strict=True))
"""The Well's fractions, used where the files have no splits of their own."""


def _shares(**shares: Share) -> _Preset:
    """A published split of one list of samples."""
    return lambda source: trajectory_splits(source.num_trajectories, shares)


def _pdebench_single(source: Source) -> Mapping[str, Trajectories]:
    """PDEBench's loader of a flat file: the first tenth is the test set, of every file."""
    starts = np.cumsum((0, *source.part_sizes))
    train, test = [], []
    for start, stop in pairwise(starts.tolist()):
        border = start + max(int((stop - start) * 0.1), 1)
        test.append(np.arange(start, border))
        train.append(np.arange(border, stop))
    if len(train) == 1:
        return {"train": range(len(test[0]), starts[-1]), "test": range(len(test[0]))}
    return {"train": np.concatenate(train), "test": np.concatenate(test)}


def _pdebench_mult(source: Source) -> Mapping[str, Trajectories]:
    """PDEBench's loader of files with a group per seed: the last tenth is the test set."""
    total = source.num_trajectories
    test = max(int(total * 0.1), 1)
    return trajectory_splits(total, {"train": (0, total - test), "test": (total - test, 0)})


def _fno_darcy(source: Source) -> Mapping[str, Trajectories]:
    """The first thousand of smooth1 and the first two hundred of smooth2."""
    files = source.splits
    if not {"train", "test"} <= files.keys():
        raise ValueError(
            f"choose_splits: expected the files smooth1 and smooth2 for fno_darcy, got "
            f"{source.num_trajectories} samples of one file; put both into one folder, or pass "
            "splits="
        )
    train, test = files["train"], files["test"]
    return {
        "train": range(train.start, min(train.stop, train.start + 1000)),
        "test": range(test.start, min(test.stop, test.start + 200)),
    }


PRESETS: Mapping[str, _Preset] = {
    "fno_ns": _shares(train=(0, 1000), test=(-200, 0)),
    "fno_darcy": _fno_darcy,
    "fno_burgers": _shares(train=(0, 1000), test=(-200, 0)),
    "lsm_elasticity": _shares(train=(0, 1000), test=(-200, 0)),
    "lsm_plasticity": _shares(train=(0, 900), test=(-80, 0)),
    "lsm_airfoil": _shares(train=(0, 1000), test=(1000, 1200)),
    "lsm_pipe": _shares(train=(0, 1000), test=(1000, 1200)),
    "pdebench_single": _pdebench_single,
    "pdebench_mult": _pdebench_mult,
    "nsl_pdebench": _shares(train=0.9, test=0.1),
    "the_well": _shares(train=0.8, valid=0.1, test=0.1),
}
"""Splits by name, as the papers' own loaders make them."""


def choose_splits(
    source: Source, splits: str | Mapping[str, Share] | None = None
) -> Mapping[str, Trajectories]:
    """Splits of a source.

    Args:
        source: Where the trajectories are.
        splits: Name of a preset, shares, or None: the publisher's split folders or files, else
            the preset of the benchmark, else The Well's fractions. A benchmark whose sizes are
            not those of these files (a part of it, or a smaller copy) gets the fractions.

    Raises:
        ValueError: If the name is unknown (naming the nearest), or a named preset or shares do
            not fit the number of trajectories.
    """
    total = source.num_trajectories
    if isinstance(splits, str):
        if splits not in PRESETS:
            near = difflib.get_close_matches(splits, PRESETS, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"choose_splits: expected a preset of {sorted(PRESETS)}, got {splits!r}; did "
                f"you mean {near!r}?"
            )
        return PRESETS[splits](source)
    if splits is not None:
        return trajectory_splits(total, splits)
    if source.split_preset is not None:
        try:
            return PRESETS[source.split_preset](source)
        except ValueError as error:
            _LOG.info("not the published split %s: %s", source.split_preset, error)
    return source.splits or trajectory_splits(total, DEFAULT_SHARES)


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
