"""Epochs judged by what a net is for: the steps of the solver that uses it."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.poisson import PoissonOperator
from sciml.models.dcdm.solver import DCDM
from sciml.solution import Solution
from sciml.spec import Batch, DatasetSpec
from sciml.training.normalized import NormalizedModel
from sciml.training.validation import Validation


@final
@dataclass(frozen=True)
class SolverSteps(Validation):
    """Steps of DCDM to a tolerance, on the geometry and right-hand side of each sample.

    Between two numbers of steps it interpolates on the logarithm of the residual, so that of
    equal counts the better net is known; a solve that does not get there counts `max_steps`
    plus the decades that are missing.

    Args:
        rtol: Tolerance relative to the right-hand side.
        max_steps: Largest number of steps.
        k_orth: Earlier directions kept.

    Source: the published code picks the epoch whose residual on a frame of a simulation is
    smallest after a fixed number of steps.
    """

    rtol: float = 1e-6
    max_steps: int = 100
    k_orth: int = 2

    @override
    def name(self, spec: DatasetSpec) -> str:
        return f"dcdm_iters@{self.rtol:g}".replace("e-0", "e-")

    @override
    def errors(self, model: NormalizedModel, batch: Batch) -> Tensor:
        if batch.static is None:
            raise ValueError(
                "SolverSteps: expected the cell flags of each system in batch.static, got "
                "none; use a sampler of systems"
            )
        solver = DCDM(
            model,
            k_orth=self.k_orth,
            rtol=self.rtol,
            max_steps=self.max_steps,
            fallback=False,
        )
        steps = []
        for flags, inputs in zip(batch.static, batch.inputs, strict=True):
            operator = PoissonOperator(flags[0].to(torch.uint8))
            b = operator.project(inputs[0].double())
            solution = solver.solve(operator, b)
            steps.append(
                fractional_steps(solution, self.rtol * float(b.norm()), self.max_steps)
            )
        return torch.tensor(steps)


def fractional_steps(solution: Solution[Tensor], target: float, max_steps: int) -> float:
    """Steps of one solve until its residual norm meets a target, between two of them.

    Args:
        solution: The solve, with the residual norm at the start and after each step.
        target: The norm to meet.
        max_steps: What a solve that does not get there counts, plus the missing decades.
    """
    norms = solution.history.tolist()
    for number, norm in enumerate(norms):
        if norm <= target and number == 0:
            return 0.0
        if norm <= target:
            before = math.log(norms[number - 1] / target)
            after = math.log(target / norm) if norm > 0 else before
            return number - 1 + before / (before + after)
    reached = min(norm for norm in norms if math.isfinite(norm))
    return max_steps + math.log10(reached / target)
