"""A source as its user wants it: some fields, another grid, in memory."""

from collections.abc import Sequence

from sciml.data.sources.base import Source
from sciml.data.sources.resampled import ResampledSource, ResampleOptions
from sciml.data.sources.resident import ResidentSource, fits_in_memory
from sciml.data.sources.selected import SelectedSource

RESIDENCES = ("auto", "stream", "ram", "gpu")
"""Where frames live: memory when that is faster and they fit, files, memory, or the device."""


def prepare(
    source: Source,
    *,
    fields: Sequence[str] | None = None,
    resample: ResampleOptions | None = None,
    residence: str = "auto",
) -> Source:
    """Select, resample and keep what is read of a source.

    Args:
        source: The source as it is in its files.
        fields: Fields to keep; all by default.
        resample: Options of `ResampledSource`; the grid of the files by default.
        residence: One of `RESIDENCES`. With ``"gpu"`` what is not read for the device, as
            validation is not, is kept as ``"auto"`` says.

    Raises:
        ValueError: If the source does not allow it, or the residence is unknown.
    """
    if residence not in RESIDENCES:
        raise ValueError(
            f"open_dataset: expected a residence of {RESIDENCES}, got {residence!r}; use auto"
        )
    if fields is not None:
        source = SelectedSource(source, fields)
    if resample is not None:
        source = ResampledSource(source, **resample)
    keep = residence == "ram" or (
        residence in ("auto", "gpu") and not source.memory_mapped and fits_in_memory(source)
    )
    return ResidentSource(source) if keep else source
