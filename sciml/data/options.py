"""Names of the options of `open_dataset`."""

from collections.abc import Sequence
from typing import TypedDict

from sciml.data.sources.resampled import ResampleOptions


class WindowOptions(TypedDict, total=False):
    """Options of `Windows`, all of them optional."""

    history: int
    horizon: int
    stride: int
    first: int
    per_trajectory: int | None
    max_stride: int | None


class OpenOptions(WindowOptions, total=False):
    """Options of `open_dataset` beside those of its windows, all of them optional.

    Args:
        fields: Names of the fields to keep, see `SelectedSource`.
        resample: Mapping with ``stride`` or ``size``, and ``method``, see `ResampledSource`.
        augment: Random symmetries of training samples, see `Augmentation`.
        pseudo_fields: Fields that change sign under reflections, see `Augmentation`.
        proportions: Share of each of several data sets in training batches, see `Mixture`; by
            default as many samples as each has.
        residence: ``"ram"`` keeps frames in memory after the first read, ``"stream"`` reads
            files every time. ``"auto"`` keeps them when the files cannot be memory-mapped and
            all frames need less than a quarter of the available memory. ``"gpu"`` keeps those
            of training on the device if they need less than a quarter of its free memory, and
            is ``"auto"`` for all others.
        reader_threads: See `WindowedDataset`.
    """

    fields: Sequence[str] | None
    resample: ResampleOptions | None
    augment: Sequence[str] | None
    pseudo_fields: Sequence[str] | None
    proportions: Sequence[float] | None
    residence: str
    reader_threads: int | None
