"""The linear system of one collocation step: direct where it separates, else GMRES or dense."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.composite import TransposedOperator
from sciml.linalg.factorize import lu_solve
from sciml.linalg.kronecker import kronecker_product
from sciml.linalg.kronecker_sum import KroneckerSumOperator
from sciml.linalg.modes import outer_sum
from sciml.linalg.operator import LinearOperator
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.gmres import GMRES
from sciml.pde.problem import Coefficients
from sciml.solvers.discretisation import Discretisation, Equation

# unknowns up to which factorising a system that does not separate is faster than GMRES, and up
# to which it is the way out where GMRES fails: 128 MiB
FAST_DENSE, LARGEST_DENSE = 1024, 4096
# eigenvectors worse than this lose the digits that one refinement restores
LARGEST_EIGENVECTOR_CONDITION = 1e8
SMALLEST_ROW = 1e-8
SMALLEST_EIGENVALUE = 1e-15
GMRES_RTOL = 1e-11
GMRES_RESTART, GMRES_STEPS = 60, 300
NAME = "ChebyshevCollocation: linear system"


def newton_step(system: Discretisation, equations: Sequence[Equation]) -> tuple[Tensor, str]:
    """The correction of all fields that the linearised equations ask for, and the method.

    Raises:
        ValueError: If the system is singular.
    """
    if not system.square:
        return system.split(_least_squares(system, equations)), "least squares"
    (residual, coefficients), field = equations[0], system.problem.fields[0]
    right = -system.collocated(residual)
    if len(system.shape) == 1:
        correction = lu_solve(NAME, system.dense(equations), right[:, None])[:, 0]
        return system.extend(field, correction)[None], "LU"
    factors, exact = system.separate(coefficients)
    if exact:
        return system.extend(field, _separable(factors).solve(right))[None], "separable"
    if right.numel() > FAST_DENSE:
        operator = _PreconditionedJacobian(system, coefficients, _separable(factors))
        solver = GMRES(rtol=GMRES_RTOL, restart=GMRES_RESTART, max_steps=GMRES_STEPS)
        solved = linear_solve(operator, operator.precondition(right), solver, throw=False)
        if solved or right.numel() > LARGEST_DENSE:
            outcome = f"{solved.num_steps} steps, {solved.status.name}"
            return system.extend(field, solved.value)[None], f"GMRES ({outcome})"
    matrix = system.dense(equations)
    correction = lu_solve(NAME, matrix, right.reshape(-1, 1)).reshape(right.shape)
    return system.extend(field, correction)[None], "LU"


def check_size(system: Discretisation) -> None:
    """Refuse systems of equations with a matrix that memory would not hold.

    Raises:
        ValueError: If there are more than 4096 unknowns.
    """
    unknowns = system.problem.num_fields * math.prod(system.shape)
    if not system.square and unknowns > LARGEST_DENSE:
        raise ValueError(
            f"ChebyshevCollocation: expected at most {LARGEST_DENSE} unknowns for a system of "
            f"equations, got {unknowns}; lower the resolution"
        )


def _least_squares(system: Discretisation, equations: Sequence[Equation]) -> Tensor:
    matrix = system.dense(equations)
    right = -torch.cat([residual for residual, _ in equations])
    # rows near the ends of an axis are larger by powers of the resolution; those of nodes where
    # the conditions fix everything hold rounding errors only
    scale = matrix.abs().amax(1)
    scale = scale.clamp_min(SMALLEST_ROW * float(scale.max()))
    found = torch.linalg.lstsq(
        matrix / scale[:, None], (right / scale)[:, None], driver="gelsy"
    )
    if system.problem.linear and int(found.rank) < matrix.shape[1]:
        raise ValueError(
            f"{NAME}: expected conditions that determine the solution, got a matrix of rank "
            f"{int(found.rank)} for {matrix.shape[1]} unknowns; add conditions"
        )
    solution: Tensor = found.solution[:, 0]
    return solution


class _Separable:
    """The inverse of a Kronecker sum, by Bartels and Stewart's method."""

    def __init__(self, operator: KroneckerSumOperator) -> None:
        self.operator = operator

    def solve(self, right: Tensor) -> Tensor:
        """The solution."""
        return self.operator.solve(right)


@final
class _Diagonalised(_Separable):
    """The inverse of a Kronecker sum of matrices with well-conditioned eigenvectors.

    Args:
        operator: The Kronecker sum.
        pairs: Eigenvalues, eigenvectors and their inverse, by axis.
    """

    def __init__(
        self, operator: KroneckerSumOperator, pairs: Sequence[tuple[Tensor, Tensor, Tensor]]
    ) -> None:
        super().__init__(operator)
        self._vectors = [vectors for _, vectors, _ in pairs]
        self._inverses = [inverse for _, _, inverse in pairs]
        self._eigenvalues = outer_sum([values for values, _, _ in pairs])

    @override
    def solve(self, right: Tensor) -> Tensor:
        """The solution, refined once: the eigenvectors are not orthogonal."""
        solution = self._solve(right)
        return solution + self._solve(right - self.operator.mv(solution))

    def _solve(self, right: Tensor) -> Tensor:
        coefficients = kronecker_product(self._inverses, right.to(self._eigenvalues.dtype))
        solution = kronecker_product(self._vectors, coefficients / self._eigenvalues)
        return solution.real if solution.is_complex() else solution


def _separable(factors: Sequence[Tensor]) -> _Separable:
    operator = KroneckerSumOperator(factors)
    if not all(bool(factor.isfinite().all()) for factor in factors):
        return _Separable(operator)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    for k, factor in enumerate(factors):
        twin = next((j for j in range(k) if torch.equal(factors[j], factor)), None)
        pair = _eigenpairs(factor) if twin is None else pairs[twin]
        if pair is None:
            return _Separable(operator)
        pairs.append(pair)
    magnitudes = outer_sum([values for values, _, _ in pairs]).abs()
    if not float(magnitudes.min()) > SMALLEST_EIGENVALUE * float(magnitudes.max()):
        # whose solve says in words that the sum is singular
        return _Separable(operator)
    # a mixture of real and complex axes is complex
    common = pairs[0][0].dtype
    for values, _, _ in pairs:
        common = torch.promote_types(common, values.dtype)
    return _Diagonalised(
        operator, [(a.to(common), b.to(common), c.to(common)) for a, b, c in pairs]
    )


def _eigenpairs(factor: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Eigenvalues, eigenvectors and their inverse, or None where that is ill-conditioned."""
    values, vectors = torch.linalg.eig(factor)
    if not bool(values.imag.any()):
        values, vectors = values.real, vectors.real
    inverse, info = torch.linalg.inv_ex(vectors)
    condition = float(vectors.norm()) * float(inverse.norm())
    if bool(info.any()) or not condition <= LARGEST_EIGENVECTOR_CONDITION:
        return None
    return values, vectors, inverse


@final
class _PreconditionedJacobian(LinearOperator):
    """S⁻¹ J: the Jacobian of one equation after the inverse of its separable average.

    Args:
        system: The discretisation.
        coefficients: The linearised equation.
        separable: S⁻¹.
    """

    def __init__(
        self, system: Discretisation, coefficients: Coefficients, separable: _Separable
    ) -> None:
        shape = separable.operator.in_shape
        super().__init__(shape, shape, dtype=torch.float64, device=torch.device("cpu"))
        self._system, self._coefficients, self._separable = system, coefficients, separable

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return ()

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "_PreconditionedJacobian":
        return self

    @property
    @override
    def T(self) -> LinearOperator:
        return TransposedOperator(self)

    def precondition(self, right: Tensor) -> Tensor:
        """S⁻¹ of a right-hand side."""
        return self._separable.solve(right)

    @override
    def _mv(self, x: Tensor) -> Tensor:
        if x.ndim == len(self.in_shape):
            return self.precondition(self._system.apply(self._coefficients, x))
        return torch.stack([self._mv(one) for one in x])
