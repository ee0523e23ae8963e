"""Diffusion with coefficients of any contrast: its symmetric form and a matrix close to it."""

from collections.abc import Sequence
from types import EllipsisType
from typing import final

import torch
from jaxtyping import Float
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg
from torch import Tensor
from typing_extensions import override

from sciml.linalg.modes import mode_product
from sciml.linalg.operator import LinearOperator
from sciml.linalg.preconditioners.base import FixedPreconditioner
from sciml.linalg.preconditioners.incomplete import IncompleteCholesky, on_host
from sciml.models.gp_hm.direct_nodal import NodalAxis

# unknowns in two dimensions up to which a factor is sparse enough: seconds and a gigabyte
LARGEST_FACTORED = 400_000
# of the dropped entries that incomplete factors give to the diagonal
_MODIFIED = 0.97


@final
class SymmetrisedDiffusion(LinearOperator):
    r"""Σ_k ⟨(∂_k − g_k) z, b_k (∂_k − g_k) w⟩ + ⟨z, q w⟩ on nodal values of a tensor grid.

    The form of Σ ⟨∂_k v, a_k ∂_k u⟩ in :math:`w = \sqrt{m} u`, with the common factor m of the
    coefficients, :math:`g = ∇ \log m / 2` and b = a / m. The derivative of an interpolant is
    not local: what oscillates where a is small reaches where a is large, and its share of the
    energy there grows with the contrast. In w there is no contrast left in the highest
    derivatives, only in g, which is as smooth as log m.

    Source of the substitution: Concus and Golub, SIAM J. Numer. Anal. 10 (1973), 1103, eq. 2.2,
    there for differences, with ∇g multiplied out.

    Args:
        axes: Nodal axes.
        drift: g_k on the grid, one field per axis.
        weight: b_k times the weights of quadrature.
        potential: q times the weights of quadrature.
        free: Of each axis the range of nodes that carry unknowns; zero at all others.
    """

    def __init__(
        self,
        axes: Sequence[NodalAxis],
        drift: Sequence[Float[Tensor, "*grid"]],
        weight: Sequence[Float[Tensor, "*grid"]],
        potential: Float[Tensor, "*grid"],
        free: Sequence[slice],
    ) -> None:
        shape = tuple(
            len(range(*part.indices(a.num_nodes))) for a, part in zip(axes, free, strict=True)
        )
        super().__init__(
            shape, shape, dtype=potential.dtype, device=potential.device, positive_definite=True
        )
        self.axes, self.free = tuple(axes), tuple(free)
        self._inner: tuple[EllipsisType | slice, ...] = (..., *free)
        self._drift, self._weight, self._potential = tuple(drift), tuple(weight), potential

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self._drift, *self._weight, self._potential)

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "SymmetrisedDiffusion":
        d = len(self.axes)
        return SymmetrisedDiffusion(
            self.axes, tensors[:d], tensors[d : 2 * d], tensors[2 * d], self.free
        )

    @property
    @override
    def T(self) -> "SymmetrisedDiffusion":
        return self

    @override
    def _mv(self, x: Tensor) -> Tensor:
        whole = x.new_zeros(*x.shape[: x.ndim - len(self.free)], *self._potential.shape)
        whole[self._inner] = x
        return self.of_grid(whole)

    def of_grid(self, whole: Float[Tensor, "*batch_and_grid"]) -> Float[Tensor, "*fields"]:
        """The form of a field with values at all nodes, tested at those that carry unknowns."""
        total = self._potential * whole
        last = len(self.axes) - 1
        for k, (axis, drift, weight) in enumerate(
            zip(self.axes, self._drift, self._weight, strict=True)
        ):
            flux = mode_product(axis.differentiation, whole, last - k) - drift * whole
            flux = weight * flux
            total = total + mode_product(axis.differentiation.T, flux, last - k) - drift * flux
        return total[self._inner]


@final
class SparseFactor(FixedPreconditioner):
    """M = A⁻¹ of a sparse symmetric positive definite matrix, by its factors.

    Args:
        matrix: A in a scipy.sparse format.
        shape: Axes of the fields.
    """

    def __init__(self, matrix: sparse.spmatrix | sparse.sparray, shape: Sequence[int]) -> None:
        super().__init__(shape, dtype=torch.float64, device=torch.device("cpu"))
        # definite: no pivoting, and an ordering for symmetric patterns
        self._factors = sparse_linalg.splu(
            sparse.csc_matrix(matrix),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    @override
    def _mv(self, x: Tensor) -> Tensor:
        return on_host(self._factors.solve, x, self.in_shape)


def difference_preconditioner(
    axes: Sequence[NodalAxis],
    diffusion: Sequence[Float[Tensor, "*grid"]],
    root: Float[Tensor, "*grid"],
    potential: Float[Tensor, "*grid"],
    free: Sequence[slice],
) -> FixedPreconditioner:
    r"""Inverse, or nearly, of the differences of second order on the nodes.

    Linear elements with quadrature at the nodes have the spectrum of the spectral form up to
    factors between 1 and π²/4 for constant coefficients, whatever the number of nodes. In
    :math:`w = \sqrt{m} u` that stays so for coefficients of any contrast, measured to 10⁶.

    Source: Orszag, J. Comput. Phys. 37 (1980), 70; Deville and Mund, J. Comput. Phys. 60
    (1985), 517; Canuto, Hussaini, Quarteroni and Zang (2006), section 4.4.

    Args:
        axes: Nodal axes.
        diffusion: a_k on the grid.
        root: √m on the grid.
        potential: q of `SymmetrisedDiffusion`, weights included.
        free: Of each axis the range of nodes that carry unknowns.
    """
    number = torch.arange(root.numel()).reshape(root.shape)
    rows, columns, entries = [number.flatten()], [number.flatten()], [potential.flatten()]
    for k, axis in enumerate(axes):
        ahead = axis.num_nodes if axis.periodic else axis.num_nodes - 1
        first = torch.arange(ahead)
        second = (first + 1) % axis.num_nodes
        others = torch.ones((), dtype=torch.float64)
        for j, other in enumerate(axes):
            factor = 1.0 / axis.spacings if j == k else other.weights
            others = others[..., None] * factor
        left, right = (diffusion[k].index_select(k, part) for part in (first, second))
        conductance = (0.5 * (left + right) * others).flatten()
        here, there = (number.index_select(k, part).flatten() for part in (first, second))
        roots = root.flatten()
        rows += [here, there, here, there]
        columns += [here, there, there, here]
        across = -conductance / (roots[here] * roots[there])
        own = [conductance / roots[place].square() for place in (here, there)]
        entries += [*own, across, across]
    flat = [torch.cat(parts).numpy() for parts in (entries, rows, columns)]
    size = root.numel()
    whole = sparse.csr_matrix((flat[0], (flat[1], flat[2])), shape=(size, size))
    inner = number[tuple(free)]
    kept = inner.flatten().numpy()
    matrix = whole[kept][:, kept]
    shape = tuple(inner.shape)
    if len(shape) == 2 and inner.numel() <= LARGEST_FACTORED:
        return SparseFactor(matrix, shape)
    return IncompleteCholesky(matrix, shape, modified=_MODIFIED)
