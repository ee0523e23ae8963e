"""The action of a pressure operator on its grid, without a matrix."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

_CACHED_CELLS = 262_144  # per pass on the CPU: the passes of one chunk find it in the cache


@final
class Stencil:
    r"""Products :math:`(A x)_i = D_i x_i - \sum_j w_{ij} x_j` over the neighbours on a grid.

    Each neighbour is one pass over shifted views, written in place. On the CPU a few rows of
    the first axis at a time go through all passes, so that a product reads memory about once.
    Equal weights per axis need no weight arrays: x is then masked on the way in and out.

    Args:
        diagonal: D, zero outside of the fluid; its last `weights`-many axes are the grid,
            those before them a batch of geometries.
        weights: Of each axis, a number, or a tensor with one weight per pair of neighbours
            (one less than cells along its axis), zero unless both are fluid.
        mask: One on fluid, zero elsewhere; for numbers as weights.
    """

    def __init__(
        self, diagonal: Tensor, weights: Sequence[float | Tensor], mask: Tensor | None
    ) -> None:
        self.diagonal, self.weights, self.mask = diagonal, tuple(weights), mask
        self._num_axes = len(self.weights)
        self._axis = -self._num_axes  # the first of the grid

    def mv(self, x: Tensor) -> Tensor:
        """A x for fields (*batch, *space)."""
        weighted = [w for w in (self.diagonal, *self.weights) if isinstance(w, Tensor)]
        recorded = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *weighted))
        num_rows = x.shape[self._axis]
        if recorded or x.device.type != "cpu" or x.numel() <= _CACHED_CELLS:
            window = self._window(x, 0, num_rows)
            image = self.diagonal * window
            self._subtract_neighbours(image, window, 0, 0)
            return image
        image = x.new_empty(x.shape)
        space = x.shape[self._axis :]
        if self.diagonal.ndim > self._num_axes:
            self._in_chunks(image, x)
            return image
        fields, images = x.reshape(-1, *space), image.view(-1, *space)
        num_fields = max(1, _CACHED_CELLS // math.prod(space))
        for first in range(0, len(fields), num_fields):
            chunk = slice(first, first + num_fields)
            self._in_chunks(images[chunk], fields[chunk])
        return image

    def _in_chunks(self, image: Tensor, x: Tensor) -> None:
        """A x written into `image`, a few rows of the first axis at a time."""
        axis, num_rows = self._axis, x.shape[self._axis]
        step = max(1, _CACHED_CELLS * num_rows // x.numel())
        for first in range(0, num_rows, step):
            count = min(step, num_rows - first)
            low = max(first - 1, 0)
            window = self._window(x, low, min(first + count + 1, num_rows) - low)
            centre = window.narrow(axis, first - low, count)
            rows = image.narrow(axis, first, count)
            torch.mul(self.diagonal.narrow(axis, first, count), centre, out=rows)
            self._subtract_neighbours(rows, window, first, low)

    def _window(self, x: Tensor, low: int, count: int) -> Tensor:
        """Rows of x, zero outside of the fluid where weights do not see to that."""
        window = x.narrow(self._axis, low, count)
        if self.mask is None:
            return window
        return window * self.mask.narrow(self._axis, low, count)

    def _subtract_neighbours(self, image: Tensor, window: Tensor, first: int, low: int) -> None:
        """Subtract the neighbours from rows of A x that begin at `first`.

        Args:
            image: D x on these rows.
            window: Rows of x from `low` on: these and, where there are any, one on each side.
            first: Number of the first row of `image`.
            low: Number of the first row of `window`.
        """
        axis, count = self._axis, image.shape[self._axis]
        above, below = low + window.shape[axis] - first - 1, first - low
        upward, downward = min(count, above), count - (1 - below)
        for k, weight in enumerate(self.weights, start=axis):
            if k == axis:
                pairs = (
                    (image.narrow(k, 0, upward), window.narrow(k, below + 1, upward), first),
                    (
                        image.narrow(k, 1 - below, downward),
                        window.narrow(k, 0, downward),
                        first - below,
                    ),
                )
            else:
                size = image.shape[k] - 1
                centre = window.narrow(axis, below, count)
                pairs = (
                    (image.narrow(k, 0, size), centre.narrow(k, 1, size), first),
                    (image.narrow(k, 1, size), centre.narrow(k, 0, size), first),
                )
            for target, source, row in pairs:
                if isinstance(weight, Tensor):
                    here = weight.narrow(axis, row, target.shape[axis])
                    target.addcmul_(here, source, value=-1)
                else:
                    target.sub_(source, alpha=weight)
        if self.mask is not None:
            image.mul_(self.mask.narrow(axis, first, count))
