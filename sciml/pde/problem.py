"""`Problem`: an equation on a box with the conditions that make its solution unique."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.domain import Box
from sciml.pde.condition_checks import (
    check_conditions,
    check_names,
    check_periodic,
    with_field,
)
from sciml.pde.conditions import Condition, FaceCondition, Observations, Periodic
from sciml.pde.jet import ArrayJet, Jet, MultiIndex, RecordingJet
from sciml.pde.points import Points, interior_points

Residual: TypeAlias = Callable[..., Tensor | tuple[Tensor, ...]]
Coefficients: TypeAlias = dict[str, dict[MultiIndex, Tensor]]
Exact: TypeAlias = Callable[[Points], Tensor | tuple[Tensor, ...]]

DRY_RUN_POINTS = 32
DRY_RUN_SEED = 7_330_127
# rounding of a residual with cancellation stays far below, a real nonlinearity far above
LINEARITY_TOLERANCE = 1e-12


@final
class Problem:
    """An equation, its conditions, and what a solver can find out about them.

    ``Problem(box, lambda points, u: u.d(x=2) - torch.sin(points.x), conditions)`` is
    u'' = sin x. The derivatives that occur and whether the equation is linear are found by
    evaluating the residual on random jets.

    Args:
        domain: The box; `Periodic` conditions make its axes periodic.
        residual: Pointwise function of the points and one jet per field, zero for the
            solution: one tensor (n,), or a tuple of them for several equations.
        conditions: Conditions on faces, initial values, periodicity, observations.
        fields: Names of the unknowns.
        exact: The solution as a pointwise function of the points, where it is known; a tuple
            for several fields. Where the problem leaves a constant free, the one with mean
            zero: solvers are compared with it as it is given.
        name: What it is called in reports.

    Raises:
        ValueError: If a condition names an unknown axis or field, stands on a periodic axis, or
            is given twice; if the residual does not give (n,) at n points.
    """

    def __init__(
        self,
        domain: Box,
        residual: Residual,
        conditions: Sequence[Condition],
        *,
        fields: tuple[str, ...] = ("u",),
        exact: Exact | None = None,
        name: str = "",
    ) -> None:
        check_names(domain, fields)
        self.fields, self.name = fields, name
        self.conditions = tuple(with_field(condition, fields) for condition in conditions)
        check_conditions(domain, self.conditions)
        periodic = {c.axis for c in self.conditions if isinstance(c, Periodic)}
        flags = zip(domain.axes, domain.periodic, strict=True)
        self.domain = replace(
            domain, periodic=tuple(flag or axis in periodic for axis, flag in flags)
        )
        check_periodic(self.domain, self.conditions)
        self._residual, self._exact = residual, exact

    @override
    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        return f"Problem({name}fields={self.fields}, {self.domain})"

    @property
    def num_fields(self) -> int:
        """Number of unknown fields."""
        return len(self.fields)

    @property
    def num_equations(self) -> int:
        """Number of residuals."""
        return self._dry_run[1]

    @property
    def needs(self) -> dict[str, tuple[MultiIndex, ...]]:
        """Derivatives that the residual uses, by field, in the order of the domain's axes."""
        return self._dry_run[0]

    @property
    def face_conditions(self) -> tuple[FaceCondition, ...]:
        """Conditions on faces, initial ones among them."""
        return tuple(c for c in self.conditions if isinstance(c, FaceCondition))

    @property
    def observations(self) -> tuple[Observations, ...]:
        """Measured values inside the box."""
        return tuple(c for c in self.conditions if isinstance(c, Observations))

    @property
    def has_exact(self) -> bool:
        """Whether the solution is known."""
        return self._exact is not None

    def order(self, axis: str, field: str | None = None) -> int:
        """Highest derivative along an axis, of one field or of all."""
        k = self.domain.axes.index(axis)
        names = self.fields if field is None else (field,)
        return max((index[k] for name in names for index in self.needs[name]), default=0)

    def exact(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n num_fields"]:
        """The exact solution.

        Raises:
            ValueError: If it is not known.
        """
        if self._exact is None:
            raise ValueError(
                f"Problem.exact: expected a problem with a known solution, got {self!r}; pass "
                "exact= to Problem, or compare with a finer solve"
            )
        values = self._exact(Points(self.domain.axes, points))
        columns = values if isinstance(values, tuple) else (values,)
        return torch.stack(columns, dim=-1)

    def residuals(
        self, points: Float[Tensor, "n d"], jets: Sequence[Jet]
    ) -> tuple[Float[Tensor, " n"], ...]:
        """The residual of each equation.

        Args:
            points: Where, columns in the order of the domain's axes.
            jets: One jet per field, in the order of `fields`.

        Raises:
            ValueError: If the residual function gives another shape.
        """
        values = self._residual(Points(self.domain.axes, points), *jets)
        equations = values if isinstance(values, tuple) else (values,)
        for number, equation in enumerate(equations):
            if equation.shape != (points.shape[0],):
                raise ValueError(
                    f"Problem: expected equation {number} of the residual to be of shape "
                    f"({points.shape[0]},), one number per point, got "
                    f"{tuple(equation.shape)}; combine jets and coordinates pointwise"
                )
        return equations

    def linearise(
        self, points: Float[Tensor, "n d"], jets: Sequence[Jet], equation: int = 0
    ) -> tuple[Float[Tensor, " n"], Coefficients]:
        r"""One equation and its derivative by every jet entry, by one backward pass.

        The equation near the jets is r + Σ c_α ∂^α δu; for a linear problem at zero jets, r is
        minus the right-hand side and c_α are the coefficients of the operator.

        Args:
            points: Where.
            jets: One jet per field, in the order of `fields`.
            equation: Which residual, of a system.

        Returns:
            The residual r, and c_α (n,) by field and multi-index α.
        """
        leaves: Coefficients = {}
        for field, jet in zip(self.fields, jets, strict=True):
            orders = {
                index: dict(zip(self.domain.axes, index, strict=True))
                for index in self.needs[field]
            }
            leaves[field] = {
                index: jet.d(**order).detach().clone().requires_grad_()
                for index, order in orders.items()
            }
        tensors = [leaf for held in leaves.values() for leaf in held.values()]
        with torch.enable_grad():
            own = [ArrayJet(self.domain.axes, leaves[field]) for field in self.fields]
            residual = self.residuals(points, own)[equation]
            rates = torch.autograd.grad(
                residual.sum(), tensors, allow_unused=True, materialize_grads=True
            )
        found = iter(rates)
        coefficients = {
            field: {index: next(found) for index in held} for field, held in leaves.items()
        }
        return residual.detach(), coefficients

    def zero_jets(self, num_points: int) -> tuple[ArrayJet, ...]:
        """Jets of zero fields, holding what the residual uses."""
        axes = self.domain.axes
        return tuple(
            ArrayJet.zeros(axes, self.needs[field], num_points) for field in self.fields
        )

    @cached_property
    def linear(self) -> bool:
        """Whether every equation is linear (affine) in the fields.

        The residual at a combination of two random jets is compared with the combination of
        the residuals, over jets of many magnitudes. A residual that is not finite at some jet,
        such as a logarithm, is not linear.
        """
        generator = torch.Generator().manual_seed(DRY_RUN_SEED)
        points = interior_points(self.domain, DRY_RUN_POINTS, generator)
        magnitude = torch.logspace(-2, 2, DRY_RUN_POINTS, dtype=torch.float64)
        first, second = (
            [
                {index: magnitude * _normal(generator) for index in self.needs[field]}
                for field in self.fields
            ]
            for _ in range(2)
        )
        mixed = [
            {index: 0.6 * a[index] - 1.7 * b[index] for index in a}
            for a, b in zip(first, second, strict=True)
        ]
        zero, one, two, both = (
            self.residuals(points, [ArrayJet(self.domain.axes, values) for values in jets])
            for jets in (
                [{index: torch.zeros_like(a[index]) for index in a} for a in first],
                first,
                second,
                mixed,
            )
        )
        for r0, r1, r2, r in zip(zero, one, two, both, strict=True):
            defect = (r - r0) - 0.6 * (r1 - r0) + 1.7 * (r2 - r0)
            scale = r0.abs() + r1.abs() + r2.abs() + r.abs()
            if not bool((defect.abs() <= LINEARITY_TOLERANCE * scale).all()):
                return False
        return True

    @cached_property
    def _dry_run(self) -> tuple[dict[str, tuple[MultiIndex, ...]], int]:
        """What the residual asks of each jet, and how many equations it gives."""
        generator = torch.Generator().manual_seed(DRY_RUN_SEED)
        points = interior_points(self.domain, DRY_RUN_POINTS, generator)
        jets = [RecordingJet(self.domain.axes, DRY_RUN_POINTS, generator) for _ in self.fields]
        num_equations = len(self.residuals(points, jets))
        if not any(jet.values for jet in jets):
            raise ValueError(
                "Problem: expected a residual that uses its jets, got one that reads neither "
                "u.value nor u.d(...); write the equation with them"
            )
        asked = {
            field: tuple(sorted(jet.values))
            for field, jet in zip(self.fields, jets, strict=True)
        }
        return asked, num_equations


def _normal(generator: torch.Generator) -> Tensor:
    return torch.randn(DRY_RUN_POINTS, dtype=torch.float64, generator=generator)
