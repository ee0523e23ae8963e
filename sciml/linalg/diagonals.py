"""Products with sparse matrices of few diagonals, such as those of stencils."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

_MAX_DIAGONALS = 32
_MIN_FILL = 0.5
"""Least fraction of stored numbers that are entries of the matrix: the rest is read in vain."""


_MIN_ROWS = 32_768
"""Rows from which a pass takes longer than the call that starts it (measured)."""

_CACHED_ENTRIES = 65_536


@final
class Diagonals:
    """A matrix stored by diagonals: ``(A x)_i = Σ_k bands[k, i] x_{i + offsets[k]}``.

    No index is read, and every pass is one fused multiplication and addition of slices, which
    vectorises: on one core twice as fast as compressed rows for the 7-point stencil.

    Args:
        offsets: Column minus row of each diagonal.
        bands: The entries by row, (len(offsets), rows); zero where the diagonal has left the
            matrix.
        num_columns: Columns of the matrix.
    """

    def __init__(self, offsets: Sequence[int], bands: Tensor, num_columns: int) -> None:
        self.num_rows = bands.shape[1]
        self.terms = []
        for band, offset in zip(bands, offsets, strict=True):
            first, last = max(0, -offset), min(self.num_rows, num_columns - offset)
            self.terms.append((band[first:last], first, first + offset, last - first))

    @classmethod
    def of_entries(
        cls, values: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int]
    ) -> "Diagonals | None":
        """The form of a matrix given by its entries, None where it does not pay.

        That is where there are few rows, many diagonals, or many zeros on them.

        Args:
            values: The entries; equal positions add up.
            rows: Row of each entry.
            columns: Column of each entry.
            size: Rows and columns of the matrix.
        """
        if size[0] < _MIN_ROWS:
            return None
        shifted = columns - rows + size[0]
        distinct = torch.bincount(shifted).nonzero().squeeze(-1)
        room = len(distinct) * size[0]
        if len(distinct) > _MAX_DIAGONALS or values.numel() < _MIN_FILL * room:
            return None
        place = torch.searchsorted(distinct, shifted).mul_(size[0]).add_(rows)
        bands = values.new_zeros(room).index_add_(0, place, values)
        return cls((distinct - size[0]).tolist(), bands.reshape(-1, size[0]), size[1])

    def mv(self, x: Tensor) -> Tensor:
        """A x for x of shape (*batch, columns)."""
        image = x.new_zeros(*x.shape[:-1], self.num_rows)
        if x.ndim == 1:
            self._add_product(image, x)
            return image
        images, fields = image.reshape(-1, self.num_rows), x.reshape(-1, x.shape[-1])
        # few enough fields at a time for a pass to find them in the cache
        num_fields = max(1, _CACHED_ENTRIES // x.shape[-1])
        for first in range(0, len(fields), num_fields):
            chunk = slice(first, first + num_fields)
            self._add_product(images[chunk], fields[chunk])
        return image

    def _add_product(self, image: Tensor, x: Tensor) -> None:
        for band, row, column, length in self.terms:
            image.narrow(-1, row, length).addcmul_(band, x.narrow(-1, column, length))
