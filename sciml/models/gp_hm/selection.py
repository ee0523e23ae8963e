"""Self-supervised selection: the residual where the equation was not fitted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.models.gp_hm.direct_solution import HarmonicSolution
from sciml.pde.conditions import FaceCondition
from sciml.pde.jet import ArrayJet, MultiIndex
from sciml.pde.points import Points, face_points
from sciml.pde.problem import Problem


@final
@dataclass(frozen=True)
class Candidate:
    """One solution of the sweep and what judges it, without any exact solution.

    Args:
        solution: The solution.
        residual_norm: Root mean square of the equation residual between the nodes, relative to
            the right-hand side or the largest term of the equation.
        boundary_misfit: Root mean square of the misfit of the conditions, relative to their
            data or to the solution, the largest over the faces.
        form: "least squares", "strong" or "weak".
        nyquist_fraction: Highest lattice frequency over the Nyquist frequency of the nodes.
        num_passes: Passes of reweighting, repair rounds included, up to this solution.
        repaired: Whether it has atoms off the lattice.
    """

    solution: HarmonicSolution
    residual_norm: float
    boundary_misfit: float
    form: str
    nyquist_fraction: float
    num_passes: int
    repaired: bool

    @property
    def score(self) -> float:
        """What is minimised; infinite for a solution that is not finite."""
        score = self.residual_norm + self.boundary_misfit
        return score if math.isfinite(score) else math.inf


@final
class Judge:
    """Residual at the midpoints of the grid cells plus misfit of the conditions.

    The residual is relative to the right-hand side or the largest term of the equation. The
    misfit of a condition is relative to its data or to the solution; that of a derivative to
    the solution divided by the distance of the nodes over π, which is the derivative of the
    fastest wave that the nodes resolve.

    Args:
        problem: The problem, with one field.
        nodes: Uniform nodes of each axis.
    """

    def __init__(self, problem: Problem, nodes: Sequence[Float[Tensor, " _"]]) -> None:
        self.problem = problem
        self._field = problem.fields[0]
        self._lines = [0.5 * (line[1:] + line[:-1]) for line in nodes]
        grid = torch.meshgrid(*self._lines, indexing="ij")
        self._points = torch.stack(grid, dim=-1).reshape(-1, len(nodes))
        zero = problem.zero_jets(self._points.shape[0])
        self._offset, coefficients = problem.linearise(self._points, zero)
        self._size = root_mean_square(self._offset)
        self._terms = coefficients[self._field]
        self._faces = [self._face(condition, nodes) for condition in problem.face_conditions]

    def __call__(self, solution: HarmonicSolution) -> tuple[float, float]:
        """Relative residual and relative misfit of the conditions."""
        values = {
            index: solution.on_grid(self._lines, index).flatten()
            for index in {*self._terms, (0,) * len(self._lines)}
        }
        terms = {index: c * values[index] for index, c in self._terms.items()}
        if self.problem.linear:
            residual = torch.stack([self._offset, *terms.values()]).sum(0)
        else:
            jet = ArrayJet(self.problem.domain.axes, values)
            (residual,) = self.problem.residuals(self._points, [jet])
        scale = max([self._size, *(root_mean_square(term) for term in terms.values())])
        size = root_mean_square(values[(0,) * len(self._lines)])
        misfits = [face.misfit(solution, size) for face in self._faces]
        return quotient(root_mean_square(residual), scale), max(misfits, default=0.0)

    def _face(self, condition: FaceCondition, nodes: Sequence[Tensor]) -> "_Face":
        domain = self.problem.domain
        k = domain.axes.index(condition.axis)
        points = face_points(domain, condition.axis, condition.side, self._lines)
        lines = [*self._lines[:k], points[:1, k], *self._lines[k + 1 :]]
        return _Face(
            lines=lines,
            terms={
                tuple(order if j == k else 0 for j in range(domain.ndim)): factor
                for order, factor in condition.coefficients.items()
            },
            values=condition.values(Points(domain.axes, points)),
            fastest=math.pi / float(nodes[k][1] - nodes[k][0]),
        )


@final
@dataclass(frozen=True)
class _Face:
    """A condition between the nodes of its face."""

    lines: list[Tensor]
    terms: Mapping[MultiIndex, float]
    values: Tensor
    fastest: float

    def misfit(self, solution: HarmonicSolution, size: float) -> float:
        misfit = -self.values
        for index, factor in self.terms.items():
            misfit = misfit + factor * solution.on_grid(self.lines, index).flatten()
        highest = max(sum(index) for index in self.terms)
        scale = max(root_mean_square(self.values), size * self.fastest**highest)
        return quotient(root_mean_square(misfit), scale)


def root_mean_square(values: Float[Tensor, "*shape"]) -> float:
    """Root of the mean of the squares."""
    return float(values.square().mean().sqrt())


def quotient(size: float, scale: float) -> float:
    """`size` over `scale`, where zero over zero is zero."""
    if scale > 0:
        return size / scale
    return 0.0 if size == 0 else math.inf
