"""The one iteration loop of all Krylov methods.

A method supplies `init`, `step` and `iterate`; counting, convergence, breakdown, stagnation,
history and freezing of finished right-hand sides happen here, so that no method can get them
wrong and comparisons between methods are fair by construction.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.solvers.base import LinearSolver, LinearSystem
from sciml.linalg.solvers.graph import ReplayedStep
from sciml.linalg.solvers.scalars import (
    Count,
    Flag,
    Scalar,
    choose,
    every,
    finite,
    magnitude,
    negate,
    some,
)
from sciml.solution import Solution, Status

_CHECK_EVERY_ON_ACCELERATOR = 16  # steps per host synchronisation, each some 10 to 50 µs
_FIRST_REFRESH = 16  # steps; the interval then doubles up to refresh_every


@dataclass
class IterationState:
    """What the loop reads and writes of a method's state, one entry per right-hand side.

    Args:
        active: Right-hand sides still to advance; a step leaves the others unchanged.
        residual_norm: The method's own (recursive) 2-norm of the residual.
        breakdown: 0, or the one-based number of the reason in the method's
            `breakdown_reasons`.
    """

    active: Flag
    residual_norm: Scalar
    breakdown: Count


S = TypeVar("S", bound=IterationState)


@dataclass(frozen=True, kw_only=True)
class IterativeSolver(LinearSolver, Generic[S]):
    """A Krylov method: `init` and `step` on a state, driven by the loop of this module.

    Args:
        max_steps: Largest number of steps.
        check_every: Steps between two convergence tests on the host; None is every step on the
            CPU and every 16 on an accelerator, where each test waits for the queue. Finished
            right-hand sides freeze at once in any case.
        refresh_every: Most steps between two computations of the true residual (the first
            come at 16, 32, …); each costs one application of A. The iteration restarts where
            the recursive residual has drifted from it.
        stagnation_steps: Steps without 1 % decrease of the best true residual after which a
            right-hand side is given up.
        cuda_graph: Whether a step is recorded once a solve and then replayed, `check_every`
            times between two tests, where the system is on CUDA; elsewhere nothing changes.
            Recording costs three steps and some milliseconds, so it pays on small systems that
            take hundreds of steps. For methods whose state keeps its shape (not GMRES), and
            operators and preconditioners that never wait for the device.
    """

    max_steps: int = 10_000
    check_every: int | None = None
    refresh_every: int = 50
    stagnation_steps: int = 1000
    cuda_graph: bool = False

    breakdown_reasons: ClassVar[tuple[str, ...]] = ()
    restarts_per_column: ClassVar[bool] = True

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        counts = {
            "max_steps": self.max_steps,
            "check_every": 1 if self.check_every is None else self.check_every,
            "refresh_every": self.refresh_every,
            "stagnation_steps": self.stagnation_steps,
        }
        for name, count in counts.items():
            if count < 1:
                raise ValueError(
                    f"{type(self).__name__}: expected {name} >= 1, got {count}; it counts steps"
                )

    @abstractmethod
    def init(self, system: LinearSystem, x: Tensor, r: Tensor) -> S:
        """The state at the start `x` with true residual `r`; both may be changed in place."""

    @abstractmethod
    def step(self, system: LinearSystem, state: S) -> S:
        """One step of the active right-hand sides; `state` may be changed in place."""

    @abstractmethod
    def iterate(self, system: LinearSystem, state: S) -> Tensor:
        """The current x (*batch, *shape)."""

    @override
    @final
    def solve(
        self,
        operator: LinearOperator,
        b: Tensor,
        *,
        x0: Tensor | None = None,
        preconditioner: LinearOperator | None = None,
    ) -> Solution[Tensor]:
        self.check(operator)
        with torch.no_grad():
            return Iteration(self, LinearSystem(operator, b, preconditioner), x0).run()


@final
class Iteration(Generic[S]):
    """One run of the loop.

    A column is one right-hand side. It is *active* while it advances, *pending* until its fate
    is known: an active column halts when the recursion claims convergence, breaks down or
    overflows, and only its true residual then decides between convergence, a restart from that
    residual, and failure. A column that halts again before its true residual has halved fails.

    Args:
        solver: The method.
        system: What is solved.
        x0: Start, or None for zero.
    """

    def __init__(
        self, solver: IterativeSolver[S], system: LinearSystem, x0: Tensor | None
    ) -> None:
        self.solver, self.system = solver, system
        graphed = solver.cuda_graph and system.b.device.type == "cuda"
        self.step = ReplayedStep(solver.step) if graphed else solver.step
        b_norm = system.norm(system.b)
        self.tolerance = solver.tolerance(b_norm)
        if x0 is None:
            x, r = torch.zeros_like(system.b), system.b.clone()
        else:
            # zero solves A x = 0 exactly, which no relative tolerance would let a start reach
            x = system.select(b_norm != 0, x0.contiguous(), torch.zeros_like(system.b))
            r = system.residual(x)
        norm = system.norm(r)
        self.converged: Flag = norm <= self.tolerance
        self.pending = negate(self.converged)
        self.nonfinite = negate(finite(norm))
        self.stagnated: Flag = system.fill(False)
        self.reason: Count = system.fill(0)
        self.best_x, self.best_norm = x.clone(), norm
        self.best_step: Count = system.fill(0)
        self.column_steps: Count = system.fill(0)
        self.halted_at: Scalar = system.fill(math.inf)
        self.history = [norm]
        self.num_steps = self.num_restarts = 0
        self.state = solver.init(system, x, r)
        self.state.active = self.pending

    def run(self) -> Solution[Tensor]:
        """Step until every column has converged or failed."""
        solver = self.solver
        check_every = solver.check_every
        if check_every is None:
            on_cpu = self.system.b.device.type == "cpu"
            check_every = 1 if on_cpu else _CHECK_EVERY_ON_ACCELERATOR
        running, last_refresh = some(self.pending), 0
        while running and self.num_steps < solver.max_steps:
            for _ in range(min(check_every, solver.max_steps - self.num_steps)):
                self.advance()
            # early on more often: a run that derails has a good iterate to go back to
            interval = min(solver.refresh_every, max(_FIRST_REFRESH, last_refresh))
            due = self.num_steps - last_refresh >= interval
            if due or some(self.pending & negate(self.state.active)):
                last_refresh = self.num_steps
                self.verify()
                running = some(self.pending)
        return self.finish()

    def advance(self) -> None:
        """One step, and what can be said about it without asking the host."""
        self.num_steps += 1
        before, breakdown = self.state.active, self.state.breakdown
        if self.system.single and not before:
            # the only column has halted and waits for the next test
            self.history.append(self.history[-1])
            return
        self.state = state = self.step(self.system, self.state)
        self.column_steps = self.column_steps + before
        norm = state.residual_norm
        self.history.append(choose(before, norm, self.history[-1]))
        state.breakdown = choose(before, state.breakdown, breakdown)
        usable = (norm < math.inf) & (state.breakdown == 0)
        state.active = before & (norm > self.tolerance) & usable

    def verify(self) -> None:
        """Let the true residual decide about every pending column."""
        system, state = self.system, self.state
        x = self.solver.iterate(system, state)
        r = system.residual(x)
        norm = system.norm(r)
        halted = self.pending & negate(state.active)
        met = halted & (norm <= self.tolerance)
        self._remember(x, norm)
        self.converged = self.converged | met
        self.pending = self.pending & negate(met)
        failing = halted & negate(met)
        hopeless = failing & negate(norm <= 0.5 * self.halted_at)
        self.halted_at = choose(failing, choose(norm >= 0, norm, 0.0), self.halted_at)
        idle = self.num_steps - self.best_step >= self.solver.stagnation_steps
        self._give_up(hopeless, idle & self.pending, norm)
        # a recursion that has drifted off by a tenth steers by a residual that is not there
        drifted = state.active & negate(magnitude(norm - state.residual_norm) <= 0.1 * norm)
        again = self.pending & (failing | drifted)
        state.active = self.pending & state.active
        if some(again):
            worse = again & negate(norm <= 10.0 * self.best_norm)
            if some(worse):
                x = system.select(worse, self.best_x, x)
                r = system.residual(x)
            self._restart(again, x, r)

    def _remember(self, x: Tensor, norm: Scalar) -> None:
        """Keep the best verified iterate of each column."""
        better = self.pending & (norm < self.best_norm)
        clearly = self.pending & (norm < 0.99 * self.best_norm)
        self.best_x = self.system.select(better, x, self.best_x)
        self.best_step = choose(clearly, self.num_steps, self.best_step)
        self.best_norm = choose(better, norm, self.best_norm)

    def _give_up(self, hopeless: Flag, idle: Flag, norm: Scalar) -> None:
        """Record why columns fail; they are pending no more."""
        state = self.state
        nonfinite = hopeless & negate(finite(norm) & finite(state.residual_norm))
        broken = hopeless & negate(nonfinite) & (state.breakdown > 0)
        self.nonfinite = self.nonfinite | nonfinite
        self.reason = choose(broken, state.breakdown, self.reason)
        self.stagnated = self.stagnated | idle | (hopeless & negate(nonfinite | broken))
        self.pending = self.pending & negate(hopeless | idle)

    def _restart(self, again: Flag, x: Tensor, r: Tensor) -> None:
        """Start the columns `again` afresh from their true residual."""
        self.num_restarts += 1
        old = self.state
        fresh = self.solver.init(self.system, x.clone(), r)
        if self.solver.restarts_per_column and not every(again):
            for item in fields(fresh):
                new, kept = getattr(fresh, item.name), getattr(old, item.name)
                if isinstance(new, Tensor):
                    is_field = new.ndim > len(self.system.batch_shape)
                    merge = self.system.select if is_field else choose
                    setattr(fresh, item.name, merge(again, new, kept))
        fresh.active = self.pending & (old.active | again)
        self.state = fresh

    def finish(self) -> Solution[Tensor]:
        """The true residual of what is given back, and the first failure as the status."""
        system = self.system
        x = self.best_x
        if some(self.pending):
            # out of steps: the last iterate, which the method prefers, unless it is worse off
            last = self.solver.iterate(system, self.state)
            norm = system.norm(system.residual(last))
            use = self.pending & (norm <= 10.0 * self.best_norm)
            x = system.select(use, last, x)
            self.best_norm = choose(use, norm, self.best_norm)
            self.converged = self.converged | (
                self.pending & (self.best_norm <= self.tolerance)
            )
            self.pending = self.pending & negate(self.converged)
        return Solution(
            value=x,
            status=self._status(),
            converged=system.as_tensor(self.converged),
            num_steps=self.num_steps,
            history=system.stack(self.history),
            stats=self._stats(),
        )

    def _status(self) -> Status:
        failures = {
            Status.NONFINITE: self.nonfinite,
            Status.BREAKDOWN: self.reason > 0,
            Status.STAGNATION: self.stagnated,
            Status.MAX_STEPS: self.pending,
        }
        for status, columns in failures.items():
            if some(columns):
                return status
        return Status.CONVERGED

    def _stats(self) -> dict[str, Any]:
        system, reasons = self.system, self.solver.breakdown_reasons
        reason = system.as_tensor(self.reason)
        stats: dict[str, Any] = {
            "solver": type(self.solver).__name__,
            "residual_norm": system.as_tensor(self.best_norm),
            "tolerance": system.as_tensor(self.tolerance),
            "column_steps": system.as_tensor(self.column_steps),
            "num_applications": system.num_applications,
            "num_preconditionings": system.num_preconditionings,
            "num_restarts": self.num_restarts,
        }
        codes = sorted(set(reason.flatten().tolist()) - {0})
        if codes:
            stats["detail"] = "; ".join(reasons[code - 1] for code in codes)
        return stats
