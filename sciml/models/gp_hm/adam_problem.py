"""What the published method needs of a `Problem`: grid, sides with values, residual, error."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.models.gp_hm.objective import Face, MultiIndex
from sciml.models.gp_hm.posterior import GridMeanField
from sciml.pde.conditions import Dirichlet, Initial
from sciml.pde.jet import ArrayJet
from sciml.pde.points import Points, face_points
from sciml.pde.problem import Problem

_TEST_POINTS = 300
_TEST_POINTS_IN_ALL = 100_000
"""Published: 300 a side, in one and two dimensions. Three dimensions take fewer."""


@final
class GridProblem:
    """A problem with values on sides of a box, on a grid that holds both ends of each axis.

    Args:
        problem: The problem.
        resolution: Nodes of every axis, or of each.

    Raises:
        ValueError: If the problem has several fields or equations, or conditions other than
            values on sides.
    """

    def __init__(self, problem: Problem, resolution: int | Sequence[int]) -> None:
        _check(problem)
        self.problem = problem
        self.nodes = grid_nodes(problem, resolution)
        ndim = problem.domain.ndim
        grid = torch.stack(torch.meshgrid(*self.nodes, indexing="ij"), dim=-1)
        self.shape = tuple(grid.shape[:-1])
        self.points = grid.reshape(-1, ndim)
        self.needs = problem.needs[problem.fields[0]]
        self.faces = self._faces()

    def residual(self, fields: Mapping[MultiIndex, Tensor]) -> Float[Tensor, "*space"]:
        """The residual at the nodes, from the nodal fields of the derivatives."""
        values = {index: field.flatten() for index, field in fields.items()}
        jet = ArrayJet(self.problem.domain.axes, values)
        return self.problem.residuals(self.points, [jet])[0].reshape(self.shape)

    def residual_of_zero(self) -> float:
        """2-norm of the residual of the zero field at the nodes."""
        jets = self.problem.zero_jets(len(self.points))
        return float(self.problem.residuals(self.points, jets)[0].norm())

    def relative_error(self, field: GridMeanField) -> float:
        """Relative 2-norm of the error on the published test grid of 300 points a side."""
        domain = self.problem.domain
        count = min(_TEST_POINTS, int(_TEST_POINTS_IN_ALL ** (1 / domain.ndim)))
        lines = [domain.points_along(k, count) for k in range(domain.ndim)]
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)
        exact = self.problem.exact(grid.reshape(-1, domain.ndim))[:, 0]
        return float((field.on_grid(lines).flatten() - exact).norm() / exact.norm())

    def _faces(self) -> list[Face]:
        faces, domain = [], self.problem.domain
        for condition in self.problem.face_conditions:
            points = face_points(domain, condition.axis, condition.side, self.nodes)
            axis = domain.axes.index(condition.axis)
            values = condition.values(Points(domain.axes, points))
            shape = self.shape[:axis] + self.shape[axis + 1 :]
            faces.append(
                Face(axis, 0 if condition.side == "low" else -1, values.reshape(shape))
            )
        return faces


def grid_nodes(problem: Problem, resolution: int | Sequence[int]) -> list[Tensor]:
    """Uniform coordinates along each axis, both ends included.

    Raises:
        ValueError: If there is not one count of at least 3 for each axis.
    """
    ndim = problem.domain.ndim
    counts = [resolution] * ndim if isinstance(resolution, int) else list(resolution)
    if len(counts) != ndim or min(counts) < 3:
        raise ValueError(
            f"grid_nodes: expected at least 3 nodes on each of {ndim} axes, got {resolution}; "
            "give one number, or one per axis"
        )
    return [problem.domain.points_along(k, n) for k, n in enumerate(counts)]


def _check(problem: Problem) -> None:
    if problem.num_fields != 1 or problem.num_equations != 1:
        raise ValueError(
            "solve_adam: expected one field and one equation, got "
            f"{problem.num_fields} and {problem.num_equations}; the published method has no "
            "systems, take ChebyshevCollocation"
        )
    if any(problem.domain.periodic) or problem.observations:
        raise ValueError(
            "solve_adam: expected values on sides only, got a periodic axis or observations; "
            "take inference='direct' for periodic axes, inference='evidence' for observations"
        )
    for condition in problem.face_conditions:
        first_order = isinstance(condition, Initial) and condition.order != 0
        if first_order or not isinstance(condition, Dirichlet | Initial):
            raise ValueError(
                f"solve_adam: expected values on sides only, got {condition}; take "
                "inference='direct' for derivatives on sides"
            )
