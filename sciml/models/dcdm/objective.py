"""The loss of the deep conjugate direction method, and how an epoch is judged."""

from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.models.dcdm.model import MASKED_FIELDS, RESIDUAL_FIELDS
from sciml.models.dcdm.validation import SolverSteps
from sciml.spec import Batch, DatasetSpec
from sciml.training.normalized import NormalizedModel
from sciml.training.objective import Objective, Progress, Terms
from sciml.training.validation import Validation


@final
@dataclass(frozen=True)
class LineSearchResidual(Objective):
    r"""Residual after the step that the solver would take along y = f(r).

    .. math:: \alpha^* = \frac{y \cdot r}{y \cdot A y}, \qquad
        L = \|r - \alpha^* A y\|_2^2 + \varepsilon \, (\log \|y\|_2)^2

    for right-hand sides r of unit norm, averaged over the batch; gradients flow through α*. It
    is the line search of the A-norm, not the least-squares scale of A y, so that L may exceed
    one. The first term does not depend on the scale of y, and the second keeps it from
    drifting.

    Args:
        penalty: ε. Published nets were trained without, and reach output norms of 5e8.
        solver_steps: Judges an epoch, by the steps of the solver to 1e-6.

    Raises:
        ValueError: If `penalty` is negative.

    Source: Kaneda, Akar, Chen, Kala, Hyde, Teran, ICML 2023, arXiv:2205.10763; the published
    training code. Deviations: the penalty.
    """

    penalty: float = 1e-6
    solver_steps: SolverSteps = field(default_factory=SolverSteps)

    def __post_init__(self) -> None:
        if not self.penalty >= 0:
            raise ValueError(
                f"LineSearchResidual: expected penalty >= 0, got {self.penalty}; 0 is as "
                "published"
            )

    @property
    @override
    def horizon(self) -> int:
        return 1

    @property
    @override
    def needs_targets(self) -> bool:
        return False

    @property
    @override
    def validation(self) -> Validation:
        return self.solver_steps

    @override
    def check_spec(self, spec: DatasetSpec) -> None:
        fields = tuple(item.name for item in spec.in_fields)
        if fields not in (RESIDUAL_FIELDS, MASKED_FIELDS):
            raise ValueError(
                "LineSearchResidual: expected right-hand sides of Poisson systems, the fields "
                f"{list(RESIDUAL_FIELDS)} or {list(MASKED_FIELDS)}, got {spec.name!r} with "
                f"{list(fields)}; use a supervised objective"
            )

    @override
    def __call__(
        self, model: NormalizedModel, batch: Batch, progress: Progress
    ) -> tuple[Tensor, Terms]:
        if batch.static is None:
            raise ValueError(
                "LineSearchResidual: expected the cell flags of each system in batch.static, "
                "got none; use a sampler of systems"
            )
        r, y = batch.inputs[:, 0], model(batch.inputs)[:, 0].to(batch.inputs.dtype)
        flags = batch.static[:, 0].to(torch.uint8)
        operator = PoissonOperator(flags, num_axes=r.ndim - 1, dtype=r.dtype)
        residual, log_norm = line_search_residual(operator, r, operator.fluid * y)
        squared = residual.flatten(1).square().sum(1).mean()
        terms = {"squared_residual": squared.detach(), "log_norm": log_norm.detach().mean()}
        return squared + self.penalty * log_norm.square().mean(), terms


def line_search_residual(
    operator: LinearOperator,
    r: Float[Tensor, "b *space"],
    y: Float[Tensor, "b *space"],
) -> tuple[Float[Tensor, "b *space"], Float[Tensor, " b"]]:
    """The residual r - α* A y after an exact line search, and log ‖y‖.

    A direction of zero leaves the residual as it is and has no gradient.
    """
    least = torch.finfo(y.dtype).tiny
    ones = (1,) * (y.ndim - 1)
    norm = torch.linalg.vector_norm(y.flatten(1), dim=1).clamp_min(least)
    y = y / norm.reshape(-1, *ones)
    Ay = operator.mv(y)
    curvature = (y * Ay).flatten(1).sum(1).clamp_min(least)
    step = (y * r).flatten(1).sum(1) / curvature
    return r - step.reshape(-1, *ones) * Ay, norm.log()
