"""A pressure system on packed fields: where conjugate gradients run without a grid."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.preconditioners.multigrid.layout import SplitLayout


@final
class PackedPoisson(LinearOperator):
    """The pressure operator on fields (2, width) of the split layout.

    The image is written into the same tensor each time, since pages of fresh memory cost more
    than the arithmetic: conjugate gradients are done with it before the next product.

    With unit conductances each colour takes one pass per neighbour, one that negates the sum
    and masks it, and one for the diagonal; otherwise one for the diagonal and one per weight.

    Args:
        layout: Of the grid.
        diagonal: Of the operator over `unit` (2, width), zero outside the fluid.
        weights: Per colour and neighbour the conductance (size,), zero unless both cells are
            fluid; None if all are `unit`.
        unit: What the operator is divided by in `diagonal`.
        dtype: Of the fields.
        device: Where they live; the arguments may be elsewhere.
    """

    def __init__(
        self,
        layout: SplitLayout,
        diagonal: Tensor,
        weights: list[list[Tensor]] | None,
        unit: float,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (2, layout.width)
        super().__init__(shape, shape, dtype=dtype, device=device, positive_definite=True)
        inside = layout.interior
        self._inside = inside
        self._shifts = [
            [layout.shifted(k) for pair in layout.shifts(c) for k in pair] for c in (0, 1)
        ]
        self._diagonal = (unit * diagonal[:, inside]).to(device, dtype)
        self._image = torch.empty(0, dtype=dtype, device=device)
        self._weights: list[list[Tensor]] | None = None
        if weights is None:
            self._negative = -unit * (self._diagonal > 0).to(dtype)
        else:
            own = [[w if unit == 1 else unit * w for w in row] for row in weights]
            self._weights = [[w.to(device, dtype) for w in row] for row in own]

    @property
    def num_bytes(self) -> int:
        """Memory of coefficients and image."""
        weights = [w for row in self._weights or () for w in row]
        own = [self._diagonal, self._image, *(weights or [self._negative])]
        storages = [tensor.untyped_storage() for tensor in own]
        return sum({s.data_ptr(): s.nbytes() for s in storages}.values())

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return ()

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "PackedPoisson":
        return self

    @property
    @override
    def T(self) -> "PackedPoisson":
        return self

    @override
    def _mv(self, x: Tensor) -> Tensor:
        if self._image.shape != x.shape:
            self._image = torch.zeros_like(x)
        image = self._image
        for colour, shifts in enumerate(self._shifts):
            here, other = x[..., colour, self._inside], x[..., 1 - colour, :]
            target = image[..., colour, self._inside]
            if self._weights is None:
                first, second, *others = shifts
                torch.add(other[..., first], other[..., second], out=target)
                for shift in others:
                    target.add_(other[..., shift])
                target.mul_(self._negative[colour]).addcmul_(self._diagonal[colour], here)
            else:
                torch.mul(here, self._diagonal[colour], out=target)
                for shift, weight in zip(shifts, self._weights[colour], strict=True):
                    target.addcmul_(other[..., shift], weight, value=-1)
        return image
