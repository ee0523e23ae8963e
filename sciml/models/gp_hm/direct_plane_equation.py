"""A linear equation on a rectangle in its own eigenfunctions, and samples of its data."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from sciml.linalg.modes import outer_sum
from sciml.models.gp_hm.direct_basis import LegendreBasis
from sciml.models.gp_hm.direct_discretisation import GridDiscretisation
from sciml.models.gp_hm.direct_equation import SeparableEquation, separable_equation
from sciml.models.gp_hm.direct_grid import GridSolution, GridSystem
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_source import SourceAxis, SourcePosterior
from sciml.models.gp_hm.direct_traces import Trace, with_open_sides
from sciml.pde.compatibility import constant_is_free, is_closed
from sciml.pde.conditions import Initial
from sciml.pde.problem import Problem

_FRACTION = 0.95  # of the Nyquist frequency of the samples
_CUT = 1e-12
_CONSTANT_TOLERANCE = 1e-10  # spread of the coefficient of u, relative to its largest value


@final
class PlaneEquation:
    """Samples of the right-hand side and the solutions that functions of it make.

    Args:
        problem: A linear equation of second order along two axes, with constant coefficients.
        resolution: Uniform nodes of each axis.
        options: Options; the first of `nyquist_fractions` is the lattice.

    Raises:
        ValueError: If the problem is not of this kind, in words.

    Attributes:
        nodes: Uniform nodes of each axis.
        features: Lattice of each axis with equal weights.
        samples: The right-hand side at the nodes.
        modes: Eigenfunctions of each axis, in its basis.
        divisor: Sums of their eigenvalues, with the coefficient of u.
        traces: Unknown values on the sides without a condition.
    """

    def __init__(
        self, problem: Problem, resolution: Sequence[int], options: DirectOptions
    ) -> None:
        equation, open_sides = with_open_sides(_checked(problem))
        grid = GridDiscretisation(equation, resolution, options, "weak")
        self.nodes = grid.nodes
        self.features = grid.lattices((options.nyquist_fractions or (_FRACTION,))[0])
        self._bases = [LegendreBasis(own, cut=_CUT) for own in self.features]
        self._gauss = equation.sample([basis.nodes for basis in self._bases])
        reaction = _constant(self._gauss.reaction)
        self.samples = -equation.sample(self.nodes).offset
        self._system = GridSystem(equation, self._bases, self._gauss)
        inverse = self._system.inverse
        self.modes = [
            axis.free @ vectors
            for axis, vectors in zip(self._system.axes, inverse.eigenvectors, strict=True)
        ]
        self.divisor = outer_sum(inverse.eigenvalues) + reaction
        self.traces = [Trace(self._system, side, reaction) for side in open_sides]

    def solve(self, source: SourcePosterior) -> GridSolution:
        """The solution for the mean of the right-hand side and the prescribed conditions."""
        right = source.on_grid([basis.nodes for basis in self._bases])
        samples = self._gauss.with_offset(-right)
        return self._system.solve(max_steps=2, start=None, samples=samples)

    def projected(self, k: int, axis: SourceAxis) -> Float[Tensor, "r modes"]:
        """Inner products of functions of axis k with its eigenfunctions."""
        basis = self._bases[k]
        return (basis.test @ axis.evaluate(basis.nodes)).T @ self.modes[k]

    def at(self, points: Float[Tensor, "n 2"]) -> list[Float[Tensor, "n _"]]:
        """The basis of each axis at points."""
        columns = points.unbind(1)
        return [
            basis.evaluate(column.contiguous())
            for basis, column in zip(self._bases, columns, strict=True)
        ]


def _checked(problem: Problem) -> SeparableEquation:
    """The separable equation of a problem that the symmetric weak form can express."""
    name = "GPHMSolver: expected"
    if problem.domain.ndim != 2 or not problem.linear:
        raise ValueError(
            f"{name} a linear problem on one or two axes with a posterior or with "
            f"Observations, got {problem!r}; use inference='evidence', or drop the posterior"
        )
    if any(problem.domain.periodic):
        raise ValueError(
            f"{name} no periodic axis with a posterior in two dimensions, got periodic="
            f"{problem.domain.periodic}; drop the posterior"
        )
    if is_closed(problem) and constant_is_free(problem):
        raise ValueError(
            f"{name} a value on a side with a posterior in two dimensions, got derivatives on "
            "all sides and no reaction, which leave a constant free; leave the conditions of a "
            "side out and give Observations, or drop the posterior"
        )
    equation = separable_equation(problem)
    orders = [set(axis) for axis in equation.coefficients]
    started = any(isinstance(c, Initial) for c in problem.face_conditions)
    if orders != [{2}, {2}] or equation.varying or started:
        raise ValueError(
            f"{name} constant coefficients of second derivatives along both axes with a "
            f"posterior in two dimensions, got orders {[sorted(axis) for axis in orders]}"
            f"{' with varying coefficients' if equation.varying else ''}; use "
            "inference='evidence', or drop the posterior"
        )
    return equation


def _constant(reaction: Tensor) -> float:
    mean = float(reaction.mean())
    largest = float(reaction.abs().max())
    if float((reaction - mean).abs().max()) > _CONSTANT_TOLERANCE * largest:
        raise ValueError(
            "GPHMSolver: expected a constant coefficient of u with a posterior in two "
            f"dimensions, got between {float(reaction.min()):.3g} and "
            f"{float(reaction.max()):.3g}; use inference='evidence', or drop the posterior"
        )
    return mean
