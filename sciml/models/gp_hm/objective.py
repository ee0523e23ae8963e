"""The published objective: the log joint of nodal values, boundary data and equation residuals.

On a tensor grid of M = Π M_k nodes with values U, covariance ``⊗_k (K_k + ε I)`` and N_b
boundary values g, with constants dropped,

    log prior      = −½ Σ_k (M / M_k) log|K_k| − ½ ⟨U, U ×_1 K_1⁻¹ … ×_d K_d⁻¹⟩
    log boundary   = ½ N_b log τ − ½ τ ‖U_boundary − g‖²
    log equation   = ½ M log v − ½ v ‖residual(U, ∂U, …)‖²
    loss           = −(log prior + λ_b log boundary + log equation)

Derivatives of U are conditional means, ``D^i k_k K_k⁻¹`` along each axis that is
differentiated, with the noise-free derivative of the kernel. The jitter ε stands in every K_k,
nowhere else.

The loss has no lower bound: a boundary value that is met exactly sends log τ to infinity.

Source: Fang et al., ICLR 2024, arXiv 2311.04465, §3; the boundary residual is counted node by
node over all faces, corners twice, and the equation is asked for at boundary nodes too, as in
the published code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.linalg.factorize import cholesky_logdet
from sciml.linalg.modes import mode_product, mode_solve
from sciml.models.gp_hm.adam_state import GridState
from sciml.models.gp_hm.assembly import (
    covariance_root,
    toeplitz_matrices,
    uniform_spacing,
)
from sciml.models.gp_hm.kernels import MAX_ORDER, MixtureKernel

MultiIndex: TypeAlias = tuple[int, ...]
"""Order of differentiation along each axis."""

GridResidual: TypeAlias = Callable[[Mapping[MultiIndex, Tensor]], Tensor]
"""From the nodal fields of the needed derivatives to the residual of the equation."""


@final
@dataclass(frozen=True)
class Face:
    """Values given on one side of the grid.

    Args:
        axis: The axis that is normal to the side.
        index: 0 for its lower end, −1 for its upper end.
        values: What the solution takes there, over the other axes.
    """

    axis: int
    index: int
    values: Float[Tensor, "*others"]


@final
@dataclass(frozen=True)
class Terms:
    """The objective and its parts.

    Args:
        loss: What is minimised.
        log_determinant: Σ_k (M / M_k) log|K_k|.
        quadratic_form: ⟨U, ⊗ K_k⁻¹ U⟩.
        boundary_gap: Sum of the squared misfits on all faces.
        equation_gap: Sum of the squared residuals at all nodes.
    """

    loss: Float[Tensor, ""]
    log_determinant: Float[Tensor, ""]
    quadratic_form: Float[Tensor, ""]
    boundary_gap: Float[Tensor, ""]
    equation_gap: Float[Tensor, ""]


@final
class LogJoint:
    """The objective of one problem on one grid.

    Args:
        kernel: The kernel of every axis.
        nodes: Uniform coordinates along each axis, both ends included.
        faces: The sides with data.
        residual: The equation.
        needs: The derivatives that it reads.
        boundary_weight: λ_b, which multiplies the whole boundary term; 200 as published.
        jitter: ε on the diagonal of each K_k; 1e-6 as published.
        offset: Fields added to U and to its derivatives in both likelihoods, not in the prior;
            the frozen first stage of a two-stage run.

    Raises:
        ValueError: If nodes are not uniform, a derivative is of higher order than 4, or a face
            has another shape than the grid's.
    """

    def __init__(
        self,
        kernel: MixtureKernel,
        nodes: Sequence[Float[Tensor, "_"]],
        faces: Sequence[Face],
        residual: GridResidual,
        needs: Sequence[MultiIndex],
        *,
        boundary_weight: float = 200.0,
        jitter: float = 1e-6,
        offset: Mapping[MultiIndex, Tensor] | None = None,
    ) -> None:
        self.kernel = kernel
        self.nodes = tuple(nodes)
        self.faces = tuple(faces)
        self.residual = residual
        value = (0,) * len(self.nodes)
        self.needs = tuple(dict.fromkeys([value, *needs]))
        self.boundary_weight = boundary_weight
        self.jitter = jitter
        self.offset = offset
        highest = max(order for index in self.needs for order in index)
        if highest > MAX_ORDER:
            raise ValueError(
                f"LogJoint: expected derivatives of order {MAX_ORDER} at most along an axis, "
                f"got order {highest}; Matérn-5/2 bumps have no more, write the equation as "
                "a system or take ChebyshevCollocation"
            )
        self._spacing = [uniform_spacing(line) for line in self.nodes]
        self._check_faces()

    @property
    def resolution(self) -> tuple[int, ...]:
        """Nodes per axis."""
        return tuple(len(line) for line in self.nodes)

    def terms(self, state: GridState) -> Terms:
        """The loss and its parts, differentiable in every tensor of `state`.

        Raises:
            CovarianceError: If a covariance matrix is not positive definite in float64.
        """
        roots, derivative_matrices = self._factorise(state)
        size = state.values.numel()
        logdet = sum(
            (size // len(root)) * cholesky_logdet(root) for root in roots
        ) + state.values.new_zeros(())
        solved = state.values
        for axis, root in enumerate(roots):
            solved = self._solve(root, solved, axis)
        quadratic = (state.values * solved).sum()
        fields = self._fields(state.values, roots, derivative_matrices)
        if self.offset is not None:
            fields = {index: field + self.offset[index] for index, field in fields.items()}
        boundary_gap = self._boundary_gap(fields[self.needs[0]])
        equation_gap = self.residual(fields).square().sum()
        num_boundary = sum(face.values.numel() for face in self.faces)
        log_boundary = num_boundary * state.log_boundary_precision / 2 - (
            state.log_boundary_precision.exp() * boundary_gap / 2
        )
        log_equation = size * state.log_equation_precision / 2 - (
            state.log_equation_precision.exp() * equation_gap / 2
        )
        log_prior = -(logdet + quadratic) / 2
        loss = -(log_prior + self.boundary_weight * log_boundary + log_equation)
        return Terms(loss, logdet, quadratic, boundary_gap, equation_gap)

    def fields(self, state: GridState) -> dict[MultiIndex, Tensor]:
        """U and each needed derivative at the nodes, without the offset."""
        return self._fields(state.values, *self._factorise(state))

    def weights(self, state: GridState) -> Float[Tensor, "*space"]:
        """⊗ K_k⁻¹ U: what multiplies the kernel in the conditional mean at other points."""
        roots, _ = self._factorise(state)
        solved = state.values
        for axis, root in enumerate(roots):
            solved = self._solve(root, solved, axis)
        return solved

    def _factorise(self, state: GridState) -> tuple[list[Tensor], list[dict[int, Tensor]]]:
        """Cholesky factors of the K_k, and the derivative matrices of each axis by order."""
        roots, matrices = [], []
        for axis, (num_nodes, mixture) in enumerate(
            zip(self.resolution, state.mixtures, strict=True)
        ):
            orders = sorted({0} | {index[axis] for index in self.needs})
            blocks = toeplitz_matrices(
                self.kernel, mixture, num_nodes, self._spacing[axis], orders
            )
            identity = torch.eye(num_nodes, dtype=blocks.dtype, device=blocks.device)
            name = f"LogJoint: covariance of axis {axis}"
            roots.append(covariance_root(name, blocks[0] + self.jitter * identity))
            matrices.append(dict(zip(orders, blocks, strict=True)))
        return roots, matrices

    def _fields(
        self, values: Tensor, roots: list[Tensor], matrices: list[dict[int, Tensor]]
    ) -> dict[MultiIndex, Tensor]:
        """Conditional means of the needed derivatives; an axis of order 0 is left alone."""
        fields = {}
        for index in self.needs:
            field = values
            for axis, order in enumerate(index):
                if order:
                    field = self._solve(roots[axis], field, axis)
                    trailing = values.ndim - 1 - axis
                    field = mode_product(matrices[axis][order], field, trailing)
            fields[index] = field
        return fields

    def _solve(self, root: Tensor, field: Tensor, axis: int) -> Tensor:
        """K⁻¹ along one axis, by its Cholesky factor."""
        solve = partial(_cholesky_solve, root)
        return mode_solve(solve, field, field.ndim - 1 - axis, field.ndim, batched=False)

    def _boundary_gap(self, values: Tensor) -> Tensor:
        gap = values.new_zeros(())
        for face in self.faces:
            gap = gap + (values.select(face.axis, face.index) - face.values).square().sum()
        return gap

    def _check_faces(self) -> None:
        for face in self.faces:
            expected = self.resolution[: face.axis] + self.resolution[face.axis + 1 :]
            if tuple(face.values.shape) != expected:
                raise ValueError(
                    f"LogJoint: expected values of shape {expected} on a face of axis "
                    f"{face.axis}, got {tuple(face.values.shape)}; one value a node"
                )


def _cholesky_solve(root: Tensor, columns: Tensor) -> Tensor:
    return torch.cholesky_solve(columns, root)
