"""Real trigonometric bases of truncated spectra, as cached matrices.

A real field has the amplitudes ``C_f - i S_f`` with cosine and sine sums C, S. On an axis with
signed frequencies the complex amplitudes of +f and -f are combinations of the same C and S, so
that rows ``cos 0 … m, sin 1 … m`` do for both signs: half the products of a complex matrix.

On an even grid ``cos`` and ``sin`` of even f repeat after half the axis and those of odd f
change sign, so that sums and differences of the two halves carry them apart: half the products
again (*folded*).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Form = Literal["plain", "fold_last", "fold_first"]
"""Which axis is folded in half; it is also the axis that is transformed at full size."""

Weighting = Literal["mean", "sum"]
"""Factor of the last axis' rows: 1/points, or how often a frequency occurs in the spectrum."""


class Rearrangement(NamedTuple):
    """Rows ``Σ_j factors[i, j] z[sources[i, j]]`` of a truncated spectrum (rows, batch).

    The sums carry cosines and sines to amplitudes of signed frequencies or back, two terms for
    each signed axis; the order of the frequencies and of the axes changes on the way.
    """

    sources: Tensor
    """(rows * terms,)."""
    factors: Tensor | None
    """(rows * terms,); None if rows are only reordered."""
    offsets: Tensor
    """(rows,): first term of each row."""


class Basis(NamedTuple):
    """Matrices of all axes."""

    signed: tuple[tuple[Tensor, ...], ...]
    """Per axis but the last (r, n): rows cos 0 … m, sin 1 … m; a folded axis has (r_even, n/2)
    and (r_odd, n/2)."""
    half: tuple[Tensor, ...]
    """Last axis (2k, n): rows cos f, -sin f interleaved; folded (., n/2) for even and odd f."""
    combine: Rearrangement | None
    """From rows as the products leave them to amplitudes in ascending order; None if equal."""
    separate: Rearrangement | None
    """The transpose of `combine`."""


def half_axis_weights(
    num_modes: int, num_points: int, device: torch.device | None = None
) -> Tensor:
    """(k,): how often frequency f = 0 … k-1 occurs in a full spectrum, once or twice."""
    weights = torch.full((num_modes,), 2.0, dtype=torch.float64, device=device)
    weights[0] = 1.0
    if 2 * (num_modes - 1) == num_points:
        weights[-1] = 1.0
    return weights


def basis(
    space: tuple[int, ...],
    kept: tuple[int, ...],
    weighting: Weighting,
    form: Form,
    dtype: torch.dtype,
    device: torch.device,
) -> Basis:
    """Matrices of the truncated transform of a grid, from a bounded cache."""
    # Tensors made while a graph is traced belong to that graph and must not be kept.
    if torch.compiler.is_compiling():
        return _build(space, kept, weighting, form, dtype, device)
    return _cached(space, kept, weighting, form, dtype, device)


def _build(
    space: tuple[int, ...],
    kept: tuple[int, ...],
    weighting: Weighting,
    form: Form,
    dtype: torch.dtype,
    device: torch.device,
) -> Basis:
    def matrix(rows: Tensor, folded: bool, n: int) -> Tensor:
        return rows[:, : n // 2 if folded else n].to(device, dtype)

    signed, rows = [], []
    for axis, (n, k) in enumerate(zip(space[:-1], kept[:-1], strict=True)):
        folded = form == "fold_first" and axis == 0
        groups = _parities(range(k // 2 + 1), folded)
        sines = [[f for f in group if f > 0] for group in groups]
        signed.append(
            tuple(
                matrix(torch.cat([_phases(c, n)[0], _phases(s, n)[1]]), folded, n)
                for c, s in zip(groups, sines, strict=True)
            )
        )
        pairs = zip(groups, sines, strict=True)
        rows.append([r for c, s in pairs for r in [*c, *(-f for f in s)]])
    if weighting == "mean":
        scale = torch.full((kept[-1],), 1 / math.prod(space), dtype=torch.float64)
    else:
        scale = half_axis_weights(kept[-1], space[-1])
    half, n, folded = [], space[-1], form == "fold_last"
    groups = _parities(range(kept[-1]), folded)
    for group in groups:
        cosine, sine = _phases(group, n)
        pair = torch.stack([cosine, -sine], 1) * scale[group].view(-1, 1, 1)
        half.append(matrix(pair.flatten(0, 1), folded, n))
    order = [f for group in groups for f in group]
    combine, separate = _rearrangements(kept, rows, order, form == "fold_first", dtype, device)
    return Basis(tuple(signed), tuple(half), combine, separate)


@lru_cache(maxsize=128)
def _cached(
    space: tuple[int, ...],
    kept: tuple[int, ...],
    weighting: Weighting,
    form: Form,
    dtype: torch.dtype,
    device: torch.device,
) -> Basis:
    # Matrices made in inference mode could not take part in a gradient later.
    with torch.inference_mode(False):
        return _build(space, kept, weighting, form, dtype, device)


def _phases(frequencies: Sequence[int], num_points: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (f, n) of 2π f j / n in float64, exact where they are 0 or ±1."""
    table = 2 * math.pi / num_points * torch.arange(num_points, dtype=torch.float64)
    cosine, sine = table.cos(), table.sin()
    # Zeros of both, which rounding of π would leave at 1e-16: Nyquist rows have to drop out
    # exactly.
    cosine[cosine.abs() < 1e-14] = 0.0
    sine[sine.abs() < 1e-14] = 0.0
    f = torch.tensor(list(frequencies), dtype=torch.int64)
    # The product is reduced before it meets π, so that large f j lose no digits.
    index = torch.outer(f, torch.arange(num_points)) % num_points
    return cosine[index], sine[index]


def _parities(frequencies: Sequence[int], folded: bool) -> list[list[int]]:
    """The frequencies in one group, or the even and then the odd ones."""
    if not folded:
        return [list(frequencies)]
    return [[f for f in frequencies if f % 2 == parity] for parity in (0, 1)]


def _rearrangements(
    kept: tuple[int, ...],
    rows: list[list[int]],
    order: list[int],
    first_axis_behind: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Rearrangement | None, Rearrangement | None]:
    """From the rows of the products to amplitudes and back, axis by axis in one step.

    Args:
        kept: Modes per axis.
        rows: Per signed axis the frequency of each row, f for its cosine, -f for its sine.
        order: Frequency of each row pair of the last axis.
        first_axis_behind: Whether the rows of the first axis stand behind real and imaginary
            part, where its product at full size leaves them.
        dtype: Dtype of the factors.
        device: Device of all.
    """
    if not rows and order == sorted(order):
        return None, None
    shape = [*map(len, rows), kept[-1], 2]
    layout = [*range(1, len(shape)), 0] if first_axis_behind else list(range(len(shape)))
    memory = torch.arange(math.prod(shape)).view([shape[i] for i in layout])
    position = memory.permute([layout.index(i) for i in range(len(shape))])
    by_frequency = torch.tensor(order).argsort()
    forth = _Terms.rows(position.index_select(-2, by_frequency))
    backs = []
    for axis, (k, frequencies) in enumerate(zip(kept[:-1], rows, strict=True)):
        position = torch.arange(math.prod(shape)).view(shape)
        cosine, sine, sign = _combination(k, frequencies)
        # re = C_re + S_im, im = C_im - S_re for positive f.
        turn = sign.view(-1, *[1] * (len(shape) - axis - 1)) * torch.tensor([1.0, -1.0])
        first = position.index_select(axis, cosine)
        second = position.index_select(axis, sine).flip(-1)
        forth = forth.followed_by(first, second, turn.expand(first.shape))
        shape[axis] = k
        amplitudes = torch.arange(math.prod(shape)).view(shape)
        backs.append(_separation(amplitudes, axis, k, frequencies))
    back = _Terms.rows(torch.arange(math.prod(shape)))
    for first, second, factor in reversed(backs):
        back = back.followed_by(first, second, factor)
    shape[: len(rows)] = map(len, rows)
    sorted_rows = torch.arange(math.prod(shape)).view(shape)
    back = back.reordered(sorted_rows.index_select(-2, torch.tensor(order)).permute(layout))
    return forth.rearrangement(dtype, device), back.rearrangement(dtype, device)


class _Terms(NamedTuple):
    """Sums of rows: sources and factors (rows, terms)."""

    sources: Tensor
    factors: Tensor

    @classmethod
    def rows(cls, sources: Tensor) -> "_Terms":
        """One row each, in the order of `sources`."""
        column = sources.reshape(-1, 1)
        return cls(column, torch.ones(column.shape))

    def reordered(self, order: Tensor) -> "_Terms":
        """The sums in another order."""
        return _Terms(self.sources[order.flatten()], self.factors[order.flatten()])

    def followed_by(self, first: Tensor, second: Tensor, factor: Tensor) -> "_Terms":
        """Sums ``z[first] + factor z[second]`` of these sums z."""
        straight, other = self.reordered(first), self.reordered(second)
        return _Terms(
            torch.cat([straight.sources, other.sources], 1),
            torch.cat([straight.factors, other.factors * factor.reshape(-1, 1)], 1),
        )

    def rearrangement(self, dtype: torch.dtype, device: torch.device) -> Rearrangement:
        """In the form that is applied."""
        count, terms = self.sources.shape
        offsets = torch.arange(0, count * terms, terms)
        factors = None if terms == 1 else self.factors.flatten().to(device, dtype)
        return Rearrangement(self.sources.flatten().to(device), factors, offsets.to(device))


def _combination(k: int, rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine row, sine row (any for f = 0) and sign of the k frequencies, ascending."""
    frequencies = range(-(k // 2), k - k // 2)
    where = {f: i for i, f in enumerate(rows)}
    return (
        torch.tensor([where[abs(f)] for f in frequencies]),
        torch.tensor([where[-abs(f)] for f in frequencies]),
        torch.tensor([float((f > 0) - (f < 0)) for f in frequencies]),
    )


def _separation(
    amplitudes: Tensor, axis: int, k: int, rows: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Sources and factor of the rows of one axis, from positions of its k amplitudes.

    Cosine rows are ``Y₊ + Y₋``, sine rows ``(im₋ - im₊, re₊ - re₋)``. An even count has no
    +m; there a single source with factor 0 or, for a change of sign, -2 stands alone.
    """
    m = k // 2
    plus = [m + abs(f) if abs(f) < k - m else m - abs(f) for f in rows]
    minus = [m - abs(f) for f in rows]
    alone = torch.tensor([p == q for p, q in zip(plus, minus, strict=True)])
    is_sine = torch.tensor([f < 0 for f in rows])
    view = (-1, *[1] * (amplitudes.ndim - axis - 1))
    y_plus = amplitudes.index_select(axis, torch.tensor(plus))
    y_minus = amplitudes.index_select(axis, torch.tensor(minus))
    sine = is_sine.view(view)
    real = torch.tensor([True, False])
    # The real slot of a sine row is fed from imaginary parts, Y₋ first.
    swapped = sine & real
    first = torch.where(sine, torch.where(real, y_minus.flip(-1), y_plus.flip(-1)), y_plus)
    second = torch.where(sine, torch.where(real, y_plus.flip(-1), y_minus.flip(-1)), y_minus)
    both = torch.where(sine, -1.0, 1.0)
    single = torch.where(sine & ~swapped, -2.0, 0.0)
    factor = torch.where(alone.view(view), single, both).expand(first.shape)
    return first, second, factor
