"""The coarsest level of learned CCMG: an exact solve, differentiable in the weights."""

from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sciml.models.dcdm.learned_cycle import Product
from sciml.models.dcdm.learned_hierarchy import CoarseGraph


class CoarseWeights(NamedTuple):
    """Conductances of the edges of a coarse level, and the diagonal that follows."""

    edges: Tensor
    links: Tensor
    diagonal: Tensor


def coarsest_solve(graph: CoarseGraph, weights: CoarseWeights) -> Product:
    """The exact solve of a small graph, differentiable.

    Nodes without edges, of which obstacles may leave any number, are solved by themselves.
    """
    connected, inverse, alone = coarsest_inverse(graph, weights)

    def solve(r: Tensor) -> Tensor:
        return (alone * r).index_add(0, connected, inverse @ r[connected])

    return solve


def coarsest_inverse(
    graph: CoarseGraph, weights: CoarseWeights
) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse on the nodes with edges, whose numbers come first, and 1 / D on the others.

    A part without links to air has a constant null vector; a multiple of 1 1ᵀ on it leaves
    solutions for right-hand sides of zero mean alone, up to a constant. A node with neither
    edge nor link gets zero.
    """
    connected, ends = torch.cat([graph.lower, graph.upper]).unique(return_inverse=True)  # type: ignore[no-untyped-call]  # torch's
    lower, upper = ends.tensor_split(2)
    n = len(connected)
    matrix = torch.diag(weights.diagonal[connected].double())
    edges = -weights.edges.double()
    matrix = matrix.index_put((lower, upper), edges, accumulate=True)
    matrix = matrix.index_put((upper, lower), edges, accumulate=True)
    pairs = (lower.cpu().numpy(), upper.cpu().numpy())
    pattern = sparse.csr_matrix((np.ones(len(pairs[0])), pairs), shape=(n, n))
    count, label = connected_components(pattern, directed=False)
    has_link = torch.zeros(graph.num_nodes, dtype=torch.bool, device=connected.device)
    has_link[graph.link_node] = True
    links = np.bincount(label, has_link[connected].cpu().numpy(), count)
    size = np.bincount(label, minlength=count)
    diagonal = weights.diagonal[connected].detach().cpu().double().numpy()
    shift = np.where(links == 0, np.bincount(label, diagonal, count) / size**2, 0.0)
    constants = np.where(label[:, None] == label, shift[label], 0.0)
    inverse: Tensor = torch.linalg.inv(
        matrix + torch.as_tensor(constants, device=matrix.device)
    )
    inverse = (0.5 * (inverse + inverse.T)).to(weights.edges.dtype)
    alone = torch.ones_like(has_link)
    alone[connected] = False
    alone &= weights.diagonal > 0
    own = torch.where(alone, 1 / torch.where(alone, weights.diagonal, 1), 0)
    return connected, inverse, own
