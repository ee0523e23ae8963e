"""The pressure solves of a simulation: one after another, each started from those before."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.poisson import PoissonOperator
from sciml.solution import Solution

PressureMethod: TypeAlias = Callable[[PoissonOperator, Tensor, Tensor], Solution[Tensor]]
"""Solves A p = b from a start: method(operator, b, start)."""

_FALLBACK_KEYS = ("fallback", "fallback_from")
"""What solvers report when they were given up for another."""


@final
class PressureSolver:
    """A method for the pressure, started from 2 p_n − p_{n−1}, and what it cost.

    The tolerance of the method has to be relative to ‖b‖, not to the first residual: only then
    does a good start save steps.

    Args:
        method: Solves one system.

    Attributes:
        seconds: Time of each solve, setup for a new geometry included.
        num_steps: Steps of each solve.
        num_fallbacks: Solves that another method had to finish.
        stats: What the method reported of the latest solve.
    """

    def __init__(self, method: PressureMethod) -> None:
        self.method = method
        self.seconds: list[float] = []
        self.num_steps: list[int] = []
        self.num_fallbacks = 0
        self.stats: Mapping[str, Any] = {}
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(
        self, operator: PoissonOperator, b: Float[Tensor, "*space"]
    ) -> Solution[Tensor]:
        """Solve A p = b.

        Raises:
            SolverError: If the method raises it.
        """
        if self._last is None:
            start = torch.zeros_like(b)
        else:
            newest, previous = self._last
            # where a body has arrived there is no pressure any more
            start = torch.where(operator.fluid, 2 * newest - previous, 0.0)
        _synchronise(b)
        begin = time.perf_counter()
        solution = self.method(operator, b, start)
        _synchronise(b)
        self.seconds.append(time.perf_counter() - begin)
        self.num_steps.append(solution.num_steps)
        self.num_fallbacks += any(key in solution.stats for key in _FALLBACK_KEYS)
        self.stats = solution.stats
        self._last = solution.value, (solution.value if self._last is None else self._last[0])
        return solution


@final
class SideBySide:
    """Several methods on the same systems, one of which drives the simulation.

    Each starts from its own earlier solutions, so their steps and times compare as if each had
    run alone.

    Args:
        solvers: By name; the first one's solutions are given back.

    Raises:
        ValueError: If there is none.
    """

    def __init__(self, solvers: Mapping[str, PressureSolver]) -> None:
        if not solvers:
            raise ValueError(
                "SideBySide: expected at least one solver, got none; name those to compare"
            )
        self.solvers = dict(solvers)

    def __call__(
        self, operator: PoissonOperator, b: Float[Tensor, "*space"]
    ) -> Solution[Tensor]:
        """Solve A p = b by all of them.

        Raises:
            SolverError: If a method raises it.
        """
        solutions = [solver(operator, b) for solver in self.solvers.values()]
        return solutions[0]


def _synchronise(tensor: Tensor) -> None:
    """Wait for the device, so that a clock measures its work."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
