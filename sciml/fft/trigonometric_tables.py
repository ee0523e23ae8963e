"""Matrices, phases and weights of the cosine and sine transforms, computed once and kept.

Angles are reduced as integers before they meet floating point, in float64 whatever the result,
so that every entry is right to the last bits at any length.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar, TypeVarTuple

import torch
from torch import Tensor

from sciml.fft.transforms import Norm

Kind = Literal[1, 2, 3]
Family = Literal["cosine", "sine"]


class Transform(NamedTuple):
    """One of the six transforms with its norm."""

    family: Family
    kind: Kind
    norm: Norm

    def period(self, size: int) -> int:
        """Length N of the periodic extension: the inverse type undoes this one times N."""
        if self.kind != 1:
            return 2 * size
        return 2 * (size - 1 if self.family == "cosine" else size + 1)

    def scale(self, size: int) -> float:
        """Factor of the norm on the plain sums."""
        period = self.period(size)
        factors = {"backward": 1.0, "ortho": 1 / math.sqrt(period), "forward": 1 / period}
        return factors[self.norm]


class LineTables(NamedTuple):
    """What types II and III need along the axis whose spectrum is halved."""

    before: Tensor
    """What the FFT takes in turn, from the points."""
    phases: Tensor
    """(n//2 + 1,): complex factors on the half spectrum."""
    after: Tensor
    """What the result takes in turn, from the FFT."""


class RowTables(NamedTuple):
    """What types II and III need along an axis with a full spectrum."""

    order: Tensor
    """Points before (type II) or after (type III) the FFT."""
    partner: Tensor
    """Bin that goes with bin k: n-k; for sines k+1 (type II) or k-1 (type III)."""
    own: Tensor
    """(n,): complex factors of the bins, for sines of the bins in reverse."""
    other: Tensor
    """(n,): complex factors of the partners."""


_Rest = TypeVarTuple("_Rest")
_Table = TypeVar("_Table")

# Tables kept per function: many of up to 1 MB or so (those of 2^15 points, a folded matrix of
# 512), and few longer ones.
_NUM_KEPT, _NUM_LONG_KEPT = 64, 4
_LONG = 2**15


def _kept(
    build: Callable[[Transform, int, *_Rest], _Table],
) -> Callable[[Transform, int, *_Rest], _Table]:
    """Keep the last tables by their arguments; safe to call from several threads."""

    # A tensor born in inference mode could never meet autograd again.
    @torch.inference_mode(False)
    def outside_inference(transform: Transform, size: int, *rest: *_Rest) -> _Table:
        return build(transform, size, *rest)

    short = lru_cache(maxsize=_NUM_KEPT)(outside_inference)
    long = lru_cache(maxsize=_NUM_LONG_KEPT)(outside_inference)

    def table(transform: Transform, size: int, *rest: *_Rest) -> _Table:
        # While a graph is traced tensors are the tracer's own and must not outlive it.
        if torch.compiler.is_compiling():
            return build(transform, size, *rest)
        return (long if size > _LONG else short)(transform, size, *rest)

    table.__doc__ = build.__doc__
    return table


@_kept
def matrix(transform: Transform, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The transform as a dense matrix, (size, size), output index first."""
    family, kind, norm = transform
    index = torch.arange(size, device=device)
    # Frequencies and points as integers: angle = π · frequency · point / denominator.
    first = 1 if family == "sine" else 0
    if kind == 1:
        frequency, point, denominator = (
            index + first,
            index + first,
            transform.period(size) // 2,
        )
    elif kind == 2:
        frequency, point, denominator = index + first, 2 * index + 1, 2 * size
    else:
        frequency, point, denominator = 2 * index + 1, index + first, 2 * size
    turns = torch.outer(frequency, point) % (2 * denominator)
    angle = turns.to(torch.float64) * (math.pi / denominator)
    entries = torch.cos(angle) if family == "cosine" else torch.sin(angle)
    weights = torch.full((size,), 2.0, dtype=torch.float64, device=device)
    single = _single(transform, size)
    if kind != 2:
        weights[single] = 1.0 if norm != "ortho" else math.sqrt(2)
    entries = entries * weights
    if norm == "ortho" and kind != 3:
        entries[single] *= math.sqrt(0.5)
    return (entries * transform.scale(size)).to(dtype)


@_kept
def folded_matrix(
    transform: Transform, size: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Even and odd rows of a type I or II matrix, on the first half of the points.

    Row k is symmetric under j -> n-1-j for even k and antisymmetric for odd k, so that even
    rows need the sums of mirrored points and odd rows the differences: half the work. The
    middle point of an odd n meets itself, hence its weight ½; the missing odd row is zero.
    """
    half = (size + 1) // 2
    rows = matrix(transform, size, torch.float64, device)[:, :half]
    folded = rows.new_zeros(2, half, half)
    folded[0], folded[1, : size // 2] = rows[::2], rows[1::2]
    if size % 2 == 1:
        folded[:, :, -1] *= 0.5
    return folded.to(dtype)


@_kept
def line_tables(
    transform: Transform, size: int, dtype: torch.dtype, device: torch.device
) -> LineTables:
    """Orders and phases of types II and III along the axis whose spectrum is halved.

    Type II takes even points forwards, odd points backwards; its y_k is the imaginary part of
    bin k up to n/2 and the real part of bin n-k above. Type III takes real and imaginary parts
    of the half spectrum, points n-k and k in turn (slot 0, which has no point n, is to be
    zero). Sines are cosines in reverse on the side of the spectrum.

    Phases: with w_k = exp(-iπk/2n) and s the norm's factor, type II 2 s i w_k, type III
    -s i w̄_k; in the orthonormal form the zeroth is divided or multiplied by √2.
    """
    index = torch.arange(size // 2 + 1, dtype=torch.float64, device=device)
    angle = index * (math.pi / (2 * size))
    # i w = sin θ + i cos θ, and -i w̄ = sin θ - i cos θ.
    cosine = torch.cos(angle) * (1 if transform.kind == 2 else -1)
    phases = torch.complex(torch.sin(angle), cosine)
    phases *= transform.scale(size) * (2 if transform.kind == 2 else 1)
    if transform.norm == "ortho":
        phases[0] *= math.sqrt(0.5 if transform.kind == 2 else 2)
    phases = phases.to(_complex(dtype))
    orders = _point_order(transform, size, device), _spectrum_order(transform, size, device)
    before, after = orders if transform.kind == 2 else orders[::-1]
    return LineTables(before, phases, after)


@_kept
def row_tables(
    transform: Transform, size: int, dtype: torch.dtype, device: torch.device
) -> RowTables:
    """Orders and factors of types II and III along an axis with a full spectrum.

    With w_k = exp(-iπk/2n) and s the norm's factor: type II w_k and w̄_k times s, its sines
    -i w̄_(k+1) and i w_(k+1), because the bin of a sine is read backwards; type III s w̄_k and
    -i s w̄_k, but for k = 0, which has no partner.
    """
    sine, forward = transform.family == "sine", transform.kind == 2
    index = torch.arange(size, device=device)
    angle = (index + (1 if sine and forward else 0)).to(torch.float64) * (math.pi / (2 * size))
    conjugate = torch.polar(torch.ones_like(angle), angle)
    if not forward:
        factors = torch.stack((conjugate, -1j * conjugate))
        factors[1, 0] = 0.0
    elif sine:
        factors = torch.stack((-1j * conjugate, 1j * conjugate.conj()))
    else:
        factors = torch.stack((conjugate.conj(), conjugate))
    factors *= transform.scale(size)
    if transform.norm == "ortho":
        factors[:, -1 if sine and forward else 0] *= math.sqrt(0.5 if forward else 2)
    own, other = factors.to(_complex(dtype))
    partner = (index + (1 if forward else -1) if sine else -index) % size
    return RowTables(_point_order(transform, size, device), partner, own, other)


@_kept
def plane_tables(
    transform: Transform, rows: int, size: int, dtype: torch.dtype, device: torch.device
) -> RowTables:
    """Row tables whose factors (rows, size//2 + 1) carry the phases of the lines as well."""
    tables = row_tables(transform, rows, dtype, device)
    phases = line_tables(transform, size, dtype, device).phases
    own, other = tables.own[:, None] * phases, tables.other[:, None] * phases
    return tables._replace(own=own, other=other)


def _point_order(transform: Transform, size: int, device: torch.device) -> Tensor:
    """Even points forwards, odd points backwards (type II), or the inverse of that."""
    index = torch.arange(size, device=device)
    if transform.kind == 2:
        return torch.cat((index[::2], index[1::2].flip(0)))
    return torch.where(index % 2 == 0, index // 2, size - 1 - index // 2)


def _spectrum_order(transform: Transform, size: int, device: torch.device) -> Tensor:
    """Results in a half spectrum of alternating parts (type II), or parts among points."""
    index = torch.arange(size, device=device)
    if transform.kind == 2:
        order = torch.where(index <= size // 2, 2 * index + 1, 2 * (size - index))
        return order.flip(0) if transform.family == "sine" else order
    half = index[: size // 2 + 1]
    order = torch.stack((-half % size, half), 1).flatten()
    return size - 1 - order if transform.family == "sine" else order


def _complex(dtype: torch.dtype) -> torch.dtype:
    return torch.complex64 if dtype == torch.float32 else torch.complex128


def _single(transform: Transform, size: int) -> list[int]:
    """Terms that the periodic extension counts once, all others twice."""
    if transform.family == "cosine":
        return [0, size - 1] if transform.kind == 1 else [0]
    return [] if transform.kind == 1 else [size - 1]
