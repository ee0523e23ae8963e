"""Boundary conditions in The Well's layout: from masks to a code for each face of the box.

Source: R. Ohana et al., The Well, 2024, arXiv:2412.00568; layout as described by its data
format document.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.hdf5 import require, texts

BOUNDARY_CODES = {"WALL": 0, "OPEN": 1, "PERIODIC": 2}
"""Codes of the types of boundaries, which are compared without regard to case."""


def read_boundary(
    file: Any, axes: tuple[str, ...], resolution: tuple[int, ...]
) -> NDArray[np.int64]:
    """Code of the low and high face of each axis; OPEN where nothing is said.

    A face is a wall only if its whole edge is masked; open and periodic hold from one point on.

    Args:
        file: The open file.
        axes: Names of the axes.
        resolution: Points along each.

    Returns:
        Codes of shape (1, d, 2), or (B, d, 2) where they differ between trajectories.

    Raises:
        ValueError: If a type or an axis is unknown, or a mask has another shape.
    """
    codes = np.full((1, len(axes), 2), BOUNDARY_CODES["OPEN"], np.int64)
    if "boundary_conditions" not in file:
        return codes
    groups = require(file, "boundary_conditions", "group")
    for name in groups:
        group = require(groups, name, "group")
        kind = "".join(texts(require(group, "bc_type", "attribute"))).upper()
        dims = texts(require(group, "associated_dims", "attribute"))
        where = f"boundary_conditions/{name} of {file.filename}"
        if kind not in BOUNDARY_CODES or not set(dims) <= set(axes):
            raise ValueError(
                f"open_source: expected a boundary type of {sorted(BOUNDARY_CODES)} on some of "
                f"the axes {list(axes)} in {where}, got {kind!r} on {list(dims)}; correct "
                "bc_type or associated_dims"
            )
        space = tuple(resolution[axes.index(dim)] for dim in dims)
        mask = _read_mask(group, space, where)
        if len(mask) > len(codes):
            codes = np.repeat(codes, len(mask), axis=0)
        if len(mask) not in (1, len(codes)):
            raise ValueError(
                f"open_source: expected masks for {len(codes)} trajectories in {where}, got "
                f"{len(mask)}; the file contradicts itself, generate or download it again"
            )
        for position, dim in enumerate(dims):
            for side, face in ((0, 0), (1, -1)):
                edge = mask.take(face, axis=position + 2).reshape(len(mask), -1)
                hit = edge.all(axis=1) if kind == "WALL" else edge.any(axis=1)
                face_codes = codes[:, axes.index(dim), side]
                face_codes[np.broadcast_to(hit, face_codes.shape)] = BOUNDARY_CODES[kind]
    return codes


def _read_mask(group: Any, space: tuple[int, ...], where: str) -> NDArray[np.bool_]:
    """Mask as (trajectories or 1, frames or 1, *space)."""
    mask = np.asarray(require(group, "mask", "dataset")[()], bool)
    lead = mask.ndim - len(space)
    if not 0 <= lead <= 2 or mask.shape[lead:] != space:
        raise ValueError(
            f"open_source: expected a mask of shape {space} in {where}, got {mask.shape}; one "
            "entry for each point of the associated axes"
        )
    varying = lead > 0 and bool(group.attrs.get("sample_varying", False))
    return mask.reshape(mask.shape[0] if varying else 1, -1, *space)
