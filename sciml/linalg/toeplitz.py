"""Toeplitz operators: constant along diagonals, multiplied and solved through FFTs."""

from collections.abc import Sequence
from typing import final

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Num
from torch import Tensor
from typing_extensions import override

from sciml.linalg.circulant import fast_length
from sciml.linalg.factorize import cholesky, lu_solve
from sciml.linalg.implicit import implicit_solve
from sciml.linalg.operator import LinearOperator, SolvableOperator
from sciml.linalg.preconditioners.circulant import OptimalCirculant
from sciml.linalg.solvers.cg import CG
from sciml.linalg.toeplitz_logdet import toeplitz_logdet

_MATRIX_PRODUCT_WORK = 1_200_000
"""rows · columns · (fields + 7) up to which a product with the stored matrix beats the FFT.

Measured on one core: break-even at 400² for one field, 250² for 8, 140² for 64.
"""

_LEVINSON_WORK, _LEVINSON_WORK_PER_ENTRY = 700_000, 250
"""Preconditioned CG beats scipy's Levinson recursion where fields · n² is larger than the first
number, which is the overhead of CG, plus the second for every entry of b (measured)."""

_MAX_STEPS = 200
"""Steps of CG that cost about as much as the dense factorisation that follows."""

_RESIDUAL = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Relative true residual that `ToeplitzOperator.solve` stands for."""


@final
class ToeplitzOperator(SolvableOperator):
    """T[i, j] = column[i − j] on and below the diagonal, row[j − i] above it.

    Args:
        column: First column; leading axes are a batch of operators.
        row: First row, whose first entry is not read; `column` by default (symmetric). Another
            length makes the operator rectangular.
        positive_definite: Whether the matrix is symmetric positive definite.

    Raises:
        ValueError: If a row is given for a matrix that is said to be positive definite, or
            batch axes differ.
        TypeError: If `column` and `row` differ in dtype or device.

    Source: Golub and Van Loan, Matrix Computations (2013), §4.7 and §4.8.
    """

    def __init__(
        self,
        column: Num[Tensor, "*batch rows"],
        row: Num[Tensor, "*batch columns"] | None = None,
        *,
        positive_definite: bool = False,
    ) -> None:
        if row is not None and positive_definite:
            raise ValueError(
                "ToeplitzOperator: expected no row where positive_definite=True, got one; a "
                "symmetric matrix is given by its column alone"
            )
        first_row = column if row is None else row
        if (first_row.dtype, first_row.device) != (column.dtype, column.device):
            raise TypeError(
                "ToeplitzOperator: expected column and row of one dtype and device, got "
                f"{column.dtype} on {column.device} and {first_row.dtype} on "
                f"{first_row.device}; convert one with .to()"
            )
        super().__init__(
            (first_row.shape[-1],),
            (column.shape[-1],),
            dtype=column.dtype,
            device=column.device,
            batch_shape=column.shape[:-1],
            symmetric=row is None,
            positive_definite=positive_definite,
        )
        self.column = column
        self.row = row
        self._kept: dict[str, Tensor] = {}

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.column,) if self.row is None else (self.column, self.row)

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "ToeplitzOperator":
        return ToeplitzOperator(*tensors, positive_definite=self.positive_definite)

    @property
    @override
    def T(self) -> "ToeplitzOperator":
        if self.row is None:
            return self
        # the corner belongs to the column: the row's own first entry is never read
        column = torch.cat([self.column[..., :1], self.row[..., 1:]], -1)
        return ToeplitzOperator(column, self.column)

    @override
    def _mv(self, x: Tensor) -> Tensor:
        rows, columns = self.out_shape[0], self.in_shape[0]
        work = rows * columns * (x.numel() // columns + 7)
        if work <= _MATRIX_PRODUCT_WORK and not self.batch_shape:
            return x @ self._keep("matrix").T
        length = fast_length(rows + columns - 1)
        # zeros behind x make the circular product a plain one; the plain transforms save
        # the checks of sciml.fft here, the inner loop of iterative solvers
        field = torch.fft.rfft(x, n=length)
        image: Tensor = torch.fft.irfft(self._keep("spectrum") * field, n=length)
        return image[..., :rows]

    @override
    def to_dense(self) -> Float[Tensor, "*batch rows columns"]:
        """The matrix, as a strided view of its diagonals, copied once."""
        row = self.column if self.row is None else self.row
        diagonals = torch.cat([row[..., 1:].flip(-1), self.column], -1)
        return diagonals.unfold(-1, self.in_shape[0], 1).flip(-1)

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """The constant first entry."""
        self.check_square("diagonal")
        return self.column[..., :1].expand(*self.batch_shape, *self.in_shape)

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """T⁻¹ b; gradients in `b`, `column` and `row` by one adjoint solve.

        On the CPU small systems and those that are not positive definite take the Levinson
        recursion, large positive definite ones conjugate gradients with T. Chan's circulant
        preconditioner. The relative true residual is measured: where it is above 1e-12
        (float64; 1e-5 in float32), as happens to the recursion on indefinite matrices and to
        the iteration on ill-conditioned ones, the dense factorisation is used instead, as for
        batches of operators.

        Source: Levinson 1947 (scipy.linalg.solve_toeplitz); T. Chan, SIAM J. Sci. Stat. Comput.
        9 (1988).

        Raises:
            ValueError: If T is not square, singular, or not positive definite though promised.
        """
        self.check_square("solve")
        self._check_field("solve", b, self.out_shape)
        return implicit_solve(self, b, _solve)

    def logdet(self) -> Float[Tensor, "*batch"]:
        """Log determinant of a positive definite T, differentiable in `column`, in O(n²).

        Raises:
            ValueError: If T was not declared positive definite or is not.

        Source: see `sciml.linalg.toeplitz_logdet`.
        """
        if not self.positive_definite:
            raise ValueError(
                "ToeplitzOperator.logdet: expected positive_definite=True, got an "
                "operator without it; DenseOperator(T.to_dense()).logdet() takes others too"
            )
        return toeplitz_logdet(self.column)

    def _keep(self, name: str) -> Tensor:
        """The matrix or the spectrum, kept between products unless gradients are recorded."""
        recorded = torch.is_grad_enabled() and any(t.requires_grad for t in self.tensors)
        if name in self._kept and not recorded:
            return self._kept[name]
        value = self.to_dense() if name == "matrix" else self._spectrum()
        if not recorded:
            self._kept[name] = value
        return value

    def _spectrum(self) -> Tensor:
        """Transform of the circulant matrix that holds T in its corner."""
        rows, columns = self.out_shape[0], self.in_shape[0]
        row = self.column if self.row is None else self.row
        gap = fast_length(rows + columns - 1) - (rows + columns - 1)
        zeros = row.new_zeros(*self.batch_shape, gap)
        diagonals = torch.cat([self.column, zeros, row[..., 1:].flip(-1)], -1)
        spectrum: Tensor = torch.fft.rfft(diagonals)
        return spectrum


def _solve(operator: LinearOperator, b: Tensor) -> Tensor:
    """T⁻¹ b by the cheapest way whose residual passes."""
    if not isinstance(operator, ToeplitzOperator):
        raise TypeError(f"ToeplitzOperator.solve: got {type(operator).__name__}")
    if operator.batch_shape:
        return _solve_dense(operator, b)
    rtol = _RESIDUAL[operator.dtype]
    on_cpu = operator.device.type == "cpu"
    overhead = _LEVINSON_WORK + _LEVINSON_WORK_PER_ENTRY * b.numel()
    large = b.numel() * operator.in_shape[0] >= overhead
    x = None
    if operator.positive_definite and (large or not on_cpu):
        x = _iterate(operator, b, rtol)
    elif on_cpu:
        x = _levinson(operator, b, rtol)
    return _solve_dense(operator, b) if x is None else x


def _iterate(operator: ToeplitzOperator, b: Tensor, rtol: float) -> Tensor | None:
    """Conjugate gradients with T. Chan's preconditioner; None where they do not serve."""
    try:
        preconditioner = OptimalCirculant(operator.column)
    except ValueError:  # not positive definite to working precision: the factorisation decides
        return None
    solver = CG(rtol=rtol, max_steps=_MAX_STEPS)
    solution = solver.solve(operator, b, preconditioner=preconditioner)
    return solution.value if solution else None


def _levinson(operator: ToeplitzOperator, b: Tensor, rtol: float) -> Tensor | None:
    """The recursion of scipy, always in float64; None where it breaks down or is inexact."""
    column = operator.column.double().numpy()
    row = operator.T.column.double().numpy()
    right = b.double().reshape(-1, b.shape[-1]).numpy()
    right = right[0] if len(right) == 1 else right.T
    try:
        solution = scipy.linalg.solve_toeplitz((column, row), right)
    except np.linalg.LinAlgError:  # a leading minor is zero
        return None
    x = torch.from_numpy(solution.T).to(b.dtype).reshape(b.shape)
    residual = torch.linalg.vector_norm(b - operator.mv(x), dim=-1)
    met = residual <= rtol * torch.linalg.vector_norm(b, dim=-1)
    return x if bool(met.all()) else None


def _solve_dense(operator: ToeplitzOperator, b: Tensor) -> Tensor:
    matrix = operator.to_dense()
    columns = b.unsqueeze(-1) if operator.batch_shape else b.reshape(-1, b.shape[-1]).T
    if operator.positive_definite:
        root = cholesky("ToeplitzOperator.solve", matrix)
        x = torch.cholesky_solve(columns, root)
    else:
        x = lu_solve("ToeplitzOperator.solve", matrix, columns)
    return x.squeeze(-1) if operator.batch_shape else x.T.reshape(b.shape)
