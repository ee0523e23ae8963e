"""Domains, coefficients and right-hand sides on which pressure solvers are compared.

Cell flags as fluid codes use them: 0 or 1 solid, 2 fluid, 3 air; what lies outside of the array
is solid. The last axis points up. Everything depends on (kind, shape, seed) alone.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SOLID, FLUID, AIR = 1, 2, 3

_DOMAINS = ("box", "sphere", "random", "dense", "freesurf", "opentop", "thin")
_COEFFICIENTS = ("cb_a", "cb_s", "cb_8", "logn")

_SPHERE_RADIUS = 0.18
_OBSTACLES = {
    "random": (14, 0.02, 0.09),
    "dense": (60, 0.01, 0.05),
    "freesurf": (14, 0.02, 0.09),
}
"""Number of obstacles, least and largest half-size as a fraction of the box."""

_SURFACE, _SURFACE_AMPLITUDE = 0.55, 0.06
_NUM_BAFFLES, _GAP = 5, 0.12
_PATCH, _SHIFT, _NUM_PATCHES = 8, 3, 8
_SMOOTHING = 4.0  # cells
_DIPOLE_WIDTH = 0.08


def make_flags(kind: str, shape: Sequence[int], *, seed: int) -> NDArray[np.uint8]:
    """Cell flags of a test domain in two or three dimensions.

    Args:
        kind: ``box``: all fluid; ``sphere``: one of radius .18 in the middle; ``random``: 14
            boxes and ellipsoids of half-sizes .02 to .09; ``dense``: 60 of .01 to .05;
            ``freesurf``: the obstacles of ``random`` below a sinusoidal air surface at about
            .55; ``opentop``: a box whose uppermost layer of cells is air; ``thin``: five
            one-cell baffles across the first axis, each with one gap of .12. Lengths are
            fractions of each side.
        shape: Cells per axis.
        seed: Non-negative; of obstacles, surface and gaps. Box, sphere and open top have
            nothing to draw.

    Raises:
        ValueError: If the kind is unknown or `shape` has not two or three positive sizes.
    """
    _check("make_flags", kind, _DOMAINS, shape)
    stream = _stream(seed)
    flags = np.full(shape, FLUID, np.uint8)
    if kind == "sphere":
        distance = sum((x - 0.5) ** 2 for x in _centres(shape))
        flags[distance < _SPHERE_RADIUS**2] = SOLID
    elif kind in _OBSTACLES:
        _add_obstacles(flags, stream, *_OBSTACLES[kind])
    elif kind == "opentop":
        flags[..., -1] = AIR
    elif kind == "thin":
        _add_baffles(flags, stream)
    if kind == "freesurf":
        _add_surface(flags, stream)
    return flags


def smooth_coefficients(
    kind: str, shape: Sequence[int], *, contrast: float = 1e3, seed: int
) -> NDArray[np.float64]:
    """Cell coefficients κ between 1 and `contrast`.

    Args:
        kind: ``cb_a``: checkerboard of patches of 8 cells, aligned with blocks of 2, 4 and 8;
            ``cb_s``: the same shifted by 3 cells; ``cb_8``: 8 patches along each axis;
            ``logn``: exp of Gaussian noise smoothed over 4 cells, scaled to the contrast.
        shape: Cells per axis.
        contrast: Largest over smallest coefficient, at least 1.
        seed: Of the noise; checkerboards have nothing to draw.

    Raises:
        ValueError: If the kind is unknown, `shape` has not two or three positive sizes, or the
            contrast is below 1.
    """
    _check("smooth_coefficients", kind, _COEFFICIENTS, shape)
    if not 1 <= contrast < math.inf:
        raise ValueError(
            f"smooth_coefficients: expected a contrast of at least 1, got {contrast}; it is "
            "the largest coefficient over the smallest"
        )
    if kind == "logn":
        noise = gaussian_filter(_stream(seed).standard_normal(shape), _SMOOTHING, mode="wrap")
        span = float(np.ptp(noise))
        exponent = (noise - noise.min()) / (span if span else 1.0)
        return np.asarray(contrast**exponent)
    shift = _SHIFT if kind == "cb_s" else 0
    patches = np.zeros(shape, np.int64)
    for axis, index in enumerate(np.indices(shape, sparse=True)):
        patch = max(1, shape[axis] // _NUM_PATCHES) if kind == "cb_8" else _PATCH
        patches = patches + (index + shift) // patch
    return np.where(patches % 2 == 1, contrast, 1.0)


def right_hand_side(flags: NDArray[Any], *, seed: int) -> NDArray[np.float64]:
    """A smooth dipole plus 0.3 times white noise in the fluid, zero elsewhere.

    It excites all wavelengths. It is *not* projected: where the fluid does not touch air its
    mean is not zero, as in practice; `PoissonOperator.project` removes it.

    Args:
        flags: Cell flags.
        seed: Of the noise and of the places of the two poles.

    Raises:
        ValueError: If `flags` has not two or three axes.
    """
    _check("right_hand_side", "box", ("box",), flags.shape)
    stream = _stream(seed)
    noise = stream.standard_normal(flags.shape)
    dipole = np.zeros(flags.shape)
    for sign, low in ((1.0, 0.15), (-1.0, 0.55)):
        centre = stream.uniform(low, low + 0.3, size=flags.ndim)
        squared = sum((x - c) ** 2 for x, c in zip(_centres(flags.shape), centre, strict=True))
        dipole += sign * np.exp(-squared / (2 * _DIPOLE_WIDTH**2))
    return np.where(flags == FLUID, 0.3 * noise + dipole, 0.0)


def reference_box(
    shape: Sequence[int],
) -> tuple[NDArray[np.uint8], tuple[NDArray[np.float64], ...]]:
    """The box of the published DCDM matrices: flags and face fractions.

    Its outer layer is special: a cell on one side of the box is linked to the cell inside of it
    alone (row: diagonal 1, one −1), cells on edges and corners are no unknowns. This is the
    graph Laplacian of the box without the links within the outer layer.

    Args:
        shape: Cells per axis, at least 3 each, outer layers included.

    Raises:
        ValueError: If `shape` has not two or three sizes of at least 3.

    Source: matrices shipped with Kaneda et al., arXiv:2205.10763 (64³ to 256³).
    """
    _check("reference_box", "box", ("box",), shape)
    if min(shape) < 3:
        raise ValueError(
            f"reference_box: expected at least 3 cells per axis, got {tuple(shape)}; two of "
            "them are the outer layers"
        )
    num_outer = np.zeros(shape, np.int64)
    for axis, index in enumerate(np.indices(shape, sparse=True)):
        num_outer = num_outer + ((index == 0) | (index == shape[axis] - 1))
    fractions = []
    for axis in range(len(shape)):
        outer = np.moveaxis(num_outer == 1, axis, 0)
        fraction = np.ones((shape[axis] + 1, *outer.shape[1:]))
        fraction[1:-1][outer[1:] & outer[:-1]] = 0.0
        fractions.append(np.ascontiguousarray(np.moveaxis(fraction, 0, axis)))
    return np.where(num_outer > 1, SOLID, FLUID).astype(np.uint8), tuple(fractions)


def _add_obstacles(
    flags: NDArray[np.uint8], stream: np.random.Generator, count: int, low: float, high: float
) -> None:
    """Boxes and ellipsoids in turn, axis-aligned, anywhere in the box."""
    positions = _centres(flags.shape)
    for number in range(count):
        centre = stream.uniform(0.05, 0.95, size=flags.ndim)
        half = stream.uniform(low, high, size=flags.ndim)
        scaled = [np.abs(x - c) / h for x, c, h in zip(positions, centre, half, strict=True)]
        if number % 2:
            inside = sum(s**2 for s in scaled) <= 1
        else:
            inside = np.logical_and.reduce(np.broadcast_arrays(*[s <= 1 for s in scaled]))
        flags[inside] = SOLID


def _add_surface(flags: NDArray[np.uint8], stream: np.random.Generator) -> None:
    """Air above a sum of one sine along each horizontal axis."""
    *horizontal, height = _centres(flags.shape)
    phases = stream.uniform(0, 2 * np.pi, size=len(horizontal))
    surface = _SURFACE + sum(
        _SURFACE_AMPLITUDE / len(horizontal) * np.sin(2 * np.pi * (k + 2) * x + phase)
        for k, (x, phase) in enumerate(zip(horizontal, phases, strict=True))
    )
    flags[np.broadcast_to(height > surface, flags.shape)] = AIR


def _add_baffles(flags: NDArray[np.uint8], stream: np.random.Generator) -> None:
    """Planes of one cell across the first axis, each open in one box of the other axes."""
    length, *others = flags.shape
    for number in range(_NUM_BAFFLES):
        plane = round((number + 1) * length / (_NUM_BAFFLES + 1))
        if not 0 < plane < length - 1:
            continue  # too short for so many
        flags[plane] = SOLID
        gap = []
        for size in others:
            width = max(1, round(_GAP * size))
            start = int(stream.integers(0, size - width + 1))
            gap.append(slice(start, start + width))
        flags[(plane, *gap)] = FLUID


def _centres(shape: Sequence[int]) -> list[NDArray[np.float64]]:
    """Positions of the cell centres on the unit box, one broadcastable array per axis."""
    indices = np.indices(shape, sparse=True)
    return [(index + 0.5) / size for index, size in zip(indices, shape, strict=True)]


def _stream(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def _check(function: str, kind: str, known: Sequence[str], shape: Sequence[int]) -> None:
    if kind not in known:
        raise ValueError(
            f"{function}: expected one of {', '.join(known)}, got {kind!r}; pass one of these"
        )
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(
            f"{function}: expected two or three positive sizes, got {tuple(shape)}; give the "
            "cells along each axis"
        )
