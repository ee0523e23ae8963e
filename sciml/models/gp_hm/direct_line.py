"""One dimension: weighted features fitted to equation and conditions by least squares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.models.gp_hm.direct_basis import truncated_svd
from sciml.models.gp_hm.direct_solution import HarmonicSolution
from sciml.models.gp_hm.model import HarmonicFeatures
from sciml.pde.jet import ArrayJet, MultiIndex
from sciml.pde.points import Points
from sciml.pde.problem import Problem

_CUT = 1e-13  # of the largest singular value; never the normal equations, which square it
_NOISY_WEIGHT = 1e-5  # of noisy observations beside an equation that is exact
_NEWTON_TOLERANCE = 1e-12  # of a step relative to the solution


@final
@dataclass(frozen=True)
class LineSolution(HarmonicSolution):
    """Coefficients of the features of the only axis and how they were found.

    Args:
        features: The weighted features.
        coefficients: One per feature, weights included.
        steps: Size of each Newton step relative to the solution.
        rank: Singular values kept in the last step.
    """

    features: HarmonicFeatures
    coefficients: Float[Tensor, " columns"]
    steps: tuple[float, ...]
    rank: int

    @property
    @override
    def all_features(self) -> tuple[HarmonicFeatures, ...]:
        return (self.features,)

    @override
    def on_grid(
        self, lines: Sequence[Float[Tensor, " _"]], orders: Sequence[int]
    ) -> Float[Tensor, " n"]:
        return self.features.evaluate(lines[0], orders[0]) @ self.coefficients

    @override
    def evaluate(self, points: Float[Tensor, "n 1"], orders: MultiIndex) -> Float[Tensor, " n"]:
        return self.on_grid([points[:, 0]], orders)

    @override
    def centred(self) -> "LineSolution":
        constant = (self.features.omega == 0) & (self.features.degree == 0)
        coefficients = self.coefficients.clone()
        # several lines of frequency zero stand for one function: the first takes it all
        coefficients[constant.nonzero()[0]] -= self.features.averages() @ self.coefficients
        return replace(self, coefficients=coefficients)

    @override
    def feature_coefficients(self, axis: int) -> Float[Tensor, "columns 1"]:
        del axis
        return self.coefficients[:, None]


@final
class LineSystem:
    """Least squares for the equation at nodes, conditions and observations, in given features.

    Every row is divided by the size of its largest entry on the fastest feature, so that values
    on the boundary and an equation of second order have the same weight. Coefficients may vary
    in space and the equation may be nonlinear: the rows are those of the linearised equation.

    Args:
        problem: An equation for one field on one axis.
        nodes: Where the equation is sampled.
        features: Weighted features.
    """

    def __init__(
        self, problem: Problem, nodes: Float[Tensor, " n"], features: HarmonicFeatures
    ) -> None:
        self.problem, self.nodes, self.features = problem, nodes, features
        (self._field,) = problem.fields
        scales = features.scales
        self._columns = {
            index: features.evaluate(nodes, index[0]) * scales
            for index in {*problem.needs[self._field], (0,)}
        }
        self._conditions, self._data = condition_rows(problem, features)
        self._conditions = self._conditions * scales
        noisy, self._measured = noisy_rows(problem, features)
        self._noisy = noisy * scales

    def solve(self, *, max_steps: int, start: LineSolution | None) -> LineSolution:
        """Newton's method from `start` (zero if None); a linear equation takes one step."""
        needs = self.problem.needs[self._field]
        held: dict[MultiIndex, Tensor] = {
            index: torch.zeros_like(self.nodes)
            if start is None
            else start.on_grid([self.nodes], index)
            for index in needs
        }
        value = torch.zeros_like(self.nodes)
        sizes: list[float] = []
        best, smallest = torch.zeros_like(self.features.scales), float("inf")
        rank = 0
        for _ in range(1 if self.problem.linear else max_steps):
            rows, right, _ = self._rows(held)
            solution, rank = least_squares(
                torch.cat([rows, self._noisy]), torch.cat([right, self._measured])
            )
            moved = self._columns[(0,)] @ solution
            change = float(torch.linalg.vector_norm(moved - value))
            norm = float(torch.linalg.vector_norm(moved))
            if not norm < float("inf"):
                break
            sizes.append(change / max(norm, torch.finfo(torch.float64).tiny))
            value = moved
            held = {index: self._columns[index] @ solution for index in needs}
            if sizes[-1] < smallest:
                best, smallest = solution, sizes[-1]
            if sizes[-1] < _NEWTON_TOLERANCE:
                break
        return LineSolution(self.features, self.features.scales * best, tuple(sizes), rank)

    def rows(self) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, " rows"], float]:
        """Weighted rows of a linear equation, conditions first, their data, and the scale.

        The rows of the equation and its right-hand side were divided by the scale. Observations
        without noise are conditions; noisy ones are left out.
        """
        zero = torch.zeros_like(self.nodes)
        return self._rows(dict.fromkeys(self.problem.needs[self._field], zero))

    def _rows(self, held: dict[MultiIndex, Tensor]) -> tuple[Tensor, Tensor, float]:
        jet = ArrayJet(self.problem.domain.axes, held)
        residual, coefficients = self.problem.linearise(self.nodes[:, None], [jet])
        omega = max(self.features.largest_omega, 1.0)
        terms = coefficients[self._field]
        scale = max(float(c.abs().max()) * omega ** index[0] for index, c in terms.items())
        rows = torch.zeros_like(self._columns[(0,)])
        right = -residual
        for index, coefficient in terms.items():
            rows = rows + coefficient[:, None] * self._columns[index]
            right = right + coefficient * held[index]
        return (
            torch.cat([self._conditions, rows / scale]),
            torch.cat([self._data, right / scale]),
            scale,
        )


def condition_rows(
    problem: Problem, features: HarmonicFeatures
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, " rows"]]:
    """Rows of the conditions and exact observations on the features, and their data."""
    omega = max(features.largest_omega, 1.0)
    rows, data = [], []
    for condition in problem.face_conditions:
        end = problem.domain.low[0] if condition.side == "low" else problem.domain.high[0]
        point = torch.tensor([end], dtype=torch.float64)
        terms = condition.coefficients
        scale = max(abs(factor) * omega**order for order, factor in terms.items())
        row = torch.zeros(1, features.scales.numel(), dtype=torch.float64)
        for order, factor in terms.items():
            row = row + (factor / scale) * features.evaluate(point, order)
        rows.append(row)
        data.append(condition.values(Points(problem.domain.axes, point[:, None])) / scale)
    for observations in problem.observations:
        if observations.noise == 0:
            rows.append(features.evaluate(observations.points[:, 0]))
            data.append(observations.values)
    return _stacked(features, rows, data)


def noisy_rows(
    problem: Problem, features: HarmonicFeatures
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, " rows"]]:
    """Rows of the noisy observations on the features, weighted by their noise, and their data.

    The most accurate ones count so little beside the equation that they decide what it and the
    conditions leave open, and do not move what those determine.
    """
    noisy = [observations for observations in problem.observations if observations.noise > 0]
    least = min((observations.noise for observations in noisy), default=1.0)
    rows, data = [], []
    for observations in noisy:
        weight = _NOISY_WEIGHT * least / observations.noise
        rows.append(weight * features.evaluate(observations.points[:, 0]))
        data.append(weight * observations.values)
    return _stacked(features, rows, data)


def _stacked(
    features: HarmonicFeatures, rows: list[Tensor], data: list[Tensor]
) -> tuple[Tensor, Tensor]:
    empty = torch.zeros(0, features.scales.numel(), dtype=torch.float64)
    return torch.cat([empty, *rows]), torch.cat([empty.new_zeros(0), *data])


def least_squares(
    rows: Float[Tensor, "rows columns"], right: Float[Tensor, " rows"]
) -> tuple[Float[Tensor, " columns"], int]:
    """Least-norm solution of the truncated singular value decomposition, and its rank."""
    left, singular, vectors = truncated_svd(rows, _CUT)
    return vectors @ ((left.T @ right) / singular), singular.numel()
