"""The GP-HM kernels as kernels of gpytorch, for regression and composition with others.

Importing this module imports gpytorch; the rest of `sciml.models.gp_hm` does not.
"""

import math
from typing import Any

import gpytorch
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.models.gp_hm.kernels import GM, STM, MixtureKernel, MixtureParameters


class _MixtureAdapter(gpytorch.kernels.Kernel):  # type: ignore[misc]  # gpytorch is untyped
    """A product over the input dimensions of 1-D mixtures with parameters of their own.

    Unlike gpytorch's `SpectralMixtureKernel`, whose weights are shared, every dimension has its
    own weights, and weights are learned in the log domain. Log weights, log scales and
    frequencies are unconstrained parameters of shape (d, q).

    Args:
        num_mixtures: Components q of every dimension.
        num_dims: Input dimensions d.
        frequency_scale: Initial frequencies are spread evenly from 0 to this, in cycles per
            unit of the inputs; it has to reach the frequencies of the data.

    Raises:
        ValueError: If a count is below 1.
    """

    is_stationary = True
    mixture: MixtureKernel

    def __init__(
        self, num_mixtures: int, num_dims: int = 1, frequency_scale: float = 1.0
    ) -> None:
        if num_mixtures < 1 or num_dims < 1:
            raise ValueError(
                f"{type(self).__name__}: expected at least one mixture and one dimension, got "
                f"{num_mixtures} and {num_dims}; for example num_mixtures=6, num_dims=1"
            )
        super().__init__(ard_num_dims=num_dims)
        shape = (num_dims, num_mixtures)
        weights = torch.full(shape, -math.log(num_mixtures))
        frequencies = torch.linspace(0.0, frequency_scale, num_mixtures).expand(shape).clone()
        self.register_parameter("log_weights", torch.nn.Parameter(weights))
        self.register_parameter("log_scales", torch.nn.Parameter(torch.zeros(shape)))
        self.register_parameter("frequencies", torch.nn.Parameter(frequencies))

    def forward(
        self,
        x1: Float[Tensor, "*batch n d"],
        x2: Float[Tensor, "*batch m d"],
        diag: bool = False,
        **options: Any,
    ) -> Tensor:
        """Covariance between two sets of inputs, or its diagonal."""
        if options.get("last_dim_is_batch", False):
            raise ValueError(
                f"{type(self).__name__}: expected last_dim_is_batch=False, got True; the "
                "dimensions have parameters of their own"
            )
        if x1.shape[-1] != self.ard_num_dims:
            raise ValueError(
                f"{type(self).__name__}: expected inputs of {self.ard_num_dims} dimensions, "
                f"got {x1.shape[-1]}; pass num_dims={x1.shape[-1]}"
            )
        factors = [
            self._factor(k, x1[..., k], x2[..., k], diag) for k in range(self.ard_num_dims)
        ]
        return torch.stack(factors).prod(0)

    def parameters_of(self, dimension: int) -> MixtureParameters:
        """The parameters of one dimension, as the solvers of this family take them."""
        return MixtureParameters(
            self.log_weights[dimension], self.log_scales[dimension], self.frequencies[dimension]
        )

    def _factor(self, dimension: int, first: Tensor, second: Tensor, diag: bool) -> Tensor:
        lags = first - second if diag else first.unsqueeze(-1) - second.unsqueeze(-2)
        return self.mixture.derivatives(self.parameters_of(dimension), lags, [0])[0]


class StudentTMixtureKernel(_MixtureAdapter):
    """StM: Student-t bumps of five degrees of freedom, Matérn-5/2 envelopes times cosines."""

    mixture = STM


class GaussianMixtureKernel(_MixtureAdapter):
    """GM: Gaussian bumps, the spectral mixture kernel in the parameters of this family.

    A scale a of this class and a mixture scale v of gpytorch's `SpectralMixtureKernel` are the
    same where a = 2 π² v².
    """

    mixture = GM
