"""`LearnedCCMG`: a trained multigrid as a preconditioner of pressure solves."""

import copy
import math
import time
from collections.abc import Callable
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.base import FixedPreconditioner
from sciml.linalg.preconditioners.multigrid.graph import GraphLevel
from sciml.linalg.solvers.base import LinearSolver
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.learned_finest import SplitFinest
from sciml.models.dcdm.learned_hierarchy import Hierarchy, graph_levels, hierarchy
from sciml.models.dcdm.learned_network import LearnedCCMGNet
from sciml.models.dcdm.learned_steps import (
    CellFinest,
    CompiledCycle,
    FinestLevel,
    GraphLevelSteps,
    graph_matrix,
)
from sciml.simulate.geometry import right_hand_side
from sciml.solution import Status
from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate

_PROBE_STEPS = 8
_LARGEST_STEPS = 200
_PROBE_SEED = 40087

Method = Callable[[PoissonOperator, float], tuple[LinearSolver, LinearOperator]]
"""Solver and preconditioner for an operator and a relative tolerance."""


@final
class LearnedCCMG(FixedPreconditioner):
    """CCMG with learned conductances, smoother and transfers, for one geometry.

    The network is evaluated once; what it says of edges and cells is stored, and an application
    costs little more than that of the classical cycle with the same smoother. It is symmetric
    by construction. It is positive definite on most geometries, which is no proof: where it is
    not, the measurement finds out, and `CG` reports a breakdown.

    Trained for three minutes on 64², it takes 6.3 steps to 1e-6 where `CCMG` takes 7.1, on
    geometries of 64² to 256² that it has not seen, and 10 % fewer with smooth coefficients and
    cells of 10:1. Where coefficients jump by 1e3 the learned cycle mostly breaks down and the
    classical one is used. Setup costs five times that of `CCMG`, and the measurement as much
    again, so it pays where one geometry is solved many times.

    Args:
        network: A trained net, or the surrogate that holds it.
        operator: One geometry.
        choose: ``"measured"``: eight steps of conjugate gradients on a probe right-hand side
            with the learned cycle and with the classical one, and the better rate wins;
            ``"learned"`` and ``"classical"`` take that one unseen.
        dtype: Precision of the cycle.

    Attributes:
        kind: The cycle in use, ``"learned"`` or ``"classical"``.
        decades_per_step: Mean reduction of the residual in the measurement, of each cycle that
            was measured.
        setup_seconds: What making it took.

    Raises:
        ValueError: If the operator is a batch of geometries or has another number of axes than
            the net, or `choose` is unknown.
        TypeError: If the network is no `LearnedCCMGNet`.

    Source: specification and measurements of this package.
    """

    def __init__(
        self,
        network: nn.Module | Surrogate,
        operator: PoissonOperator,
        *,
        choose: str = "measured",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if choose not in ("measured", "learned", "classical"):
            raise ValueError(
                "LearnedCCMG: expected choose 'measured', 'learned' or 'classical', got "
                f"{choose!r}; choose one of them"
            )
        self.network = _network_of(network)
        self.choose = choose
        _check(self.network, operator)
        super().__init__(operator.in_shape, dtype=dtype, device=operator.device)
        self.update(operator)

    def update(self, operator: PoissonOperator) -> None:
        """Make everything anew for another geometry of the same shape.

        Raises:
            ValueError: If its shape differs.
        """
        started = time.perf_counter()
        _check(self.network, operator)
        if operator.in_shape != self.in_shape:
            raise ValueError(
                f"LearnedCCMG.update: expected a geometry of shape {self.in_shape}, got "
                f"{operator.in_shape}; make a new LearnedCCMG"
            )
        self._fingerprint = operator.fingerprint
        graphs = graph_levels(operator)
        levels = hierarchy(operator, graphs, dtype=self.dtype)
        self.decades_per_step: dict[str, float] = {}
        self.kind = "learned" if self.choose == "measured" else self.choose
        cycles = {}
        kinds = ("classical", "learned") if self.choose == "measured" else (self.kind,)
        for kind in kinds:
            cycles[kind] = self._cycle = self._made(kind, levels, graphs[0], operator)
            if self.choose == "measured":
                self.decades_per_step[kind] = self._measured(operator)
        if self.choose == "measured":
            rates = self.decades_per_step
            self.kind = "learned" if rates["learned"] > rates["classical"] else "classical"
        self._cycle = cycles[self.kind]
        self.setup_seconds = time.perf_counter() - started

    @override
    def check_operator(self, operator: LinearOperator) -> None:
        """Refuse an operator with another geometry or other weights.

        Raises:
            ValueError: With the remedy.
        """
        if isinstance(operator, PoissonOperator) and operator.fingerprint != self._fingerprint:
            raise ValueError(
                "LearnedCCMG: expected the operator that it was made for, got one with another "
                "geometry or weights; call update(operator)"
            )

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return torch.stack([self._cycle(r) for r in x.reshape(-1, *self.in_shape)]).reshape(
            x.shape
        )

    def _made(
        self, kind: str, levels: Hierarchy, finest: GraphLevel, operator: PoissonOperator
    ) -> Callable[[Tensor], Tensor]:
        """The cycle on fields; compiled to NumPy on the CPU."""
        network = self.network.as_classical() if kind == "classical" else self.network
        parameter = network.log_relaxation
        if (parameter.dtype, parameter.device.type) != (self.dtype, "cpu"):
            network = copy.deepcopy(network).to(dtype=self.dtype, device="cpu")
        with torch.no_grad():
            if operator.device.type == "cpu":
                return _compiled(network, levels, finest, operator)
            network = copy.deepcopy(network).to(operator.device)
            return network.field_cycle(levels, operator, self.dtype)

    def _measured(self, operator: PoissonOperator) -> float:
        """Decades that a step of conjugate gradients takes off the residual of a probe."""
        b = right_hand_side(operator.flags.cpu().numpy(), seed=_PROBE_SEED)
        probe = operator.project(torch.as_tensor(b, dtype=operator.dtype).to(operator.device))
        solver = CG(rtol=1e-12, max_steps=_PROBE_STEPS)
        solution = solver.solve(operator, probe, preconditioner=self)
        history = solution.history.flatten()
        last, first = float(history[-1]), float(history[0])
        failed = solution.status in (Status.BREAKDOWN, Status.NONFINITE)
        if failed or not math.isfinite(last) or first == 0:
            return -math.inf
        steps = max(len(history) - 1, 1)
        return math.log10(first / max(last, 1e-300)) / steps


def _compiled(
    network: LearnedCCMGNet, levels: Hierarchy, graph: GraphLevel, operator: PoissonOperator
) -> Callable[[Tensor], Tensor]:
    dtype, cells = next(network.parameters()).dtype, levels.finest.cells
    diagonal = torch.as_tensor(graph.diagonal, dtype=dtype)
    weights, smoothing = network.evaluate(levels, diagonal)
    aggregate = levels.coarse[0].aggregate[cells]
    colours = network.smoother == "red_black"
    finest: FinestLevel
    if colours and operator.is_uniform:
        unit = operator.spacing[0] ** -2
        finest = SplitFinest(operator.in_shape, cells, unit, diagonal, *smoothing[0], aggregate)
    else:
        columns = zip(*graph.edges, strict=True)
        lower, upper, weight = (np.concatenate(column) for column in columns)
        matrix = graph_matrix(lower, upper, weight, graph.diagonal)
        steps = GraphLevelSteps(
            matrix, smoothing[0], aggregate, graph.num_red if colours else None
        )
        finest = CellFinest(steps, operator.in_shape, cells)
    return CompiledCycle(
        finest, levels, weights, smoothing, num_visits=network.num_visits, colours=colours
    )


def _network_of(source: Any) -> LearnedCCMGNet:
    if isinstance(source, Surrogate):
        source = source.model
    if isinstance(source, NormalizedModel):
        source = source.network
    if not isinstance(source, LearnedCCMGNet):
        raise TypeError(
            f"LearnedCCMG: expected a LearnedCCMGNet or a surrogate that holds one, got "
            f"{type(source).__name__}; train one with model=learned_ccmg"
        )
    return source


def _check(network: LearnedCCMGNet, operator: PoissonOperator) -> None:
    if operator.batch_shape:
        raise ValueError(
            f"LearnedCCMG: expected one geometry, got a batch {operator.batch_shape}; make one "
            "preconditioner each"
        )
    if len(operator.in_shape) != network.ndim:
        raise ValueError(
            f"LearnedCCMG: expected a geometry with {network.ndim} axes, as those of its "
            f"training, got {operator.in_shape}; train a net on such geometries"
        )


def methods(surrogate: Surrogate) -> dict[str, Method]:
    """How a net is compared: the measured choice first, then each of its two cycles alone."""

    def with_choice(choose: str) -> Method:
        def method(
            operator: PoissonOperator, rtol: float
        ) -> tuple[LinearSolver, LinearOperator]:
            inverse = LearnedCCMG(surrogate, operator, choose=choose)
            return CG(rtol=rtol, max_steps=_LARGEST_STEPS), inverse

        return method

    return {
        "learned_ccmg": with_choice("measured"),
        "learned_always": with_choice("learned"),
        "classical": with_choice("classical"),
    }
