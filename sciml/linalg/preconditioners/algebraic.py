"""Algebraic multigrid through pyamg."""

import importlib
import math
from collections.abc import Sequence
from typing import Any, Literal, final

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from sciml.linalg.preconditioners.base import FixedPreconditioner
from sciml.linalg.preconditioners.incomplete import on_host


@final
class AlgebraicMultigrid(FixedPreconditioner):
    """One V-cycle of pyamg as M, for symmetric positive (semi-)definite matrices on the CPU.

    Args:
        matrix: A in a scipy.sparse format.
        shape: Axes of the fields; one axis by default.
        method: Classical Ruge-Stüben coarsening or smoothed aggregation.
        dtype: Precision of inputs and outputs; the cycle itself runs in that of the matrix.

    Raises:
        ImportError: If pyamg is not installed; it comes with the extra ``[solvers]``.

    Source: Bell, Olson, Schroder and Southworth, J. Open Source Softw. 8 (2023), 5495.
    """

    def __init__(
        self,
        matrix: sparse.spmatrix | sparse.sparray,
        shape: Sequence[int] | None = None,
        *,
        method: Literal["ruge_stuben", "smoothed_aggregation"] = "ruge_stuben",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        try:
            pyamg = importlib.import_module("pyamg")
        except ImportError as error:
            raise ImportError(
                "AlgebraicMultigrid: expected pyamg to be installed, got none; "
                "pip install 'sciml-pde[solvers]'"
            ) from error
        fields = (matrix.shape[0],) if shape is None else tuple(shape)
        if math.prod(fields) != matrix.shape[0]:
            raise ValueError(
                f"AlgebraicMultigrid: expected axes that hold {matrix.shape[0]} unknowns, got "
                f"{fields}; give the shape of the fields"
            )
        super().__init__(fields, dtype=dtype, device=torch.device("cpu"))
        build: Any = getattr(pyamg, f"{method}_solver")
        self.cycle = build(sparse.csr_matrix(matrix)).aspreconditioner(cycle="V")

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return on_host(lambda columns: _each_column(self.cycle, columns), x, self.in_shape)


def _each_column(cycle: Any, columns: Any) -> Any:
    if columns.ndim == 1:
        return cycle @ columns
    return np.stack([cycle @ column for column in columns.T], 1)
