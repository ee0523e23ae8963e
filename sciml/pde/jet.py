"""Jets: a field and its derivatives at points, however they were obtained."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.pde.points import Points

MultiIndex: TypeAlias = tuple[int, ...]
"""Derivative order along each axis, in the order of the domain's axes."""


class Jet(ABC):
    """Value and derivatives of one field at n points; no automatic differentiation assumed.

    A residual is written on jets alone, so that solvers may fill them from closed forms,
    collocation matrices, kernels or automatic differentiation.
    """

    @property
    def value(self) -> Float[Tensor, " n"]:
        """The field."""
        return self.d()

    @abstractmethod
    def d(self, **orders: int) -> Float[Tensor, " n"]:
        """A partial derivative by order per axis: ``u.d(x=2)``, ``u.d(x=1, y=1)``."""


def multi_index(axes: tuple[str, ...], orders: Mapping[str, int]) -> MultiIndex:
    """Derivative orders in the order of `axes`.

    Raises:
        ValueError: If an axis is unknown or an order negative.
    """
    unknown = sorted(set(orders) - set(axes))
    if unknown:
        raise ValueError(
            f"Jet.d: expected derivatives along the axes {axes}, got {unknown}; write for "
            f"example d({axes[0]}=1)"
        )
    negative = {axis: order for axis, order in orders.items() if order < 0}
    if negative:
        raise ValueError(f"Jet.d: expected orders of at least 0, got {negative}; write them so")
    return tuple(orders.get(axis, 0) for axis in axes)


@final
class ArrayJet(Jet):
    """A jet that holds given derivatives.

    Args:
        axes: Axis names of the domain, in order.
        values: The field, under the multi-index of zeros, and whichever derivatives are held.
    """

    def __init__(
        self, axes: tuple[str, ...], values: Mapping[MultiIndex, Float[Tensor, " n"]]
    ) -> None:
        self.axes = axes
        self.values = dict(values)

    @classmethod
    def zeros(
        cls, axes: tuple[str, ...], indices: Iterable[MultiIndex], num_points: int
    ) -> "ArrayJet":
        """The jet of the zero field with the given derivatives."""
        return cls(
            axes, {index: torch.zeros(num_points, dtype=torch.float64) for index in indices}
        )

    @override
    def d(self, **orders: int) -> Float[Tensor, " n"]:
        """A partial derivative by order per axis.

        Raises:
            ValueError: If that derivative is not held.
        """
        index = multi_index(self.axes, orders)
        if index not in self.values:
            raise ValueError(
                f"ArrayJet.d: expected one of the derivatives {sorted(self.values)} of "
                f"{self.axes}, got {index}; add it where the jet is filled (a problem lists "
                "what it uses in problem.needs)"
            )
        return self.values[index]


@final
class RecordingJet(Jet):
    """A jet of random numbers that remembers which derivatives were asked for.

    Args:
        axes: Axis names of the domain, in order.
        num_points: Number of points n.
        generator: Source of the random numbers, standard normal.
    """

    def __init__(
        self, axes: tuple[str, ...], num_points: int, generator: torch.Generator
    ) -> None:
        self.axes = axes
        self.values: dict[MultiIndex, Tensor] = {}
        self._num_points, self._generator = num_points, generator

    @override
    def d(self, **orders: int) -> Float[Tensor, " n"]:
        """Random numbers in place of a derivative, the same at every call."""
        index = multi_index(self.axes, orders)
        if index not in self.values:
            self.values[index] = torch.randn(
                self._num_points, dtype=torch.float64, generator=self._generator
            )
        return self.values[index]


@final
class FunctionJet(Jet):
    """The jet of a function of the coordinates, by nested forward-mode differentiation.

    Args:
        function: Pointwise function of the coordinates, (n,) at n points.
        points: Where the jet is taken.
    """

    def __init__(self, function: Callable[[Points], Tensor], points: Points) -> None:
        self._function, self._points = function, points

    @override
    def d(self, **orders: int) -> Float[Tensor, " n"]:
        """A partial derivative, exact to rounding; the cost doubles with every order."""
        axes = self._points.axes

        def value(coordinates: Tensor) -> Tensor:
            return self._function(Points(axes, coordinates))

        function: Callable[[Tensor], Tensor] = value
        for axis, order in enumerate(multi_index(axes, orders)):
            for _ in range(order):
                function = _partial(function, axis)
        return function(self._points.coordinates)


def _partial(function: Callable[[Tensor], Tensor], axis: int) -> Callable[[Tensor], Tensor]:
    """The derivative of a pointwise function of the rows along one column."""

    def derivative(coordinates: Tensor) -> Tensor:
        tangent = torch.zeros_like(coordinates)
        tangent[:, axis] = 1.0
        along: Tensor = torch.func.jvp(function, (coordinates,), (tangent,))[1]
        return along

    return derivative
