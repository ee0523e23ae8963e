"""Statistics of large data sets, computed once for all runs."""

import contextlib
import hashlib
import logging
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sciml.data.sources.base import Source
from sciml.data.sources.cache import ArrayCache
from sciml.data.statistics import ChannelStatistics, DataStatistics, source_statistics
from sciml.data.writers.atomic import write_atomically
from sciml.typing import StrPath

_LOG = logging.getLogger(__name__)

_VERSION = 1
"""Changes with the meaning of the entries."""

_FEWEST_VALUES = 2**24
"""Values below which a pass over the data is faster than it is worth an entry."""

_TENSORS = ("mean", "squared_deviations", "minimum", "maximum")


def cached_statistics(
    source: Source,
    trajectories: Sequence[int],
    *,
    lag: int = 1,
    per_point: bool = False,
    folder: StrPath | None = None,
    fewest_values: int = _FEWEST_VALUES,
) -> DataStatistics:
    """`source_statistics`, taken from the cache when the same files were read before.

    An entry belongs to the fingerprint of the files (names, sizes and times of change), the
    fields and grid, the trajectories, the lag and whether points or channels are counted. It
    holds every number in full, so that runs with and without it are equal bit for bit. A
    folder that cannot be written costs the entry, not the run.

    Args:
        source: Where the data are.
        trajectories: Their numbers.
        lag: Frames between the two ends of an increment.
        per_point: Whether every grid point of a channel has statistics of its own.
        folder: Folder of the entries; by default ``statistics`` in the folder that
            ``SCIML_CACHE`` names, or in ``~/.cache/sciml``.
        fewest_values: Data sets of fewer values are not worth an entry.

    Raises:
        ValueError: As `source_statistics` does.
    """

    def compute() -> DataStatistics:
        return source_statistics(source, trajectories, lag=lag, per_point=per_point)

    spec = source.spec
    frames = int(source.lengths[np.asarray(trajectories, np.int64)].sum())
    if frames * spec.frame_channels * math.prod(spec.resolution) < fewest_values:
        return compute()
    digest = hashlib.blake2b(np.asarray(trajectories, np.int64).tobytes(), digest_size=16)
    names = [field.name for field in (*spec.in_fields, *spec.out_fields)]
    key = (_VERSION, source.fingerprint, names, spec.resolution, lag, per_point)
    digest.update(repr(key).encode())
    root = ArrayCache().folder.parent / "statistics" if folder is None else Path(folder)
    target = root / f"{digest.hexdigest()}.npz"
    found = _load(target)
    if found is None:
        found = compute()
        try:
            write_atomically(target, lambda partial: _save(partial, found))
        except OSError as error:
            _LOG.warning("statistics of %s are not kept: %s", spec.name, error)
    return found


def _save(path: Path, statistics: DataStatistics) -> None:
    arrays: dict[str, Any] = {}
    for part in ("field", "output", "increment"):
        values: ChannelStatistics | None = getattr(statistics, part)
        if values is not None:
            arrays[f"{part}.count"] = np.array(values.count)
            for name in _TENSORS:
                tensor: torch.Tensor | None = getattr(values, name)
                if tensor is not None:
                    arrays[f"{part}.{name}"] = tensor.numpy()
    with path.open("wb") as file:  # numpy appends a suffix to a bare name
        np.savez(file, **arrays)


def _load(path: Path) -> DataStatistics | None:
    """An entry; None if it is missing or damaged."""
    damage = (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile)
    with contextlib.suppress(OSError, *damage):
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)

        def part(name: str) -> ChannelStatistics:
            tensors = (torch.from_numpy(arrays[f"{name}.{key}"]) for key in _TENSORS)
            return ChannelStatistics(int(arrays[f"{name}.count"]), *tensors)

        increment = part("increment") if "increment.count" in arrays else None
        return DataStatistics(part("field"), part("output"), increment)
    return None
