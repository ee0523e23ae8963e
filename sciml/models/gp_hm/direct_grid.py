"""Two and three dimensions: boundary lift, separable solve and chord Newton in axis bases."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.linalg.kronecker import kronecker_product
from sciml.linalg.modes import mode_product
from sciml.models.gp_hm.direct_basis import AxisBasis
from sciml.models.gp_hm.direct_equation import Samples, SeparableEquation
from sciml.models.gp_hm.direct_separable import SeparableInverse
from sciml.models.gp_hm.direct_solution import HarmonicSolution
from sciml.models.gp_hm.model import HarmonicFeatures
from sciml.pde.conditions import FaceCondition
from sciml.pde.jet import MultiIndex

_CHORD_TOLERANCE = 1e-12  # of a step relative to the solution; the chord gains a digit a step


@final
@dataclass(frozen=True)
class GridSolution(HarmonicSolution):
    """Coefficients in the axis bases and how they were found.

    Args:
        bases: Basis of each axis.
        coefficients: C, one axis per basis.
        steps: Size of each chord Newton step relative to the solution.
        linear_steps: Steps of conjugate gradients, where the coefficients vary.
        detail: Why the solve did not converge, empty where it did.
    """

    bases: tuple[AxisBasis, ...]
    coefficients: Float[Tensor, "*sizes"]
    steps: tuple[float, ...]
    linear_steps: int = 0
    detail: str = ""

    @property
    @override
    def all_features(self) -> tuple[HarmonicFeatures, ...]:
        return tuple(basis.features for basis in self.bases)

    @override
    def on_grid(
        self, lines: Sequence[Float[Tensor, " _"]], orders: Sequence[int]
    ) -> Float[Tensor, "*shape"]:
        factors = [
            basis.evaluate(line, order)
            for basis, line, order in zip(self.bases, lines, orders, strict=True)
        ]
        return kronecker_product(factors, self.coefficients)

    @override
    def evaluate(self, points: Float[Tensor, "n d"], orders: MultiIndex) -> Float[Tensor, " n"]:
        first, *rest = (
            basis.evaluate(points[:, k].contiguous(), order)
            for k, (basis, order) in enumerate(zip(self.bases, orders, strict=True))
        )
        values = (first @ self.coefficients.flatten(1)).reshape(
            points.shape[0], *self.coefficients.shape[1:]
        )
        for factor in rest:
            values = torch.einsum("nr...,nr->n...", values, factor)
        return values

    @override
    def centred(self) -> "GridSolution":
        means = [basis.features.averages() @ basis.combination for basis in self.bases]
        mean = kronecker_product([row[None] for row in means], self.coefficients)
        ones = [(basis.test @ torch.ones_like(basis.nodes))[:, None] for basis in self.bases]
        return replace(self, coefficients=self.coefficients - kronecker_product(ones, mean))

    @override
    def feature_coefficients(self, axis: int) -> Float[Tensor, "columns others"]:
        front = self.coefficients.movedim(axis, 0).flatten(1)
        return self.bases[axis].combination @ front


@dataclass
class _Axis:
    """What the conditions at the ends of one axis do to its basis."""

    basis: AxisBasis
    matrix: Tensor
    rows: Tensor
    essential: tuple[FaceCondition, ...]
    natural: tuple[FaceCondition, ...]
    free: Tensor = field(init=False)
    right_inverse: Tensor = field(init=False)

    def __post_init__(self) -> None:
        size, count = self.basis.size, self.rows.shape[0]
        if count == 0:
            self.free = torch.eye(size, dtype=torch.float64)
            self.right_inverse = torch.zeros(size, 0, dtype=torch.float64)
            return
        full, triangle = torch.linalg.qr(self.rows.T, mode="complete")
        self.free = full[:, count:]
        self.right_inverse = full[:, :count] @ torch.linalg.inv(triangle[:count].T)


@final
class GridSystem:
    """The discrete equation in given bases: conditions exact, residual zero in the tests.

    The unknown is C with u = Σ C ψ₁ ⊗ … ⊗ ψ_d. Conditions at the ends of an axis are imposed by
    a lift; on a symmetric (weak) basis a prescribed derivative is a flux of the load instead.

    Args:
        equation: The separable equation.
        bases: One basis per axis.
        samples: The equation at the nodes of the bases.
        free_constant: Whether constants are left open; of all solutions the one without the
            constant is found, which is that of the nearest right-hand side that has one.
    """

    def __init__(
        self,
        equation: SeparableEquation,
        bases: Sequence[AxisBasis],
        samples: Samples,
        *,
        free_constant: bool = False,
    ) -> None:
        self.equation, self.bases, self.samples = equation, tuple(bases), samples
        self._values = [basis.at_nodes() for basis in self.bases]
        self.axes = [self._axis(k, basis) for k, basis in enumerate(self.bases)]
        symmetric = [basis.symmetric for basis in self.bases]
        reduced = [axis.free.T @ axis.matrix @ axis.free for axis in self.axes]
        self.inverse = SeparableInverse(reduced, symmetric, free_constant=free_constant)

    def solve(
        self,
        *,
        max_steps: int,
        start: Float[Tensor, "*shape"] | None,
        samples: Samples | None = None,
    ) -> GridSolution:
        """Chord Newton from nodal values `start` (zero if None), with other samples if given.

        The Jacobian is the constant-coefficient part plus the mean of the reaction coefficient;
        for a linear equation with constant reaction the first step solves it and the second is
        iterative refinement.
        """
        tests = [basis.test for basis in self.bases]
        zero = torch.zeros([basis.size for basis in self.bases], dtype=torch.float64)
        c = self.lift(zero if start is None else kronecker_product(tests, start))
        flux, samples = self._flux(), samples or self.samples
        free = [axis.free for axis in self.axes]
        reduce = [matrix.T for matrix in free]
        sizes: list[float] = []
        best, smallest = c, float("inf")
        for _ in range(max_steps):
            value = kronecker_product(self._values, c)
            remainder, reaction = samples.remainder(value)
            residual = kronecker_product(tests, remainder) + flux
            for k, axis in enumerate(self.axes):
                residual = residual + mode_product(axis.matrix, c, len(self.axes) - 1 - k)
            step = -self.inverse(kronecker_product(reduce, residual), reaction)
            size = float(torch.linalg.vector_norm(step))
            if not size < 1e3 * smallest:
                break
            c = c + kronecker_product(free, step)
            sizes.append(size / max(float(torch.linalg.vector_norm(c)), 1e-300))
            if size < smallest:
                best, smallest = c, size
            if sizes[-1] < _CHORD_TOLERANCE:
                break
        return GridSolution(self.bases, best, tuple(sizes))

    def _axis(self, k: int, basis: AxisBasis) -> _Axis:
        matrix = basis.operator(self.equation.coefficients[k])
        conditions = self.equation.ends[k]
        natural = tuple(c for c in conditions if basis.symmetric and 1 in c.coefficients)
        essential = tuple(c for c in conditions if c not in natural)
        diffusion = self.equation.coefficients[k].get(2, 0.0)
        for condition in natural:
            # the part of a Robin condition with u itself belongs to the matrix
            end = self._end(basis, condition, 0)
            matrix = matrix - diffusion * condition.coefficients.get(0, 0.0) * (end.T @ end)
        rows = [
            sum(
                (
                    factor * self._end(basis, condition, order)
                    for order, factor in condition.coefficients.items()
                ),
                start=torch.zeros(1, basis.size, dtype=torch.float64),
            )
            for condition in essential
        ]
        empty = torch.zeros(0, basis.size, dtype=torch.float64)
        return _Axis(basis, matrix, torch.cat([empty, *rows]), essential, natural)

    def _end(self, basis: AxisBasis, condition: FaceCondition, order: int) -> Tensor:
        """Derivative of all functions at the end of the axis, as a row."""
        if order == 0 and not basis.symmetric:
            # the samples themselves: trailing functions differ from their features there
            return basis.at_nodes()[[0 if condition.side == "low" else -1]]
        return basis.evaluate(self.equation.position(condition), order)

    def _data(self, k: int, condition: FaceCondition) -> Tensor:
        """Coefficients of the data of one side in the bases of the other axes."""
        others = [basis.test for j, basis in enumerate(self.bases) if j != k]
        return kronecker_product(others, self.samples.face(condition))

    def lift(self, c: Tensor) -> Tensor:
        """The nearest coefficients that meet all essential conditions, one axis at a time.

        The later axes leave the earlier conditions as they are where the data agree on the
        edges that the sides share.
        """
        last = len(self.axes) - 1
        for k, axis in enumerate(self.axes):
            if not axis.essential:
                continue
            data = torch.stack([self._data(k, e) for e in axis.essential], dim=k)
            gap = data - mode_product(axis.rows, c, last - k)
            c = c + mode_product(axis.right_inverse, gap, last - k)
        return c

    def _flux(self) -> Tensor:
        """Load of the prescribed derivatives of a weak form."""
        load = torch.zeros([basis.size for basis in self.bases], dtype=torch.float64)
        for k, axis in enumerate(self.axes):
            diffusion = self.equation.coefficients[k].get(2, 0.0)
            for condition in axis.natural:
                end = self._end(axis.basis, condition, 0).T
                data = diffusion * self._data(k, condition)
                load = load + mode_product(end, data.unsqueeze(k), len(self.axes) - 1 - k)
        return load
