"""What every solver gives back: a value, how it ended, and what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar, final

from jaxtyping import Bool, Float
from torch import Tensor

V = TypeVar("V")


@final
class Status(Enum):
    """How a solve ended; the value is a message with the remedy."""

    CONVERGED = "the residual meets the tolerance"
    MAX_STEPS = (
        "the largest number of steps was reached before the tolerance; raise max_steps, use a "
        "better preconditioner, or loosen the tolerance"
    )
    BREAKDOWN = (
        "the method divided by a quantity that has to be positive or non-zero; check that the "
        "operator and the preconditioner have the structure that this method needs, or take "
        "MINRES (symmetric) or GMRES (any operator)"
    )
    STAGNATION = (
        "the residual stopped decreasing above the tolerance; solve in float64, loosen the "
        "tolerance, use a better preconditioner, and if the operator is singular remove the "
        "part of the right-hand side outside its range, A.project(b)"
    )
    NONFINITE = (
        "NaN or infinity appeared; check the operator and the preconditioner for non-finite or "
        "overflowing entries, rescale the system, or solve in float64"
    )


@final
@dataclass(frozen=True, eq=False)
class Solution(Generic[V]):
    """The outcome of a solve; failure is data, not an exception.

    Args:
        value: What was solved for. Where `converged` is False it is the best found, not a
            solution.
        status: How the solve ended; with several right-hand sides the first failure in the
            order NONFINITE, BREAKDOWN, STAGNATION, MAX_STEPS, if there is one.
        converged: One flag per right-hand side or problem.
        num_steps: Steps taken, the most over all right-hand sides.
        history: What the method reduces (for linear systems the 2-norm of the residual) at the
            start and after each step.
        stats: What the solver reports besides: its name and choices, counts, final residual.
    """

    value: V
    status: Status
    converged: Bool[Tensor, "*batch"]
    num_steps: int
    history: Float[Tensor, "records *batch"]
    stats: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether every right-hand side or problem converged."""
        return bool(self.converged.all())


@final
class SolverError(RuntimeError):
    """A solve that did not converge; raised where ``throw=True`` asks for it.

    Args:
        function: The public function that was called.
        solution: The outcome; its value is the best that was found.
        detail: What is known besides the status, empty for nothing.
    """

    def __init__(self, function: str, solution: Solution[Any], detail: str = "") -> None:
        self.solution = solution
        total = solution.converged.numel()
        failed = total - int(solution.converged.sum())
        count = f" ({failed} of {total} right-hand sides)" if total > 1 else ""
        because = f" [{detail}]" if detail else ""
        super().__init__(
            f"{function}: expected convergence, got {solution.status.name} after "
            f"{solution.num_steps} steps{count}{because}: {solution.status.value}; or pass "
            "throw=False to receive the Solution"
        )
