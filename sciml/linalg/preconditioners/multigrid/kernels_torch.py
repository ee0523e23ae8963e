"""The steps of the cycle in torch, for CUDA."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from sciml.linalg.preconditioners.multigrid.graph import CompressedRows, compress
from sciml.linalg.preconditioners.multigrid.kernels import Kernels
from sciml.linalg.preconditioners.multigrid.steps import Steps


@final
class TorchKernels(Kernels):
    """Slices of tensors for level 0, sparse CSR products for graphs and transfers.

    Args:
        device: Where the cycle runs.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @override
    def place(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    @override
    def matrix(self, rows: CompressedRows, num_columns: int) -> Tensor:
        indptr, indices, data = (self.place(part) for part in rows)
        shape = (len(rows.indptr) - 1, num_columns)
        with warnings.catch_warnings():
            # a notice that the sparse layouts of torch may still change, once a process
            warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
            return torch.sparse_csr_tensor(
                indptr, indices, data, size=shape, check_invariants=False
            )

    @override
    def copy(self, out: Tensor, source: Tensor) -> Steps:
        return [(out.copy_, (source,))]

    @override
    def multiply(self, out: Tensor, one: Tensor, other: Tensor) -> Steps:
        return [(partial(torch.mul, out=out), (one, other))]

    @override
    def sweep(
        self, out: Tensor, neighbours: Sequence[Tensor], r: Tensor, inverse: Tensor
    ) -> Steps:
        first, second, *others = neighbours
        return [
            (partial(torch.add, out=out), (first, second)),
            *((out.add_, (other,)) for other in (*others, r)),
            (out.mul_, (inverse,)),
        ]

    @override
    def weighted_sweep(
        self,
        out: Tensor,
        neighbours: Sequence[Tensor],
        weights: Sequence[Tensor],
        scaled: Tensor,
    ) -> Steps:
        products = zip(neighbours, weights, strict=True)
        return [(out.copy_, (scaled,)), *((out.addcmul_, pair) for pair in products)]

    @override
    def rows(
        self, out: Tensor, scaled: Tensor, products: Sequence[tuple[Tensor, Tensor]]
    ) -> Steps:
        return [(out.copy_, (scaled,)), *((_add_product, (out, *pair)) for pair in products)]

    @override
    def restrict(
        self,
        sums: Tensor,
        aggregate: NDArray[np.int32],
        factor: Tensor,
        fields: tuple[Tensor, Tensor],
    ) -> Steps:
        first, second = fields
        # a sparse product and no scattered addition: the order of a sum does not change
        node = np.arange(aggregate.size, dtype=np.int32)
        rows = compress(aggregate, node, factor.cpu().numpy(), (sums.numel(), aggregate.size))
        return [
            (first.sub_, (second,)),
            (sums.zero_, ()),
            (_add_product, (sums, self.matrix(rows, aggregate.size), first)),
        ]

    @override
    def prolong(self, x: Tensor, aggregate: NDArray[np.int32], coarse: Tensor) -> Steps:
        node, taken = self.place(aggregate), torch.empty_like(x)
        return [
            (partial(torch.index_select, out=taken), (coarse, 0, node)),
            (x.add_, (taken,)),
        ]

    @override
    def solve(self, x: Tensor, inverse: Tensor, r: Tensor) -> Steps:
        return [(partial(torch.mv, out=x), (inverse, r))]


def _add_product(out: Tensor, matrix: Tensor, x: Tensor) -> None:
    out.add_(torch.mv(matrix, x))
