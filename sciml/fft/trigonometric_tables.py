"""Matrices, phases and weights of the cosine and sine transforms, computed once and kept.

Angles are reduced as integers before they meet floating point, in float64 whatever the result,
so that every entry is right to the last bits at any length.
"""

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Literal, NamedTuple, TypeVarTuple

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


_Key = TypeVarTuple("_Key")

# Tables kept per function. The largest are folded matrices, 1 MB in float64 at 512 points.
_NUM_KEPT = 64


def _kept(build: Callable[[*_Key], Tensor]) -> Callable[[*_Key], Tensor]:
    """Keep the last tables by their arguments; safe to call from several threads."""

    # A tensor born in inference mode could never meet autograd again.
    @lru_cache(maxsize=_NUM_KEPT)
    @torch.inference_mode(False)
    def kept(*key: *_Key) -> Tensor:
        return build(*key)

    @wraps(build)
    def table(*key: *_Key) -> Tensor:
        # While a graph is traced tensors are the tracer's own and must not outlive it.
        if torch.compiler.is_compiling():
            return build(*key)
        return kept(*key)

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
def phases(transform: Transform, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Factors on the half spectrum for types II and III, norm and weights included.

    Type II: 2 s i exp(-iπk/2n), type III: -s i exp(iπk/2n), with s the norm's factor; in the
    orthonormal form the zeroth is divided or multiplied by √2.
    """
    forward = transform.kind == 2
    index = torch.arange(size // 2 + 1, dtype=torch.float64, device=device)
    angle = index * (math.pi / (2 * size))
    # i exp(-iθ) = sin θ + i cos θ, and -i exp(iθ) = sin θ - i cos θ.
    cosine = torch.cos(angle)
    factors = torch.complex(torch.sin(angle), cosine if forward else -cosine)
    factors *= transform.scale(size) * (2 if forward else 1)
    if transform.norm == "ortho":
        factors[0] *= math.sqrt(0.5 if forward else 2)
    return factors.to(torch.complex64 if dtype == torch.float32 else torch.complex128)


@_kept
def order_before(transform: Transform, size: int, device: torch.device) -> Tensor:
    """What the FFT takes in turn.

    Type I: the even or odd periodic extension but for signs; the odd one has slots 0 and n+1
    before and behind the points, which are to be zero. Type II: even points forwards, odd
    points backwards. Type III: real and imaginary parts of the half spectrum, points n-k and k
    in turn (slot 0, which has no point n, is to be zero); sines are cosines of the points in
    reverse.
    """
    index = torch.arange(size, device=device)
    if transform.kind == 1:
        if transform.family == "cosine":
            return torch.cat((index, index[1:-1].flip(0)))
        return torch.cat((index[:1], index, index[:1], index.flip(0)))
    if transform.kind == 2:
        return torch.cat((index[::2], index[1::2].flip(0)))
    half = index[: size // 2 + 1]
    order = torch.stack((-half % size, half), 1).flatten()
    return size - 1 - order if transform.family == "sine" else order


@_kept
def order_after(transform: Transform, size: int, device: torch.device) -> Tensor:
    """Where each result of types II and III stands after the FFT.

    Type II: y_k is the imaginary part of bin k up to n/2 and the real part of bin n-k above,
    in a half spectrum of alternating real and imaginary parts. Type III: the inverse of even
    points forwards, odd points backwards. Sines of type II are cosines in reverse.
    """
    index = torch.arange(size, device=device)
    if transform.kind == 3:
        return torch.where(index % 2 == 0, index // 2, size - 1 - index // 2)
    order = torch.where(index <= size // 2, 2 * index + 1, 2 * (size - index))
    return order.flip(0) if transform.family == "sine" else order


def _single(transform: Transform, size: int) -> list[int]:
    """Terms that the periodic extension counts once, all others twice."""
    if transform.family == "cosine":
        return [0, size - 1] if transform.kind == 1 else [0]
    return [] if transform.kind == 1 else [size - 1]
