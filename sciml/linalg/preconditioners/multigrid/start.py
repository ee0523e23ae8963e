"""Level 0 and level 1 of CCMG from a pressure operator."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.poisson_faces import AIR, FLUID
from sciml.linalg.preconditioners.multigrid.blocks import BlockCoarsening
from sciml.linalg.preconditioners.multigrid.coarsen import STRENGTH, coarsen
from sciml.linalg.preconditioners.multigrid.fine import FineLevel
from sciml.linalg.preconditioners.multigrid.graph import GraphLevel, level_from_operator
from sciml.linalg.preconditioners.multigrid.kernels import Kernels
from sciml.linalg.preconditioners.multigrid.layout import SplitLayout
from sciml.linalg.preconditioners.multigrid.relax import parents


class Start(NamedTuple):
    """What the rest of the hierarchy grows from.

    Attributes:
        diagonal: Of the operator (2, width), in float64 on the CPU.
        weights: Per colour and neighbour the conductance (size,), likewise, zero unless both
            cells are fluid; None for ones.
        fine: Level 0, relaxation and transfers.
        first: Level 1.
    """

    diagonal: Tensor
    weights: list[list[Tensor]] | None
    fine: FineLevel
    first: GraphLevel


def uniform_start(
    operator: PoissonOperator, layout: SplitLayout, dtype: torch.dtype, kernels: Kernels
) -> Start:
    """Levels 0 and 1 of an operator whose open faces all conduct alike, in units of that."""
    flags = operator.flags.cpu().numpy()
    fluid, air = flags == FLUID, flags == AIR
    diagonal = layout.pack(
        torch.from_numpy(_open_faces(fluid, air)), torch.zeros((2, layout.width), dtype=dtype)
    )
    blocks = BlockCoarsening(fluid[layout.window], air[layout.window])
    aggregate = torch.full((2, layout.width), blocks.num_nodes, dtype=torch.int32)
    for number, corner in enumerate(layout.corners):
        if sum(corner) % 2 == 0:  # the red cells: no transfer meets the others
            nodes = torch.from_numpy(blocks.nodes(number))
            layout.of_corner(aggregate, corner).copy_(nodes)
    red = aggregate[0, layout.interior].numpy()
    fine = FineLevel(layout, diagonal.numpy(), None, red, kernels)
    return Start(diagonal.double(), None, fine, blocks.level())


def weighted_start(
    operator: PoissonOperator, layout: SplitLayout, dtype: torch.dtype, kernels: Kernels
) -> Start:
    """Levels 0 and 1 of any operator."""
    diagonal = layout.pack(operator.diagonal().detach().cpu().double())
    weights = _packed_weights(operator, layout)
    inverse = torch.where(diagonal > 0, 1 / diagonal, 0.0)[:, layout.interior]
    scaled = [
        [(weight * own).to(dtype).numpy() for weight in row]
        for row, own in zip(weights, inverse, strict=True)
    ]
    finest = level_from_operator(operator)
    level = coarsen(finest, STRENGTH)
    red = np.full(layout.size, level.num_nodes, np.int32)
    red[layout.entries(finest.block[:, : finest.num_red])] = parents(level)[: finest.num_red]
    fine = FineLevel(layout, diagonal.to(dtype).numpy(), scaled, red, kernels)
    return Start(diagonal, weights, fine, level)


def _packed_weights(operator: PoissonOperator, layout: SplitLayout) -> list[list[Tensor]]:
    """Conductances between fluid cells per colour and neighbour.

    That to the cell above is, for that one, that to the cell below: a shifted view of it.
    """
    fluid = operator.fluid.cpu()
    weights: list[list[Tensor]] = [[], []]
    for axis, faces in enumerate(operator.face_weights):
        size = operator.in_shape[axis]
        below = torch.zeros(operator.in_shape, dtype=torch.float64)
        inner = faces.detach().cpu().narrow(axis, 1, size - 1)
        both = fluid.narrow(axis, 1, size - 1) & fluid.narrow(axis, 0, size - 1)
        torch.mul(inner, both, out=below.narrow(axis, 1, size - 1))
        packed = layout.pack(below)
        for colour in (0, 1):
            above = layout.shifted(layout.shifts(colour)[axis][1])
            weights[colour] += [packed[colour, layout.interior], packed[1 - colour, above]]
    return weights


def _open_faces(fluid: NDArray[np.bool_], air: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The number of neighbours of each fluid cell that are not solid, zero elsewhere."""
    passable = (fluid | air).view(np.uint8)
    count = np.zeros(fluid.shape, np.uint8)
    for axis in range(fluid.ndim):
        here, there = np.moveaxis(count, axis, 0), np.moveaxis(passable, axis, 0)
        here[1:] += there[:-1]
        here[:-1] += there[1:]
    count *= fluid.view(np.uint8)
    return count
