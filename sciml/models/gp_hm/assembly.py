"""Covariance matrices of one uniform axis, made from the kernel at its 2 n − 1 lags.

On uniform nodes every matrix of kernel derivatives is Toeplitz: the kernel is evaluated at the
signed lags only, O(n q) work for q components instead of O(n² q).
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.factorize import cholesky
from sciml.linalg.toeplitz import ToeplitzOperator
from sciml.models.gp_hm.kernels import MixtureKernel, MixtureParameters


@final
class CovarianceError(ValueError):
    """A covariance matrix that is not positive definite in float64, or not finite."""


def covariance_root(name: str, covariance: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Lower Cholesky factor; `name` opens the error message.

    Raises:
        CovarianceError: If there is none.
    """
    try:
        return cholesky(name, covariance)
    except ValueError as error:
        raise CovarianceError(str(error)) from error


def uniform_spacing(nodes: Float[Tensor, " n"]) -> float:
    """Distance between neighbours.

    Raises:
        ValueError: If there are fewer than two nodes, or the nodes are not uniform.
    """
    if len(nodes) < 2:
        raise ValueError(
            f"uniform_spacing: expected at least 2 nodes, got {len(nodes)}; raise the "
            "resolution"
        )
    spacing = float(nodes[-1] - nodes[0]) / (len(nodes) - 1)
    steps = torch.diff(nodes)
    # the rounding of the coordinates themselves, not of their distance, limits uniformity
    allowed = 1e-9 * abs(spacing) + 1e-15 * float(nodes.abs().max())
    if not float((steps - spacing).abs().max()) <= allowed:
        raise ValueError(
            "uniform_spacing: expected uniform nodes, got steps from "
            f"{float(steps.min()):.6g} to {float(steps.max()):.6g}; use cross_matrix for "
            "scattered points"
        )
    return spacing


def toeplitz_matrices(
    kernel: MixtureKernel,
    parameters: MixtureParameters,
    num_nodes: int,
    spacing: float,
    orders: Sequence[int],
) -> Float[Tensor, "orders num_nodes num_nodes"]:
    """k^(n)(x_i − x_j) on uniform nodes for each n of `orders`; differentiable in parameters.

    The derivative is the one in the first argument: even orders are symmetric, odd ones
    antisymmetric.
    """
    steps = torch.arange(
        1 - num_nodes, num_nodes, dtype=torch.float64, device=parameters.log_weights.device
    )
    values = kernel.derivatives(parameters, spacing * steps, orders)
    column, row = values[:, num_nodes - 1 :], values[:, :num_nodes].flip(-1)
    return ToeplitzOperator(column, row).to_dense()


def cross_matrix(
    kernel: MixtureKernel,
    parameters: MixtureParameters,
    points: Float[Tensor, " m"],
    nodes: Float[Tensor, " n"],
    order: int = 0,
) -> Float[Tensor, "m n"]:
    """k^(order)(x_i − x′_j) between any points and any nodes."""
    return kernel.derivatives(parameters, points[:, None] - nodes, [order])[0]
