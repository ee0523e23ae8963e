"""Variable coefficients on grids: conjugate gradients in the modes of a separable weight."""

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.linalg.factorize import cholesky, symmetric_eigendecomposition
from sciml.linalg.kronecker import kronecker_product
from sciml.linalg.modes import mode_product, outer_sum
from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.cg import CG
from sciml.models.gp_hm.direct_basis import LegendreBasis
from sciml.models.gp_hm.direct_equation import Samples, SeparableEquation
from sciml.models.gp_hm.direct_grid import GridSolution, GridSystem
from sciml.pde.conditions import FaceCondition
from sciml.pde.points import face_points

_DIVERGENCE_TOLERANCE = 1e-3  # a steep coefficient is not resolved to rounding
_RTOL = 1e-10  # each of the two solves; the second corrects the first
_MAX_STEPS = 4000
LARGEST_CONTRAST = 1e5  # 1e4 takes 2000 steps; the residual says little about the error beyond


@final
class WeakDiffusion(LinearOperator):
    """⟨∇ψ, a ∇u⟩ − ⟨ψ, c u⟩ in given modes of each axis, by Gauss quadrature.

    Args:
        values: Modes of each axis at its nodes, (n_k, r_k).
        slopes: Their derivatives there.
        diffusion: Coefficient times quadrature weight on the grid, one per axis.
        reaction: c times quadrature weight on the grid.
        scale: Factor on both sides, (r₁, …, r_d).
    """

    def __init__(
        self,
        values: Sequence[Float[Tensor, "_ _"]],
        slopes: Sequence[Float[Tensor, "_ _"]],
        diffusion: Sequence[Float[Tensor, "*shape"]],
        reaction: Float[Tensor, "*shape"],
        scale: Float[Tensor, "*modes"],
    ) -> None:
        shape = tuple(matrix.shape[1] for matrix in values)
        super().__init__(
            shape, shape, dtype=scale.dtype, device=scale.device, positive_definite=True
        )
        self._values, self._slopes = tuple(values), tuple(slopes)
        self._diffusion, self._reaction, self._scale = tuple(diffusion), reaction, scale
        self._reacts = bool((reaction != 0).any())

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (
            *self._values,
            *self._slopes,
            *self._diffusion,
            self._reaction,
            self._scale,
        )

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "WeakDiffusion":
        d = len(self._values)
        return WeakDiffusion(
            tensors[:d],
            tensors[d : 2 * d],
            tensors[2 * d : 3 * d],
            tensors[3 * d],
            tensors[3 * d + 1],
        )

    @property
    @override
    def T(self) -> "WeakDiffusion":
        return self

    @override
    def _mv(self, x: Tensor) -> Tensor:
        scaled = x * self._scale
        total = torch.zeros_like(scaled)
        for k, weight in enumerate(self._diffusion):
            factors = [
                self._slopes[j] if j == k else self._values[j] for j in range(len(self._values))
            ]
            total = total + _weighted(factors, weight, scaled)
        if self._reacts:
            total = total - _weighted(self._values, self._reaction, scaled)
        return total * self._scale


def _weighted(factors: Sequence[Tensor], weight: Tensor, x: Tensor) -> Tensor:
    inside = kronecker_product(factors, x) * weight
    return kronecker_product([factor.T for factor in factors], inside)


@final
class DiffusionSystem:
    r"""Σ_k ∂_k(a_k ∂_k u) + c u = f on the nodes of Legendre bases, for a linear equation.

    The preconditioner is the operator of the separable part of the coefficient,
    :math:`\log a ≈ α_1(x_1) + … + α_d(x_d)`, which the generalised eigenvectors of each axis
    diagonalise: the unknowns are coefficients in those modes, divided by the root of the sum of
    the eigenvalues (spec 6.2b, recipe 5).

    Args:
        equation: The equation with the mean coefficients (its sides give the lift).
        bases: Legendre bases.
        samples: The equation at their nodes.

    Raises:
        ValueError: If the operator is not of this form, or the contrast is too large.
    """

    def __init__(
        self,
        equation: SeparableEquation,
        bases: Sequence[LegendreBasis],
        samples: Samples,
    ) -> None:
        self.equation, self.bases, self.samples = equation, tuple(bases), samples
        self._grid = GridSystem(equation, bases, samples)
        self._values = [basis.at_nodes() for basis in bases]
        self._slopes = [basis.at_nodes(1) for basis in bases]
        self._diffusion, self._sign = self._coefficients()
        self._weights = [basis.quadrature for basis in bases]
        self._quadrature = _outer(self._weights)
        self._modes, self._eigenvalues = self._separable()

    def solve(self) -> GridSolution:
        """The solution, by conjugate gradients and one correction of the same kind."""
        lifted = self._grid.lift(
            torch.zeros([basis.size for basis in self.bases], dtype=torch.float64)
        )
        scale = outer_sum(self._eigenvalues).rsqrt()
        free = self._operator(self._modes, scale)
        whole = self._operator(
            [torch.eye(basis.size, dtype=torch.float64) for basis in self.bases],
            torch.ones_like(lifted),
        )
        tests = [values.T for values in self._values]
        offset = self._sign * self.samples.offset * self._quadrature
        load = kronecker_product(tests, offset) + self._flux()
        transposed = [modes.T for modes in self._modes]
        c, steps, detail = lifted, 0, ""
        for _ in range(2):
            right = scale * kronecker_product(transposed, load - whole.mv(c))
            found = CG(rtol=_RTOL, max_steps=_MAX_STEPS).solve(free, right)
            c = c + kronecker_product(self._modes, scale * found.value)
            steps += found.num_steps
            # the correction may stagnate at rounding; the first solve may not
            if steps == found.num_steps and not found:
                detail = (
                    f"conjugate gradients took {steps} steps without converging; the contrast "
                    "of the coefficients is too large for this method, use ChebyshevCollocation"
                )
        return GridSolution(self.bases, c, (), steps, detail)

    def _operator(self, modes: Sequence[Tensor], scale: Tensor) -> WeakDiffusion:
        return WeakDiffusion(
            [values @ matrix for values, matrix in zip(self._values, modes, strict=True)],
            [slopes @ matrix for slopes, matrix in zip(self._slopes, modes, strict=True)],
            [a * self._quadrature for a in self._diffusion],
            self._sign * self.samples.reaction * self._quadrature,
            scale,
        )

    def _coefficients(self) -> tuple[list[Tensor], float]:
        """a_k on the grid, positive, and the sign that made it so."""
        axes = self.equation.domain.axes
        found = []
        for k, axis in enumerate(axes):
            second = tuple(2 * (j == k) for j in range(len(axes)))
            first = tuple(int(j == k) for j in range(len(axes)))
            a = self.samples.derivative(second)
            slope = mode_product(self.bases[k].differentiation(), a, len(axes) - 1 - k)
            gap = float((self.samples.derivative(first) - slope).abs().max())
            if gap > _DIVERGENCE_TOLERANCE * max(
                float(slope.abs().max()), float(a.abs().max())
            ):
                raise ValueError(
                    "GPHMSolver: expected variable coefficients in divergence form, "
                    f"∂({axis}) of a ∂u/∂{axis}, got a first derivative along {axis!r} that is "
                    "not the derivative of the second one's coefficient; multiply the equation "
                    "by an integrating factor, or use ChebyshevCollocation"
                )
            found.append(a)
        sign = 1.0 if float(found[0].mean()) > 0 else -1.0
        found = [sign * a for a in found]
        smallest = min(float(a.min()) for a in found)
        largest = max(float(a.max()) for a in found)
        if not (smallest > 0 and largest < LARGEST_CONTRAST * smallest):
            raise ValueError(
                "GPHMSolver: expected diffusion of one sign with a contrast below "
                f"{LARGEST_CONTRAST:.0e}, got values between {smallest:.3g} and {largest:.3g}; "
                "conjugate gradients take thousands of steps beyond, use ChebyshevCollocation"
            )
        return found, sign

    def _separable(self) -> tuple[list[Tensor], list[Tensor]]:
        """Modes of each axis, orthonormal under the separable weight, and their eigenvalues."""
        mean = torch.stack([a.log() for a in self._diffusion]).mean(0)
        total = self._quadrature.sum()
        level = float((mean * self._quadrature).sum() / total)
        modes, eigenvalues = [], []
        for k, weight in enumerate(self._weights):
            others = [j for j in range(len(self.bases)) if j != k]
            profile = (mean * self._quadrature).sum(others) / (weight * total / weight.sum())
            own = (profile - level + level / len(self.bases)).exp() * weight
            ratio = (self._diffusion[k].log() - mean) * self._quadrature
            strength = math.exp(float(ratio.sum() / total))
            free = self._grid.axes[k].free
            values, slopes = self._values[k] @ free, self._slopes[k] @ free
            mass = values.T @ (own[:, None] * values)
            stiffness = strength * (slopes.T @ (own[:, None] * slopes))
            root = cholesky("DiffusionSystem", mass)
            half = torch.linalg.solve_triangular(root, stiffness, upper=False)
            whole = torch.linalg.solve_triangular(root, half.T, upper=False)
            found, vectors = symmetric_eigendecomposition(
                "DiffusionSystem", 0.5 * (whole + whole.T)
            )
            back = torch.linalg.solve_triangular(root.T, vectors, upper=True)
            modes.append(free @ back)
            # constants on an axis without values on its sides have the eigenvalue zero
            floor = float(found.max()) * torch.finfo(torch.float64).eps
            eigenvalues.append(found.clamp_min(floor))
        return modes, eigenvalues

    def _on_face(self, k: int, condition: FaceCondition) -> Tensor:
        """a_k on the grid of a face."""
        problem = self.equation.problem
        lines = self.samples.lines
        points = face_points(problem.domain, condition.axis, condition.side, lines)
        _, rates = problem.linearise(points, problem.zero_jets(points.shape[0]))
        second = tuple(2 * (j == k) for j in range(len(lines)))
        shape = [line.numel() for j, line in enumerate(lines) if j != k]
        return self._sign * rates[problem.fields[0]][second].reshape(shape)

    def _flux(self) -> Tensor:
        """Load of the prescribed derivatives."""
        load = torch.zeros([basis.size for basis in self.bases], dtype=torch.float64)
        last = len(self.bases) - 1
        for k, axis in enumerate(self._grid.axes):
            for condition in axis.natural:
                end = axis.basis.evaluate(self.equation.position(condition))
                data = self.samples.face(condition) * self._on_face(k, condition)
                others = [basis.test for j, basis in enumerate(self.bases) if j != k]
                inner = kronecker_product(others, data).unsqueeze(k)
                load = load + mode_product(end.T, inner, last - k)
        return load


def _outer(weights: Sequence[Tensor]) -> Tensor:
    total = torch.ones((), dtype=torch.float64)
    for weight in weights:
        total = total[..., None] * weight
    return total
