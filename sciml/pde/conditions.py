"""Conditions that single out a solution: on faces, at the initial time, periodic, observed."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from dataclasses import field as dataclass_field
from typing import Literal, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.pde.jet import Jet
from sciml.pde.points import Points

Side: TypeAlias = Literal["low", "high"]
Value: TypeAlias = float | Callable[[Points], Tensor]
"""A number, or a function of the points of the face: ``lambda points: torch.sin(points.x)``."""


class FaceCondition(ABC):
    """A linear condition on one face of the box: Σₘ cₘ ∂ᵐu/∂(axis)ᵐ = value.

    Attributes:
        axis: Axis that the face is normal to.
        side: End of that axis.
        value: Right-hand side.
        field: Field it is about; None where the problem has only one.
    """

    axis: str
    side: Side
    value: Value
    field: str | None

    @property
    @abstractmethod
    def coefficients(self) -> dict[int, float]:
        """The factors cₘ by the order m of the derivative along the axis."""

    def values(self, points: Points) -> Float[Tensor, " n"]:
        """The right-hand side at points of the face.

        Raises:
            ValueError: If the function gives another shape, or something not finite.
        """
        given = self.value(points) if callable(self.value) else self.value
        values = torch.as_tensor(given, dtype=torch.float64)
        if values.ndim == 0:
            values = values.expand(len(points))
        if values.shape != (len(points),):
            raise ValueError(
                f"{self}: expected a value of shape ({len(points)},), got "
                f"{tuple(values.shape)}; return one number per point"
            )
        if not bool(torch.isfinite(values).all()):
            raise ValueError(
                f"{self}: expected finite values on the face, got NaN or infinity; check the "
                "function that gives them"
            )
        return values

    def misfit(self, points: Points, u: Jet) -> Float[Tensor, " n"]:
        """Left-hand minus right-hand side at points of the face."""
        misfit = -self.values(points)
        for order, factor in self.coefficients.items():
            misfit = misfit + factor * u.d(**{self.axis: order})
        return misfit

    @override
    def __str__(self) -> str:
        return f"{type(self).__name__}({self.axis!r}, {self.side!r})"

    @property
    def _outward(self) -> float:
        return 1.0 if self.side == "high" else -1.0

    def _check_side(self) -> None:
        if self.side not in ("low", "high"):
            raise ValueError(
                f"{type(self).__name__}: expected the side 'low' or 'high', got "
                f"{self.side!r}; name one end of axis {self.axis!r}"
            )


@final
@dataclass(frozen=True, eq=False)
class Dirichlet(FaceCondition):
    """u = value on a face."""

    axis: str
    side: Side
    value: Value
    _: KW_ONLY
    field: str | None = None

    def __post_init__(self) -> None:
        self._check_side()

    @property
    @override
    def coefficients(self) -> dict[int, float]:
        return {0: 1.0}


@final
@dataclass(frozen=True, eq=False)
class Neumann(FaceCondition):
    """∂u/∂n = value on a face, n the outward normal (−∂u/∂x on the low end of x)."""

    axis: str
    side: Side
    value: Value
    _: KW_ONLY
    field: str | None = None

    def __post_init__(self) -> None:
        self._check_side()

    @property
    @override
    def coefficients(self) -> dict[int, float]:
        return {1: self._outward}


@final
@dataclass(frozen=True, eq=False)
class Robin(FaceCondition):
    """∂u/∂n + coefficient · u = value on a face, n the outward normal."""

    axis: str
    side: Side
    value: Value
    coefficient: float
    _: KW_ONLY
    field: str | None = None

    def __post_init__(self) -> None:
        self._check_side()

    @property
    @override
    def coefficients(self) -> dict[int, float]:
        return {1: self._outward, 0: self.coefficient}


@final
@dataclass(frozen=True, eq=False)
class Initial(FaceCondition):
    """u = value (order 0) or ∂u/∂t = value (order 1) at the low end of a time axis."""

    axis: str
    value: Value
    order: int = 0
    _: KW_ONLY
    field: str | None = None
    side: Side = dataclass_field(default="low", init=False)

    def __post_init__(self) -> None:
        if self.order not in (0, 1):
            raise ValueError(
                f"Initial: expected order 0 (value) or 1 (velocity), got {self.order}; write a "
                "system of first order for higher ones"
            )

    @property
    @override
    def coefficients(self) -> dict[int, float]:
        return {self.order: 1.0}

    @override
    def __str__(self) -> str:
        return f"Initial({self.axis!r}, order={self.order})"


@final
@dataclass(frozen=True)
class Periodic:
    """The solution repeats along an axis; a Box that is periodic there says the same."""

    axis: str


@final
@dataclass(frozen=True, eq=False)
class Observations:
    """Measured values inside the box, with independent Gaussian noise.

    Args:
        points: Where, one row per observation, columns in the order of the domain's axes.
        values: What was measured.
        noise: Standard deviation of the noise, in the unit of the values; 0 where exact.
        field: Field it is about; None where the problem has only one.

    Raises:
        ValueError: If there is not one finite value per point, or the noise is negative.
    """

    points: Float[Tensor, "n d"]
    values: Float[Tensor, " _"]
    noise: float
    _: KW_ONLY
    field: str | None = None

    def __post_init__(self) -> None:
        if self.points.shape[0] != self.values.shape[0]:
            raise ValueError(
                f"Observations: expected one value per point, got {self.values.shape[0]} "
                f"values at {self.points.shape[0]} points; give as many of each"
            )
        finite = torch.isfinite(self.points).all() and torch.isfinite(self.values).all()
        if not bool(finite):
            raise ValueError(
                "Observations: expected finite points and values, got NaN or infinity; drop "
                "those that are missing"
            )
        if not self.noise >= 0:
            raise ValueError(
                f"Observations: expected a standard deviation of at least 0, got {self.noise}; "
                "give the noise level of the measurement"
            )


Condition: TypeAlias = FaceCondition | Periodic | Observations
