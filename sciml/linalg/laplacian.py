"""The Laplacian on boxes by second-order differences, solved by trigonometric transforms."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor
from typing_extensions import override

from sciml.domain import GridKind
from sciml.fft.transforms import irfftn, rfftn
from sciml.fft.trigonometric import dct, dst, idct, idst
from sciml.linalg.kronecker_sum import KroneckerSumOperator
from sciml.linalg.modes import outer_product, outer_sum
from sciml.linalg.operator import SolvableOperator

Boundary = Literal["dirichlet", "neumann", "periodic"]


class _Axis(NamedTuple):
    """One axis of the box: points, spacing, and what lies beyond its ends."""

    size: int
    spacing: float
    boundary: Boundary
    grid: GridKind

    @property
    def reflects_at_points(self) -> bool:
        """Whether the ends are grid points with a Neumann condition: half cells."""
        return self.boundary == "neumann" and self.grid == "vertex"

    def ghost(self) -> tuple[int, float]:
        """The value beyond the low end: index of the point it copies, and its sign."""
        if self.boundary == "periodic":
            return -1, 1.0
        if self.boundary == "dirichlet":
            return 0, -1.0 if self.grid == "cell" else 0.0
        return (0, 1.0) if self.grid == "cell" else (1, 1.0)

    def eigenvalues(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """4 sin²(θ_k / 2) / h², in the order of the axis's transform."""
        first, length = 0, self.size
        if self.boundary == "periodic":
            step = 2 * math.pi / self.size
        elif self.boundary == "dirichlet":
            first = 1
            step = math.pi / (self.size + (self.grid == "vertex"))
        else:
            step = math.pi / (self.size - (self.grid == "vertex"))
        index = torch.arange(first, first + length, dtype=torch.float64, device=device)
        values = 4 * torch.sin(0.5 * step * index) ** 2 / self.spacing**2
        return values.to(dtype)

    def weights(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Width of each point's cell over the spacing: half at Neumann ends on points."""
        weights = torch.ones(self.size, dtype=dtype, device=device)
        if self.reflects_at_points:
            weights[0] = weights[-1] = 0.5
        return weights


@final
class LaplacianOperator(SolvableOperator):
    """**Minus** the Laplacian, −Δ, by three-point differences on each axis of a box.

    With this sign the operator is positive definite (where a null space is known: on its
    complement), as solvers want it. Unknowns per axis:

    ==========  ===========================  ==============================
    boundary    cell-centred                 vertex-centred
    ==========  ===========================  ==============================
    dirichlet   all cells, odd ghost         interior points
    neumann     all cells, even ghost        all points, mirrored ghost
    periodic    all cells                    all points but the repeated one
    ==========  ===========================  ==============================

    Boundary values are zero; those of a given problem go into the right-hand side. Neumann ends
    on points make the matrix non-symmetric (its half cells): W A is symmetric with W the cell
    widths, and `T` is another operator.

    Args:
        shape: Unknowns per axis.
        spacing: Grid spacing h, one or one per axis.
        boundary: ``"dirichlet"``, ``"neumann"`` or ``"periodic"``, one or one per axis.
        grid: ``"cell"`` or ``"vertex"``, one or one per axis.
        dtype: Floating dtype of the fields. float64 by default, unlike torch: a solve loses
            ε · (L/h)² of its accuracy, in float32 all that `linear_solve` asks for by default
            from about 200 points a side.
        device: Where the fields live; the CPU by default.

    Raises:
        ValueError: If an option has another number of axes or an unknown value, a spacing is
            not positive, or an axis is too short.

    Source: LeVeque, Finite Difference Methods (2007), ch. 3; Strang, SIAM Review 41 (1999), for
    the transforms.
    """

    def __init__(
        self,
        shape: Sequence[int],
        spacing: float | Sequence[float] = 1.0,
        *,
        boundary: Boundary | Sequence[Boundary] = "dirichlet",
        grid: GridKind | Sequence[GridKind] = "cell",
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        axes = _axes(shape, spacing, boundary, grid)
        symmetric = not any(axis.reflects_at_points for axis in axes)
        super().__init__(
            shape,
            shape,
            dtype=dtype,
            device=torch.device("cpu") if device is None else device,
            positive_definite=symmetric,
        )
        self.axes = axes
        self._transposed = False

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return ()

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "LaplacianOperator":
        return self

    @property
    @override
    def T(self) -> "LaplacianOperator":
        if self.symmetric:
            return self
        transposed = LaplacianOperator(
            self.in_shape,
            [axis.spacing for axis in self.axes],
            boundary=[axis.boundary for axis in self.axes],
            grid=[axis.grid for axis in self.axes],
            dtype=self.dtype,
            device=self.device,
        )
        transposed._transposed = not self._transposed
        return transposed

    @override
    def _mv(self, x: Tensor) -> Tensor:
        if self._transposed:  # Aᵀ = W A W⁻¹
            return self._differences(x / self._widths()) * self._widths()
        return self._differences(x)

    def _differences(self, x: Tensor) -> Tensor:
        image = x * sum(2 / axis.spacing**2 for axis in self.axes)
        for k, axis in enumerate(self.axes, start=-len(self.axes)):
            weight, last = axis.spacing**-2, axis.size - 1
            image.narrow(k, 1, last).sub_(x.narrow(k, 0, last), alpha=weight)
            image.narrow(k, 0, last).sub_(x.narrow(k, 1, last), alpha=weight)
            source, sign = axis.ghost()
            if sign:
                low, high = source % axis.size, (last - source) % axis.size
                image.narrow(k, 0, 1).sub_(x.narrow(k, low, 1), alpha=sign * weight)
                image.narrow(k, last, 1).sub_(x.narrow(k, high, 1), alpha=sign * weight)
        return image

    @override
    def null_space(self) -> Float[Tensor, "k *shape"] | None:
        """Constants (weighted by cell widths for `T`) where no axis is Dirichlet."""
        if any(axis.boundary == "dirichlet" for axis in self.axes):
            return None
        constant = torch.ones(self.in_shape, dtype=self.dtype, device=self.device)
        basis = self._widths() if self._transposed else constant
        norm: Tensor = torch.linalg.vector_norm(basis)
        return (basis / norm).unsqueeze(0)

    def eigenvalues(self) -> Float[Tensor, "*shape"]:
        """All eigenvalues as a field, in the order of the transforms of each axis."""
        return outer_sum([axis.eigenvalues(self.dtype, self.device) for axis in self.axes])

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """A⁻¹ b by one fast transform per axis and its inverse: O(N log N).

        Where the null space is not trivial, the solution of least norm for the projected `b`.
        """
        self._check_field("solve", b, self.out_shape)
        right = self.project(b)
        if self._transposed:
            x = self._solve_plain(right / self._widths()) * self._widths()
        else:
            x = self._solve_plain(right)
        return self.T.project(x)

    def to_kronecker_sum(self) -> KroneckerSumOperator:
        """The same operator with one dense matrix an axis."""
        factors = []
        for axis in self.axes:
            line = LaplacianOperator(
                (axis.size,),
                axis.spacing,
                boundary=axis.boundary,
                grid=axis.grid,
                dtype=self.dtype,
                device=self.device,
            )
            factors.append((line.T if self._transposed else line).to_dense())
        definite = self.positive_definite and self.null_space() is None
        return KroneckerSumOperator(
            factors, symmetric=self.symmetric, positive_definite=definite
        )

    def _solve_plain(self, b: Tensor) -> Tensor:
        count = len(self.axes)
        periodic = [k - count for k, a in enumerate(self.axes) if a.boundary == "periodic"]
        lengths = [self.in_shape[k] for k in periodic]
        eigenvalues = self.eigenvalues()
        coefficients = b
        for k, axis in enumerate(self.axes, start=-count):
            coefficients = _transform(axis, coefficients, k, inverse=False)
        if periodic:
            coefficients = rfftn(coefficients, periodic)
            eigenvalues = eigenvalues.narrow(periodic[-1], 0, lengths[-1] // 2 + 1)
        # the zero mode, where there is one, is left out: the caller fixes the constant
        quotient = coefficients / torch.where(eigenvalues == 0, torch.inf, eigenvalues)
        x = irfftn(quotient, periodic, lengths) if periodic else quotient
        for k, axis in enumerate(self.axes, start=-count):
            x = _transform(axis, x, k, inverse=True)
        return x

    def _widths(self) -> Tensor:
        return outer_product([axis.weights(self.dtype, self.device) for axis in self.axes])


def _transform(axis: _Axis, u: Tensor, k: int, *, inverse: bool) -> Tensor:
    """To or from the eigenvectors of a bounded axis; periodic ones go through one real FFT."""
    if axis.boundary == "periodic":
        return u
    kind: Literal[1, 2] = 1 if axis.grid == "vertex" else 2
    if axis.boundary == "dirichlet":
        return (idst if inverse else dst)(u, kind, (k,))
    return (idct if inverse else dct)(u, kind, (k,))


def _axes(
    shape: Sequence[int],
    spacing: Any,
    boundary: Boundary | Sequence[Boundary],
    grid: GridKind | Sequence[GridKind],
) -> tuple[_Axis, ...]:
    """One record an axis, from options given once or per axis; arrays and tensors will do."""
    count = len(shape)
    spacings = np.asarray(spacing, dtype=np.float64).tolist()
    spacings = [spacings] * count if isinstance(spacings, float) else spacings
    boundaries = [boundary] * count if isinstance(boundary, str) else list(boundary)
    grids = [grid] * count if isinstance(grid, str) else list(grid)
    if not count or not len(spacings) == len(boundaries) == len(grids) == count:
        raise ValueError(
            f"LaplacianOperator: expected one spacing, boundary and grid per axis of "
            f"{tuple(shape)}, got {spacings}, {boundaries}, {grids}; give one for all axes or "
            "one each"
        )
    axes = tuple(map(_Axis, shape, spacings, boundaries, grids))
    for axis in axes:
        known = axis.boundary in ("dirichlet", "neumann", "periodic")
        if not known or axis.grid not in ("cell", "vertex"):
            raise ValueError(
                "LaplacianOperator: expected boundary dirichlet, neumann or periodic and grid "
                f"cell or vertex, got {axis.boundary!r} and {axis.grid!r}; pass one of these"
            )
        if not 0 < axis.spacing < math.inf or axis.size < 1 + axis.reflects_at_points:
            raise ValueError(
                f"LaplacianOperator: expected a positive spacing and enough points, got "
                f"{axis}; a vertex-centred Neumann axis has at least its two ends"
            )
    return axes
