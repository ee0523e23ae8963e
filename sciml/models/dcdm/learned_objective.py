"""How learned CCMG is trained: by the residual that conjugate gradients leave with it."""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.learned_ccmg import LearnedCCMG
from sciml.models.dcdm.learned_cycle import MultigridCycle, symmetric_product
from sciml.models.dcdm.learned_network import GEOMETRY_FIELDS, LearnedCCMGNet
from sciml.models.dcdm.validation import fractional_steps
from sciml.spec import Batch, DatasetSpec
from sciml.training.normalized import NormalizedModel
from sciml.training.objective import Objective, Progress, Terms
from sciml.training.validation import Validation

_LARGEST_STEPS = 100


@final
@dataclass(frozen=True)
class PCGSteps(Validation):
    """Steps of conjugate gradients with the learned cycle, between whole numbers of them.

    Args:
        rtol: Tolerance relative to the right-hand side.

    Raises:
        ValueError: If `rtol` is not in (0, 1).
    """

    rtol: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 < self.rtol < 1:
            raise ValueError(
                f"PCGSteps: expected rtol in (0, 1), got {self.rtol}; 1e-6 is usual"
            )

    @override
    def name(self, spec: DatasetSpec) -> str:
        return f"pcg_iters@{self.rtol:g}".replace("e-0", "e-")

    @override
    def errors(self, model: NormalizedModel, batch: Batch) -> Tensor:
        network, solver = learned_network(model), CG(rtol=self.rtol, max_steps=_LARGEST_STEPS)
        steps = []
        for residual, flags in batch.inputs.cpu():
            operator = PoissonOperator(flags.round().to(torch.uint8))
            b = operator.project(residual.double())
            inverse = LearnedCCMG(network, operator, choose="learned")
            solution = solver.solve(operator, b, preconditioner=inverse)
            steps.append(
                fractional_steps(solution, self.rtol * float(b.norm()), _LARGEST_STEPS)
            )
        return torch.tensor(steps)


@final
@dataclass(frozen=True)
class UnrolledPCG(Objective):
    r"""Mean reduction of the residual by a few steps of preconditioned conjugate gradients.

    .. math:: L = \frac{1}{K} \log_{10} \frac{\|r_K\|}{\|b\|}

    averaged over the batch, differentiated through all K steps and through the cycle in each of
    them. Decades per step: -0.9 means that a step divides the residual by eight.

    Args:
        num_steps: K.
        steps: Judges an epoch, by the steps to 1e-6 on the validation geometries.

    Raises:
        ValueError: If `num_steps` is not positive.

    Source: specification of the learned multigrid of this package. Training a solver's
    components through its unrolled iteration: Greenfeld, Galun, Kimmel, Yavneh and Basri,
    ICML 2019, arXiv:1902.10248.
    """

    num_steps: int = 4
    steps: PCGSteps = PCGSteps()

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(
                f"UnrolledPCG: expected num_steps >= 1, got {self.num_steps}; 4 is usual"
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
        return self.steps

    @override
    def check_spec(self, spec: DatasetSpec) -> None:
        fields = tuple(item.name for item in spec.in_fields)
        if fields != GEOMETRY_FIELDS:
            raise ValueError(
                f"UnrolledPCG: expected right-hand sides with cell flags, the fields "
                f"{list(GEOMETRY_FIELDS)}, got {spec.name!r} with {list(fields)}; choose a "
                "data set of geometries"
            )

    @override
    def __call__(
        self, model: NormalizedModel, batch: Batch, progress: Progress
    ) -> tuple[Tensor, Terms]:
        network, (b, flags) = learned_network(model), batch.inputs.unbind(1)
        operator = PoissonOperator(
            flags.round().to(torch.uint8), num_axes=flags.ndim - 1, dtype=b.dtype
        )
        norms = unrolled_pcg(operator, network.cycle(operator), b, self.num_steps)
        decades = (norms[-1] / norms[0]).log10()
        first = (norms[1] / norms[0]).log10()
        return decades.mean() / self.num_steps, {"first_step": first.detach().mean()}


def learned_network(model: NormalizedModel) -> LearnedCCMGNet:
    """The network of a model without normalisation.

    Raises:
        TypeError: If it is another one.
        ValueError: If inputs are normalised, which would change the geometry.
    """
    network: Any = model.network
    if not isinstance(network, LearnedCCMGNet):
        raise TypeError(
            f"UnrolledPCG: expected a LearnedCCMGNet, got {type(network).__name__}; use "
            "model=learned_ccmg"
        )
    if model.inputs.kind != "none" or model.outputs.kind != "none":
        raise ValueError(
            "UnrolledPCG: expected no normalisation, since inputs hold cell flags, got "
            f"{model.inputs.kind!r}; use normalization=none"
        )
    return network


def unrolled_pcg(
    operator: PoissonOperator,
    cycle: MultigridCycle,
    b: Float[Tensor, "b *space"],
    num_steps: int,
) -> Float[Tensor, "steps_plus_1 b"]:
    """Residual norms of conjugate gradients, differentiable in what the cycle depends on.

    Args:
        operator: A batch of geometries.
        cycle: M on the flattened batch.
        b: Right-hand sides in the range of A.
        num_steps: Steps, all of them taken.
    """
    least = torch.finfo(b.dtype).tiny  # what is solved exactly stays so instead of 0 / 0
    ones = (-1,) + (1,) * (b.ndim - 1)

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).flatten(1).sum(1)

    r, p = b, torch.zeros_like(b)
    norms = [torch.linalg.vector_norm(b.flatten(1), dim=1)]
    before = torch.ones_like(norms[0])
    for _ in range(num_steps):
        z = operator.project(cycle(r.reshape(-1)).reshape(b.shape))
        rho = dot(r, z)
        p = z + (rho / before).reshape(ones) * p
        q = symmetric_product(operator, p.reshape(-1)).reshape(b.shape)
        alpha = rho / dot(p, q).clamp_min(least)
        r = r - alpha.reshape(ones) * q
        before = rho.clamp_min(least)
        norms.append(torch.linalg.vector_norm(r.flatten(1), dim=1).clamp_min(least))
    return torch.stack(norms)
