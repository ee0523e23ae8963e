"""Everything that the published method learns, and where it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.models.gp_hm.kernels import MixtureParameters, initial_parameters


@final
@dataclass(frozen=True)
class GridState:
    """Everything that the published method learns.

    Args:
        mixtures: Kernel parameters of each axis.
        values: The nodal values U.
        log_boundary_precision: log τ.
        log_equation_precision: log v.
    """

    mixtures: tuple[MixtureParameters, ...]
    values: Float[Tensor, "*space"]
    log_boundary_precision: Float[Tensor, ""]
    log_equation_precision: Float[Tensor, ""]

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors: of each axis three, then U, log τ, log v."""
        mixtures = [tensor for mixture in self.mixtures for tensor in mixture.tensors]
        precisions = [self.log_boundary_precision, self.log_equation_precision]
        return [*mixtures, self.values, *precisions]

    def detach(self) -> "GridState":
        """A copy of the same values that no gradient reaches."""
        return GridState(
            tuple(mixture.detach() for mixture in self.mixtures),
            self.values.detach().clone(),
            self.log_boundary_precision.detach().clone(),
            self.log_equation_precision.detach().clone(),
        )


def initial_state(
    resolution: Sequence[int],
    num_components: int,
    frequency_scale: float,
) -> GridState:
    """The published start: U = 0, unit precisions, `initial_parameters` on every axis."""
    zero = torch.zeros((), dtype=torch.float64)
    mixtures = (initial_parameters(num_components, frequency_scale),)
    return GridState(
        tuple(mixture.detach() for mixture in mixtures * len(resolution)),
        zero.new_zeros(tuple(resolution)),
        zero.clone(),
        zero.clone(),
    )
