"""Sparse matrices as operators, from scipy's formats."""

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from typing_extensions import override

from sciml.linalg.diagonals import Diagonals
from sciml.linalg.operator import LinearOperator


@final
class SparseOperator(LinearOperator):
    """A sparse matrix by its entries, acting on fields flattened in C order.

    Products are bound by the memory that they read. On the CPU a matrix of few diagonals, as a
    stencil gives, is multiplied by diagonals, any other by torch's compressed rows, with
    indices of 32 bits where they suffice. While gradients are recorded products gather and add
    instead, which differentiates the values as well.

    Args:
        values: The entries, ordered by row; equal positions add up.
        rows: Row of each entry, not decreasing.
        columns: Column of each entry.
        in_shape: Axes of the input fields.
        out_shape: Axes of the output fields; `in_shape` by default.
        symmetric: Whether the matrix is symmetric.
        positive_definite: Whether it is symmetric positive definite.

    Raises:
        ValueError: If the indices do not fit the shapes or are not ordered by row.
    """

    def __init__(
        self,
        values: Num[Tensor, " nnz"],
        rows: Int[Tensor, " nnz"],
        columns: Int[Tensor, " nnz"],
        in_shape: Sequence[int],
        out_shape: Sequence[int] | None = None,
        *,
        symmetric: bool = False,
        positive_definite: bool = False,
    ) -> None:
        super().__init__(
            in_shape,
            in_shape if out_shape is None else out_shape,
            dtype=values.dtype,
            device=values.device,
            symmetric=symmetric,
            positive_definite=positive_definite,
        )
        self._size = (math.prod(self.out_shape), math.prod(self.in_shape))
        fits = max(sum(self._size), values.numel()) <= torch.iinfo(torch.int32).max
        index_dtype = torch.int32 if fits else torch.int64
        self.values = values
        self.rows = rows.to(index_dtype)
        self.columns = columns.to(index_dtype)
        for name, index, size in zip(
            ("row", "column"), (rows, columns), self._size, strict=True
        ):
            low, high = map(int, torch.aminmax(index)) if index.numel() else (0, 0)
            if not 0 <= low <= high < max(size, 1):
                raise ValueError(
                    f"SparseOperator: expected {name} indices below {size}, got {low} to "
                    f"{high}; give the shapes of the fields"
                )
        if bool((rows[1:] < rows[:-1]).any()):
            raise ValueError(
                "SparseOperator: expected entries ordered by row, got others; sort them, or "
                "use SparseOperator.from_scipy"
            )
        self._form: Tensor | Diagonals | None = None
        self._transposed: tuple[Tensor, SparseOperator] | None = None

    @classmethod
    def from_scipy(
        cls,
        matrix: Any,
        in_shape: Sequence[int] | None = None,
        out_shape: Sequence[int] | None = None,
        *,
        symmetric: bool = False,
        positive_definite: bool = False,
        device: torch.device | None = None,
    ) -> "SparseOperator":
        """A scipy sparse matrix of any format as an operator, in its own precision.

        Args:
            matrix: The scipy.sparse matrix; integer ones become float64.
            in_shape: Axes of the input fields; one axis by default.
            out_shape: Axes of the output fields; `in_shape` for a square matrix by default.
            symmetric: Whether the matrix is symmetric.
            positive_definite: Whether it is symmetric positive definite.
            device: Where the operator lives; the CPU by default.

        Raises:
            TypeError: If `matrix` is not a real scipy sparse matrix.
        """
        if not scipy.sparse.issparse(matrix):
            raise TypeError(
                f"SparseOperator.from_scipy: expected a scipy.sparse matrix, got "
                f"{type(matrix).__name__}; use DenseOperator for dense ones"
            )
        compressed = scipy.sparse.csr_array(matrix)
        if not compressed.has_canonical_format:
            compressed = compressed.copy()  # it may share its arrays with `matrix`
            compressed.sum_duplicates()
        if compressed.dtype.kind == "c":
            raise TypeError(
                f"SparseOperator.from_scipy: expected real entries, got {compressed.dtype}; "
                "solve real and imaginary parts as one real system"
            )
        if compressed.dtype.kind != "f":
            compressed = compressed.astype("float64")
        every_row = np.arange(compressed.shape[0], dtype=compressed.indices.dtype)
        rows = np.repeat(every_row, np.diff(compressed.indptr))
        shape = (compressed.shape[1],) if in_shape is None else tuple(in_shape)
        square = compressed.shape[0] == compressed.shape[1]
        if out_shape is None:
            out_shape = shape if square else (compressed.shape[0],)
        return cls(
            torch.from_numpy(compressed.data.copy()).to(device),
            torch.from_numpy(rows).to(device),
            torch.from_numpy(compressed.indices.copy()).to(device),
            shape,
            out_shape,
            symmetric=symmetric,
            positive_definite=positive_definite,
        )

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.values,)

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "SparseOperator":
        (values,) = tensors
        other = copy.copy(self)  # the indices were checked when this operator was made
        other.values, other.dtype, other.device = values, values.dtype, values.device
        other.rows, other.columns = self.rows.to(values.device), self.columns.to(values.device)
        other._form = other._transposed = None
        return other

    @property
    @override
    def T(self) -> "SparseOperator":
        if self.symmetric:
            return self
        if self._transposed is None:
            order = torch.argsort(self.columns, stable=True)
            with torch.no_grad():
                self._transposed = (
                    order,
                    SparseOperator(
                        self.values[order],
                        self.columns[order],
                        self.rows[order],
                        self.out_shape,
                        self.in_shape,
                    ),
                )
        order, transposed = self._transposed
        if torch.is_grad_enabled() and self.values.requires_grad:
            return transposed.with_tensors([self.values[order]])
        return transposed

    @override
    def _mv(self, x: Tensor) -> Tensor:
        flat = self._flat(x)
        if torch.is_grad_enabled() and (self.values.requires_grad or x.requires_grad):
            products = self.values * flat[..., self.columns]
            image = products.new_zeros(*flat.shape[:-1], self._size[0])
            image = image.index_add(-1, self.rows, products)
        elif isinstance(form := self._product_form(), Diagonals):
            image = form.mv(flat)
        elif flat.ndim == 1:
            image = form @ flat
        else:
            # the kernel wants the right-hand sides side by side in memory
            image = (form @ flat.reshape(-1, self._size[1]).T.contiguous()).T
        return image.reshape(*flat.shape[:-1], *self.out_shape)

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """The diagonal, zero where no entry is stored."""
        self.check_square("diagonal")
        on_diagonal = self.rows == self.columns
        zeros = self.values.new_zeros(self._size[0])
        flat = zeros.index_add(0, self.rows[on_diagonal], self.values[on_diagonal])
        return flat.reshape(self.in_shape)

    def _product_form(self) -> Tensor | Diagonals:
        """The matrix stored for products, made for the first of them."""
        if self._form is None and self.device.type == "cpu":
            entries = self.values.detach(), self.rows, self.columns
            self._form = Diagonals.of_entries(*entries, self._size)
        if self._form is None:
            self._form = self._compressed_rows()
        return self._form

    def _compressed_rows(self) -> Tensor:
        counts = torch.bincount(self.rows, minlength=self._size[0])
        starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).to(self.rows.dtype)
        with warnings.catch_warnings():
            # torch announces once that this format may still change
            warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
            return torch.sparse_csr_tensor(
                starts,
                self.columns,
                self.values.detach(),
                size=self._size,
                check_invariants=False,  # checked, in words, by the constructor
            )
