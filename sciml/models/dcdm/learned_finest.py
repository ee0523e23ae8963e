"""Level 0 of learned CCMG on contiguous slices, where all open faces weigh the same."""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import _sparsetools
from torch import Tensor

from sciml.linalg.preconditioners.multigrid.layout import SplitLayout
from sciml.linalg.preconditioners.multigrid.steps import Steps

Floats = NDArray[np.floating]


@final
class SplitFinest:
    """Red-black relaxation with a field per half sweep, in the split layout.

    A half sweep is ``x_c = (1 - ω D) x_c + ω (r_c + Σ x_{1-c})`` with everything in units of
    the conductance of a face. It costs two passes over the colour more than that of `CCMG`,
    except where ω D = 1 or x_c is zero before. The last one before the coarse correction is
    exact, so that residual and correction concern red cells alone.

    Args:
        shape: Cells of the grid.
        cells: Flat numbers of the fluid cells; the following are in their order.
        unit: Conductance of a face.
        diagonal: D, in the same unit as `unit`.
        relaxations: ω of every half sweep, zero on the other colour.
        gain: Factor on residual and correction.
        aggregate: Node of level 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        cells: Tensor,
        unit: float,
        diagonal: Tensor,
        relaxations: Sequence[Tensor],
        gain: Tensor,
        aggregate: Tensor,
    ) -> None:
        self.layout, self.unit = SplitLayout(shape), unit
        inside, size = self.layout.interior, self.layout.size

        def packed(values: Tensor) -> Tensor:
            field = values.new_zeros(self.layout.shape).flatten()
            return self.layout.pack(field.index_copy(0, cells, values).reshape(shape))

        self.rows_r, self.rows_x = torch.zeros((2, 2, self.layout.width), dtype=gain.dtype)
        r, x = self.rows_r.numpy(), self.rows_x.numpy()
        self.r, self.x = ([rows[c, inside] for c in (0, 1)] for rows in (r, x))
        self._neighbours = [
            [x[1 - c, self.layout.shifted(k)] for pair in self.layout.shifts(c) for k in pair]
            for c in (0, 1)
        ]
        self._sweeps = []
        for number, field in enumerate(relaxations):
            colour = number % 2
            share = packed(field * diagonal)[colour, inside].numpy()
            is_exact = number == len(relaxations) - 1
            keep = None if is_exact else 1 - share
            self._sweeps.append((colour, packed(unit * field)[colour, inside].numpy(), keep))
        self._diagonal = packed(diagonal / unit)[0, inside].numpy()
        self._up = packed(gain)[0, inside].numpy()
        self._down = unit * self._up
        self._aggregate = packed(aggregate.int())[0, inside].numpy()
        self._one_each = np.arange(size + 1, dtype=np.int32)
        self._sum, self._part = np.empty((2, size), r.dtype)

    def load(self, field: Tensor) -> None:
        """Take a residual on the grid."""
        self.layout.pack(field / self.unit, self.rows_r)

    def unload(self) -> Tensor:
        """The outcome on the grid."""
        return self.layout.unpack(self.rows_x)

    def relax_from_zero(self) -> Steps:
        """All half sweeps in order, from x = 0."""
        steps: Steps = [(np.multiply, (self.r[0], self._sweeps[0][1], self.x[0]))]
        for number, (colour, field, keep) in enumerate(self._sweeps[1:]):
            steps += self._sweep(colour, field, None if number == 0 else keep)
        return steps

    def relax(self, *, backwards: bool = False) -> Steps:
        """All half sweeps from the present x."""
        sweeps = self._sweeps[::-1] if backwards else self._sweeps
        return [step for sweep in sweeps for step in self._sweep(*sweep)]

    def restrict(self, coarse: Floats) -> Steps:
        """Sums of the residual of the red cells times the gain; on black ones it is zero."""
        operands = (self._one_each, self._aggregate, self._down, self._sum, coarse)
        return [
            *self._gather(0, self._sum),
            (np.multiply, (self._diagonal, self.x[0], self._part)),
            (np.subtract, (self._sum, self._part, self._sum)),
            (coarse.fill, (0,)),
            (_sparsetools.csc_matvec, (len(coarse), len(self._sum), *operands)),
        ]

    def prolong(self, coarse: Floats) -> Steps:
        """Add the correction times the gain to the red cells; black ones are swept next."""
        operands = (self._one_each, self._aggregate, self._up, coarse, self.x[0])
        return [(_sparsetools.csr_matvec, (len(self._sum), len(coarse), *operands))]

    def _sweep(self, colour: int, field: Floats, keep: Floats | None) -> Steps:
        x = self.x[colour]
        if keep is None:
            return [*self._gather(colour, x), (np.multiply, (x, field, x))]
        return [
            *self._gather(colour, self._sum),
            (np.multiply, (self._sum, field, self._sum)),
            (np.multiply, (x, keep, x)),
            (np.add, (x, self._sum, x)),
        ]

    def _gather(self, colour: int, out: Floats) -> Steps:
        """The right-hand side plus the neighbours."""
        first, second, *others = self._neighbours[colour]
        return [
            (np.add, (first, second, out)),
            *((np.add, (out, other, out)) for other in others),
            (np.add, (out, self.r[colour], out)),
        ]
