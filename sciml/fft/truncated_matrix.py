"""Truncated Fourier transforms of real fields as real matrix products.

Every product transforms the axis that is last in memory and puts its rows in front, so that the
spectrum ends frequency-major, channels innermost, without permuting anything of full size. Only
the truncated result is reordered. `matrix_synthesise` is the exact transpose of
`matrix_analyse` with the same basis.

Spectra have the shape (modes * 2, batch): frequencies, then real and imaginary part.
"""

import torch
from torch import Tensor

from sciml.fft.truncated_basis import Basis, Rearrangement

CHUNK_BYTES = 2 * 2**20
"""Input of one folded product: its halves stay in cache, calls stay few."""


def matrix_analyse(u: Tensor, basis: Basis) -> Tensor:
    """Spectrum (modes * 2, batch) of contiguous fields (batch, *space)."""
    batch, *space = u.shape
    signed = list(basis.signed)
    if signed and len(signed[0]) == 2:
        # (r_1, batch, *rest) goes on like a batch of fields without the first axis.
        u = _fold_first(u.view(batch, space.pop(0), -1), signed.pop(0))
    z = _rows(basis.half, u.view(-1, space.pop()))
    while space:
        (matrix,), n = signed.pop(), space.pop()
        z = torch.mm(matrix, z.view(-1, n).mT)
    return _rearrange(z.view(-1, batch), basis.combine)


def matrix_synthesise(spectrum: Tensor, basis: Basis, space: tuple[int, ...]) -> Tensor:
    """Fields (batch, *space) from a contiguous spectrum (modes * 2, batch)."""
    batch = spectrum.shape[-1]
    z = _rearrange(spectrum, basis.separate)
    signed = list(basis.signed)
    folded = signed.pop(0) if signed and len(signed[0]) == 2 else None
    for (matrix,) in signed:
        z = torch.mm(z.view(len(matrix), -1).mT, matrix)
    u = _points(basis.half, z.view(sum(map(len, basis.half)), -1))
    if folded is not None:
        u = _unfold_first(u.view(sum(map(len, folded)), batch, -1), folded)
    return u.view(batch, *space)


def plain_operations_needed() -> bool:
    """Whether a graph is traced, or a `torch.func` transformation is at work.

    Both need operations that they know instead of hand-written gradients.
    """
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def _rearrange(z: Tensor, step: Rearrangement | None) -> Tensor:
    """Between rows of cosines and sines and amplitudes of signed frequencies."""
    if step is None:
        return z
    sources, factors, offsets = step
    if factors is None:
        return z.index_select(0, sources)
    if plain_operations_needed():
        terms = z.index_select(0, sources) * factors[:, None]
        return terms.view(len(offsets), -1, z.shape[1]).sum(1)
    # One pass: mode 0 adds up the weighted rows of each bag.
    return torch.embedding_bag(z, sources, offsets, False, 0, False, factors)[0]


def _rows(blocks: tuple[Tensor, ...], u: Tensor) -> Tensor:
    """Rows (r, signals) of signals (signals, n), folded in half if there are two blocks."""
    if len(blocks) == 1:
        return torch.mm(blocks[0], u.mT)
    even, odd = blocks
    signals, n = u.shape
    z = u.new_empty(len(even) + len(odd), signals)
    size = _chunk(u.element_size() * n, signals)
    folded = u.new_empty(size, n // 2)
    for start in range(0, signals, size):
        part = u[start : start + size]
        low, high = part[:, : n // 2], part[:, n // 2 :]
        columns = slice(start, start + len(part))
        half = folded[: len(part)]
        torch.add(low, high, out=half)
        torch.mm(even, half.mT, out=z[: len(even), columns])
        torch.sub(low, high, out=half)
        torch.mm(odd, half.mT, out=z[len(even) :, columns])
    return z


def _points(blocks: tuple[Tensor, ...], z: Tensor) -> Tensor:
    """Signals (signals, n) from rows (r, signals): transpose of `_rows`."""
    if len(blocks) == 1:
        return torch.mm(z.mT, blocks[0])
    even, odd = blocks
    signals, half = z.shape[1], even.shape[1]
    u = z.new_empty(signals, 2 * half)
    size = _chunk(2 * u.element_size() * half, signals)
    odd_part = u.new_empty(size, half)
    for start in range(0, signals, size):
        part, target = z[:, start : start + size], u[start : start + size]
        low, high = target[:, :half], target[:, half:]
        alternating = odd_part[: len(target)]
        torch.mm(part[: len(even)].mT, even, out=low)
        torch.mm(part[len(even) :].mT, odd, out=alternating)
        torch.sub(low, alternating, out=high)
        low.add_(alternating)
    return u


def _fold_first(u: Tensor, blocks: tuple[Tensor, ...]) -> Tensor:
    """Rows (r, batch, rest) of the first axis of fields (batch, n, rest)."""
    even, odd = blocks
    batch, n, rest = u.shape
    z = u.new_empty(len(even) + len(odd), batch, rest)
    size = _chunk(u.element_size() * n * rest, batch)
    folded = u.new_empty(size, n // 2, rest)
    for start in range(0, batch, size):
        part = u[start : start + size]
        low, high = part[:, : n // 2], part[:, n // 2 :]
        half = folded[: len(part)]
        target = z[:, start : start + size].transpose(0, 1)
        count = (len(part), -1, -1)
        torch.add(low, high, out=half)
        torch.bmm(even.expand(count), half, out=target[:, : len(even)])
        torch.sub(low, high, out=half)
        torch.bmm(odd.expand(count), half, out=target[:, len(even) :])
    return z


def _unfold_first(z: Tensor, blocks: tuple[Tensor, ...]) -> Tensor:
    """Fields (batch, n, rest) from rows (r, batch, rest): transpose of `_fold_first`."""
    even, odd = (matrix.mT for matrix in blocks)
    _, batch, rest = z.shape
    half, split = even.shape
    u = z.new_empty(batch, 2 * half, rest)
    size = _chunk(2 * u.element_size() * half * rest, batch)
    parts = u.new_empty(2, size, half, rest)
    for start in range(0, batch, size):
        part, target = z[:, start : start + size].transpose(0, 1), u[start : start + size]
        repeated, alternating = parts[:, : len(target)]
        count = (len(target), -1, -1)
        torch.bmm(even.expand(count), part[:, :split], out=repeated)
        torch.bmm(odd.expand(count), part[:, split:], out=alternating)
        torch.add(repeated, alternating, out=target[:, :half])
        torch.sub(repeated, alternating, out=target[:, half:])
    return u


def _chunk(bytes_each: int, count: int) -> int:
    """How many signals go into one folded product."""
    return max(1, min(count, CHUNK_BYTES // bytes_each))
