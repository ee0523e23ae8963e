"""Level 0 of CCMG: the cells themselves, relaxed on contiguous slices."""

from typing import final

import numpy as np
from numpy.typing import NDArray

from sciml.linalg.preconditioners.multigrid.kernels import Kernels, Values
from sciml.linalg.preconditioners.multigrid.layout import SplitLayout
from sciml.linalg.preconditioners.multigrid.steps import Steps

Floats = NDArray[np.floating]


@final
class FineLevel:
    """Red-black relaxation of the operator in the split layout.

    A half sweep is ``x_c = (r_c + Σ_k w_k x_{1-c}[m + k]) / D_c``: 2 d shifted slices of the
    other colour and no index. Where 1 / D is zero, outside the fluid, x stays zero, and that is
    all the masking there is. The residual is handed to the coarse level from red cells alone,
    since it vanishes on the black ones after their half sweep, and the correction is added to
    red cells alone, since the next half sweep overwrites the black ones.

    Args:
        layout: Of the grid.
        diagonal: D in rows (2, width), zero outside the fluid.
        weights: None for unit conductances, else per colour and neighbour (in the order of
            `layout.shifts`) the conductance over D of the cell relaxed, as arrays (size,).
        aggregate: Coarse node of each red cell (size,), `num_coarse` outside the fluid.
        kernels: What the steps are made of.

    Attributes:
        is_weighted: Whether there are weights.
        r: Right-hand side in rows (2, width).
        x: Outcome, likewise.
    """

    def __init__(
        self,
        layout: SplitLayout,
        diagonal: Floats,
        weights: list[list[Floats]] | None,
        aggregate: NDArray[np.int32],
        kernels: Kernels,
    ) -> None:
        inside = layout.interior
        self.kernels, self.aggregate = kernels, aggregate
        self.x = kernels.place(np.zeros_like(diagonal))
        self.r = kernels.place(np.zeros_like(diagonal))
        self._diagonal = kernels.place(diagonal[0, inside])
        reciprocal = np.divide(1, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
        self._inverse = [kernels.place(row[inside]) for row in reciprocal]
        self.is_weighted = weights is not None
        self._weights = [[kernels.place(w) for w in row] for row in weights or ()]
        self._x, self._r = ([rows[c, inside] for c in (0, 1)] for rows in (self.x, self.r))
        self._neighbours = [
            [self.x[1 - c, layout.shifted(k)] for pair in layout.shifts(c) for k in pair]
            for c in (0, 1)
        ]
        self._defect = kernels.place(np.empty(layout.size, diagonal.dtype))
        self._scaled = self._r
        if weights:
            empty = np.empty((2, layout.size), diagonal.dtype)
            self._scaled = [kernels.place(row) for row in empty]

    def load(self) -> Steps:
        """What comes first of all where the right-hand side is new."""
        if not self._weights:
            return []
        return [
            step
            for c in (0, 1)
            for step in self.kernels.multiply(self._scaled[c], self._r[c], self._inverse[c])
        ]

    def smooth_from_zero(self) -> Steps:
        """Red, black, red, black from a zero guess."""
        if self._weights:
            first = self.kernels.copy(self._x[0], self._scaled[0])
        else:
            first = self.kernels.multiply(self._x[0], self._r[0], self._inverse[0])
        return [*first, *self._relax(1), *self._relax(0), *self._relax(1)]

    def smooth_after(self) -> Steps:
        """Black, red, black, red after the coarse correction of the red cells."""
        return [*self._relax(1), *self._relax(0)] * 2

    def restrict(self, coarse: Values) -> Steps:
        """Sum the residual into the coarse nodes; the last entry of `coarse` is for no node."""
        fields = (self._defect, self._x[0])
        return [
            *self._relax(0, into=self._defect),
            *self.kernels.restrict(coarse, self.aggregate, self._diagonal, fields),
        ]

    def prolong(self, coarse: Values) -> Steps:
        """Add the correction of each coarse node to its red cells."""
        return self.kernels.prolong(self._x[0], self.aggregate, coarse)

    def _relax(self, colour: int, into: Values | None = None) -> Steps:
        """The half sweep of a colour, or its outcome written elsewhere."""
        out = self._x[colour] if into is None else into
        neighbours, scaled = self._neighbours[colour], self._scaled[colour]
        if not self._weights:
            return self.kernels.sweep(out, neighbours, scaled, self._inverse[colour])
        return self.kernels.weighted_sweep(out, neighbours, self._weights[colour], scaled)
