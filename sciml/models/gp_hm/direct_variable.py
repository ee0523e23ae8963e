"""Variable coefficients on grids: conjugate gradients in nodal values, then the features."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.kronecker import kronecker_product
from sciml.linalg.modes import mode_product
from sciml.linalg.solvers.cg import CG
from sciml.models.gp_hm.direct_basis import AxisBasis, gauss_count
from sciml.models.gp_hm.direct_diffusion import (
    SymmetrisedDiffusion,
    difference_preconditioner,
)
from sciml.models.gp_hm.direct_equation import SeparableEquation
from sciml.models.gp_hm.direct_grid import GridSolution, GridSystem
from sciml.models.gp_hm.direct_nodal import HarmonicAxis, LobattoAxis
from sciml.pde.compatibility import constant_is_free
from sciml.pde.conditions import FaceCondition, Initial
from sciml.solution import Status

_DIVERGENCE_TOLERANCE = 1e-3  # a steep coefficient is not resolved to rounding
_RTOL = 1e-10  # each of the two solves; the second corrects the first
_MAX_STEPS = 1000
_SMALL_POTENTIAL = 1e-2  # beside the smallest eigenvalue π² of a unit box
LARGEST_CONTRAST = 1e8  # √contrast multiplies rounding and what the nodes leave unresolved


@final
class DiffusionSystem:
    r"""Σ_k ∂_k(a_k ∂_k u) + c u = f on a box, for a linear equation.

    The variational form is solved in nodal values of :math:`w = \sqrt{m} u`, m the geometric
    mean of the a_k, by conjugate gradients preconditioned by differences on the same nodes: the
    number of steps depends neither on the contrast nor on the nodes. The nodes are as many as
    hold all products of the features, so that nothing is lost when the solution is then written
    in the features.

    Args:
        equation: The equation.
        bases: Bases of the features that the solution is written in.

    Raises:
        ValueError: If the operator is not of this form, or the contrast is too large.
    """

    def __init__(self, equation: SeparableEquation, bases: Sequence[AxisBasis]) -> None:
        self.equation, self.bases = equation, tuple(bases)
        self._conditions = [c for ends in equation.ends for c in ends]
        _check_conditions(self._conditions)
        domain = equation.domain
        self.axes = [
            (HarmonicAxis if periodic else LobattoAxis)(
                low, extent, gauss_count(basis.features)
            )
            for low, extent, periodic, basis in zip(
                domain.low, domain.extent, domain.periodic, bases, strict=True
            )
        ]
        self.samples = equation.sample([axis.nodes for axis in self.axes])
        self._diffusion, self._sign = self._coefficients()
        self._root, self._drift = self._common_factor()
        self._quadrature = _outer([axis.weights for axis in self.axes])
        self._free = [self._range(k) for k in range(len(self.axes))]
        self._free_constant = constant_is_free(equation.problem)

    def solve(self) -> GridSolution:
        """The solution, by conjugate gradients and one correction of the same kind."""
        potential, load = self._potential_and_load()
        weight = [a / self._root.square() * self._quadrature for a in self._diffusion]
        operator = SymmetrisedDiffusion(self.axes, self._drift, weight, potential, self._free)
        preconditioner = difference_preconditioner(
            self.axes, self._diffusion, self._root, self._definite(potential), self._free
        )
        inner = tuple(self._free)
        w = self._root * self._on_sides()
        steps, detail = 0, ""
        for _ in range(2):
            right = self._attainable(load[inner] - operator.of_grid(w))
            step = CG(rtol=_RTOL, max_steps=_MAX_STEPS).solve(
                operator, right, preconditioner=preconditioner
            )
            w[inner] += step.value
            # the correction may stagnate at rounding; the first solve may not
            if steps == 0 and not step:
                detail = _reason(step.status, step.num_steps)
            steps += step.num_steps
        found = self._in_features(w / self._root)
        solution = GridSolution(self.bases, found, (), steps, detail)
        return solution.centred() if self._free_constant else solution

    def _attainable(self, right: Tensor) -> Tensor:
        """A right-hand side without the multiple of √m, constants of u, that none maps to."""
        if not self._free_constant:
            return right
        unit: Tensor = self._root / torch.linalg.vector_norm(self._root)
        return right - (unit * right).sum() * unit

    def _definite(self, potential: Tensor) -> Tensor:
        """The potential, with a little more where the differences would be singular."""
        if not self._free_constant:
            return potential
        longest = max(self.equation.domain.extent)
        return potential + (_SMALL_POTENTIAL / longest**2) * self._quadrature

    def _in_features(self, u: Tensor) -> Tensor:
        """Coefficients of nodal values in the bases, with the conditions on values met."""
        lines = [basis.nodes for basis in self.bases]
        there = [axis.evaluation(line) for axis, line in zip(self.axes, lines, strict=True)]
        tests = [basis.test @ matrix for basis, matrix in zip(self.bases, there, strict=True)]
        system = GridSystem(self.equation, self.bases, self.equation.sample(lines))
        return system.lift(kronecker_product(tests, u))

    def _coefficients(self) -> tuple[list[Tensor], float]:
        """a_k on the grid, positive, and the sign that made it so."""
        names = self.equation.domain.axes
        found = []
        for k, name in enumerate(names):
            second = tuple(2 * (j == k) for j in range(len(names)))
            first = tuple(int(j == k) for j in range(len(names)))
            a = self.samples.derivative(second)
            slope = self._slope(a, k)
            gap = float((self.samples.derivative(first) - slope).abs().max())
            size = max(float(slope.abs().max()), float(a.abs().max()))
            if gap > _DIVERGENCE_TOLERANCE * size:
                raise ValueError(
                    "GPHMSolver: expected variable coefficients in divergence form, "
                    f"∂({name}) of a ∂u/∂{name}, got a first derivative along {name!r} that is "
                    "not the derivative of the second one's coefficient; multiply the equation "
                    "by an integrating factor, raise the resolution if the coefficient is "
                    "steep, or use ChebyshevCollocation"
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
                "the root of the contrast multiplies the error; scale the equation down, or "
                "use ChebyshevCollocation where the sign changes"
            )
        return found, sign

    def _slope(self, values: Tensor, k: int) -> Tensor:
        return mode_product(self.axes[k].differentiation, values, len(self.axes) - 1 - k)

    def _common_factor(self) -> tuple[Tensor, list[Tensor]]:
        """√m and half the gradient of log m."""
        half = 0.5 * torch.stack([a.log() for a in self._diffusion]).mean(0)
        return half.exp(), [self._slope(half, k) for k in range(len(self.axes))]

    def _range(self, k: int) -> slice:
        """Nodes of an axis that carry unknowns: all but the ends with prescribed values."""
        fixed = {c.side for c in self.equation.ends[k] if set(c.coefficients) == {0}}
        count = self.axes[k].num_nodes
        return slice(int("low" in fixed), count - int("high" in fixed))

    def _potential_and_load(self) -> tuple[Tensor, Tensor]:
        """Reaction and Robin terms divided by m, and right-hand side with flux over √m."""
        potential = -self._sign * self.samples.reaction * self._quadrature
        load = self._sign * self.samples.offset * self._quadrature
        for condition in self._conditions:
            if 1 not in condition.coefficients:
                continue
            k = self.equation.domain.axes.index(condition.axis)
            place = self._face(condition)
            others = [axis.weights for j, axis in enumerate(self.axes) if j != k]
            flux = self._diffusion[k][place] * _outer(others)
            # c₁ = ±1 is the direction of the outward normal
            factor = condition.coefficients.get(0, 0.0)
            potential[place] += factor * flux
            load[place] += self.samples.face(condition) * flux
        return potential / self._root.square(), load / self._root

    def _face(self, condition: FaceCondition) -> tuple[slice | int, ...]:
        k = self.equation.domain.axes.index(condition.axis)
        end = 0 if condition.side == "low" else -1
        return (*(slice(None),) * k, end)

    def _on_sides(self) -> Float[Tensor, "*grid"]:
        """Prescribed values on their sides, zero elsewhere."""
        values = torch.zeros(self.samples.shape, dtype=torch.float64)
        for condition in self._conditions:
            if set(condition.coefficients) == {0}:
                values[self._face(condition)] = self.samples.face(condition)
        return values


def _check_conditions(conditions: Sequence[FaceCondition]) -> None:
    for condition in conditions:
        if isinstance(condition, Initial):
            raise ValueError(
                "GPHMSolver: expected conditions on both ends of every axis with coefficients "
                f"that vary in space, got {condition}; use ChebyshevCollocation"
            )


def _reason(status: Status, steps: int) -> str:
    if status is Status.BREAKDOWN:
        return (
            "the operator is not definite: the reaction is of the sign of waves; use "
            "ChebyshevCollocation"
        )
    return (
        f"conjugate gradients took {steps} steps without converging; raise the resolution, or "
        "use ChebyshevCollocation"
    )


def _outer(weights: Sequence[Tensor]) -> Tensor:
    total = torch.ones((), dtype=torch.float64)
    for weight in weights:
        total = total[..., None] * weight
    return total
