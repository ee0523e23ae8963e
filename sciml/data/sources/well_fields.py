"""Fields of The Well's layout: where each lies and which axes it has.

Source: R. Ohana et al., The Well, 2024, arXiv:2412.00568; layout as described by its data
format document. Axes flagged as not varying are absent from an array, or have length 1, and are
broadcast back when read.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.hdf5 import (
    ArrayLayout,
    inspect_array,
    require,
    texts,
)
from sciml.spec import FieldSpec

_FIELD_GROUPS = ("t0_fields", "t1_fields", "t2_fields")


@final
@dataclass(frozen=True)
class WellField:
    """One field of a file.

    Args:
        spec: Name, rank and number of channels.
        layout: Where its array lies.
        sample_varying: Whether the array has the trajectory axis.
        time_varying: Whether the array has the time axis.
        space: Length of each spatial axis in the array, 1 where the axis is absent.
    """

    spec: FieldSpec
    layout: ArrayLayout
    sample_varying: bool
    time_varying: bool
    space: tuple[int, ...]

    def copy(self, array: Any, sample: int, frames: slice, out: NDArray[np.float32]) -> None:
        """Copy frames of one trajectory into a (t, components, *space) buffer."""
        index: tuple[int | slice, ...] = (sample,) if self.sample_varying else ()
        index += (frames,) if self.time_varying else ()
        # where space has a length of 1, the axis may be absent from the array
        if self.time_varying and self.space == out.shape[2:] and 1 not in self.space:
            tail = array.ndim - len(index) - len(self.space)
            array.read_into(index, self._as_on_disk(out, tail))
            return
        block = array[index]
        lead = block.shape[:1] if self.time_varying else (1,)
        if self.spec.rank == 0:
            np.copyto(out[:, 0], block.reshape(lead + self.space), casting="same_kind")
            return
        # vector and tensor components stand last on disk, whether as D x D or as D² entries
        block = block.reshape(*lead, *self.space, self.spec.components)
        np.copyto(np.moveaxis(out, 1, -1), block, casting="same_kind")

    def _as_on_disk(self, out: NDArray[np.float32], tail: int) -> NDArray[np.float32]:
        """View of a (t, components, *space) buffer, with so many component axes, and last."""
        if tail == 0:
            return out[:, 0]
        if tail == 2:
            # D x D entries instead of D²; splitting an axis never copies
            out = out.reshape(len(out), len(self.space), len(self.space), *self.space)
        return np.moveaxis(out, range(1, 1 + tail), range(-tail, 0))


def read_fields(file: Any, shape: tuple[int, ...], back_end: str) -> list[WellField]:
    """All fields in channel order: ranks 0, 1, 2, and `field_names` inside a rank.

    Args:
        file: The open file.
        shape: Trajectories, frames and points along each axis.
        back_end: How arrays are read.

    Raises:
        ValueError: If there is no group of fields, or one contradicts its flags.
    """
    if not any(name in file for name in _FIELD_GROUPS):
        require(file, _FIELD_GROUPS[0], "group")
    fields = []
    for rank, group_name in enumerate(_FIELD_GROUPS):
        if group_name in file:
            group = file[group_name]
            for name in listed_names(group):
                dataset = require(group, name, "dataset")
                fields.append(_read_field(dataset, name, rank, shape, back_end))
    return fields


def listed_names(group: Any) -> tuple[str, ...]:
    """Names that a group lists; an empty one need not."""
    if len(group) == 0 and "field_names" not in group.attrs:
        return ()
    return texts(require(group, "field_names", "attribute"))


def _read_field(
    dataset: Any, name: str, rank: int, shape: tuple[int, ...], back_end: str
) -> WellField:
    """One field; its array must have the axes that its flags announce."""
    ndim = len(shape) - 2
    sample_varying = bool(require(dataset, "sample_varying", "attribute"))
    time_varying = bool(require(dataset, "time_varying", "attribute"))
    varying = tuple(map(bool, np.atleast_1d(require(dataset, "dim_varying", "attribute"))))
    if len(varying) != ndim:
        raise ValueError(
            f"open_source: expected dim_varying of {ndim} entries, one for each axis, on "
            f"{dataset.name} of {dataset.file.filename}, got {len(varying)}; correct it"
        )
    flags = (sample_varying, time_varying, *varying)
    expected = tuple(n for n, flag in zip(shape, flags, strict=True) if flag)
    space = tuple(n if flag else 1 for n, flag in zip(shape[2:], varying, strict=True))
    # the format's text leaves out axes that do not vary, its loader wants them with length 1
    kept = expected[: sample_varying + time_varying] + space
    # and the text allows one axis of D² entries for tensors, where its checker wants D x D
    layouts = {(ndim,) * rank, (ndim**rank,) if rank else ()}
    if tuple(dataset.shape) not in {
        lead + tail for lead in (expected, kept) for tail in layouts
    }:
        raise ValueError(
            f"open_source: expected shape {expected + (ndim,) * rank} of {dataset.name} in "
            f"{dataset.file.filename} from its flags, got {tuple(dataset.shape)}; the file "
            "contradicts itself, generate or download it again"
        )
    if dataset.dtype.kind not in "iufb":
        raise ValueError(
            f"open_source: expected real numbers in {dataset.name} of {dataset.file.filename}, "
            f"got dtype {dataset.dtype}; store real and imaginary parts as two fields"
        )
    units = "".join(texts(dataset.attrs.get("units", ())))
    spec = FieldSpec(name, rank, ndim**rank, units)
    return WellField(
        spec, inspect_array(dataset, back_end), sample_varying, time_varying, space
    )
