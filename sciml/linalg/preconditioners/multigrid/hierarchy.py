"""The levels of CCMG for one pressure operator, ready to run."""

import math
import threading
import time
from functools import cached_property
from typing import final

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.coarsen import CONSTANT, STRENGTH, coarsen
from sciml.linalg.preconditioners.multigrid.cycle import Cycle, CycleType
from sciml.linalg.preconditioners.multigrid.graph import GraphLevel
from sciml.linalg.preconditioners.multigrid.kernels import Kernels
from sciml.linalg.preconditioners.multigrid.layout import SplitLayout
from sciml.linalg.preconditioners.multigrid.packed import PackedPoisson
from sciml.linalg.preconditioners.multigrid.start import uniform_start, weighted_start
from sciml.linalg.preconditioners.multigrid.which import choose_kernels, cycles_run

COARSEST = 340
"""Nodes up to which a level is solved by the inverse of half of it, which takes half a
millisecond there: less than ten cycles save by having one level less."""

LARGEST_CONTRAST = 1e4
"""Between cells, in float32, whose rounding error is 1e-7 of the stiffest."""

SAFE_EXPONENT = 40
"""Weights up to 2^40, and down to 2^-40, leave room in float32 for sums and small ones."""

MOST_LEVELS = 64
"""More than any grid has that fits into memory, even if axes are coarsened one by one."""

_building = threading.Lock()


@final
class Hierarchy:
    """Level 0 of a pressure operator in the split layout, the coarser graphs and the cycle.

    The buffers of the cycle are part of it: hold `lock` while it runs. The setup is done on the
    CPU. The operator is not kept, since it keeps the hierarchy.

    Args:
        operator: One geometry.
        kernels: What runs the cycle; `choose_kernels` says what by default.
        cycle: Whether coarse levels are visited once or twice; see `Cycle`.
        dtype: Of the cycle.

    Attributes:
        unit: The cycle is an approximate inverse of the operator over this number.
        packed: The operator on packed fields.
        setup_seconds: What making it took.
    """

    def __init__(
        self,
        operator: PoissonOperator,
        kernels: Kernels | None = None,
        *,
        cycle: CycleType = "W",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        started = time.perf_counter()
        check_geometry("Hierarchy", operator)
        self.lock, self._fluid = threading.Lock(), operator.fluid
        self.layout = SplitLayout(operator.in_shape, fluid_window(operator.fluid.cpu().numpy()))
        self.kernels = kernels or choose_kernels(operator.device, None)
        uniform = operator.is_uniform
        levels = uniform_start if uniform else weighted_start
        with torch.no_grad():
            self.unit, scaled = _in_units(operator)
            start = levels(scaled, self.layout, dtype, self.kernels)
        self.packed = PackedPoisson(
            self.layout,
            start.diagonal,
            start.weights,
            self.unit,
            operator.dtype,
            operator.device,
        )
        rule = CONSTANT if uniform else STRENGTH
        self.graphs = [start.first]
        while not _is_coarsest(self.graphs[-1]) and len(self.graphs) < MOST_LEVELS:
            self.graphs.append(coarsen(self.graphs[-1], rule))
        number = torch.empty(0, dtype=dtype).numpy().dtype
        self.fine = start.fine
        self.cycle = Cycle(self.fine, self.graphs, number, cycle)
        self._r, self._z = torch.as_tensor(self.fine.r), torch.as_tensor(self.fine.x)
        self._image = torch.empty(0, dtype=operator.dtype, device=operator.device)
        self.setup_seconds = time.perf_counter() - started

    @property
    def num_levels(self) -> int:
        """Levels, the cells included."""
        return 1 + len(self.graphs)

    @cached_property
    def operator_complexity(self) -> float:
        """Nonzeros of the operators of all levels over those of level 0."""
        fluid = self._fluid.cpu().numpy()
        entries = np.count_nonzero(fluid)
        for axis in range(fluid.ndim):
            cells = np.moveaxis(fluid, axis, 0)
            entries += 2 * np.count_nonzero(cells[1:] & cells[:-1])
        coarse = sum(graph.num_nodes + 2 * graph.num_edges for graph in self.graphs)
        return 1.0 + coarse / float(entries)

    @property
    def num_bytes(self) -> int:
        """Memory of all buffers and matrices, packed operator included."""
        return self.cycle.num_bytes + self.packed.num_bytes

    def precondition_all(self, r: Tensor) -> Tensor:
        """One cycle for each of some packed fields (*batch, 2, width).

        The images are written into the same tensor each time, as those of `PackedPoisson`.
        """
        if self._image.shape != r.shape:
            self._image = torch.zeros_like(r)
        shape = (-1, *r.shape[-2:])
        for source, target in zip(r.view(shape), self._image.view(shape), strict=True):
            self.precondition(source, target)
        return self._image

    def precondition(self, r: Tensor, z: Tensor) -> None:
        """One cycle from zero for packed r (2, width) of any precision, written into z."""
        cycles_run.value += 1
        self._r.copy_(r)
        self.cycle.run()
        z.copy_(self._z)


def hierarchy_of(
    operator: PoissonOperator,
    cycle: CycleType = "W",
    dtype: torch.dtype | None = None,
    compiled: bool | None = None,
) -> Hierarchy:
    """The hierarchy of an operator, made once; copies on equal tensors share it.

    Args:
        operator: One geometry.
        cycle: As in `Hierarchy`.
        dtype: Of the cycle; `cycle_dtype` by default.
        compiled: As in `choose_kernels`.

    Raises:
        ValueError: If `cycle` or `dtype` is unknown.
    """
    dtype = cycle_dtype(operator) if dtype is None else dtype
    if cycle not in ("V", "W") or dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f'CCMG: expected cycle "V" or "W" in torch.float32 or torch.float64, got {cycle!r} '
            f"in {dtype}; leave them out for the defaults"
        )
    digest = operator.fingerprint if operator.tensors else ""
    key = ("ccmg", cycle, dtype, digest)
    with _building:
        found: Hierarchy | None = operator.derived.get(key)
        kernels = choose_kernels(operator.device, compiled)
        if found is None or type(found.kernels) is not type(kernels):
            found = Hierarchy(operator, kernels, cycle=cycle, dtype=dtype)
            operator.derived[key] = found
    return found


def cycle_dtype(operator: PoissonOperator) -> torch.dtype:
    """float32, unless cells differ so much that rounding in stiff ones hides the soft ones."""
    if operator.is_uniform:
        return torch.float32
    diagonal = operator.diagonal().detach()
    least = torch.where(diagonal > 0, diagonal, torch.inf).min()
    return torch.float32 if bool(diagonal.max() <= LARGEST_CONTRAST * least) else torch.float64


def check_geometry(function: str, operator: PoissonOperator) -> None:
    """Refuse what no hierarchy can be made for.

    Raises:
        ValueError: If there are several geometries.
    """
    if operator.batch_shape:
        raise ValueError(
            f"{function}: expected one geometry, got a batch {operator.batch_shape}; solve the "
            "geometries one by one"
        )


def fluid_window(fluid: Bool[np.ndarray, "*shape"]) -> tuple[slice, ...]:
    """The box around the fluid and the cells next to it, from even cells on."""
    window = []
    for axis, size in enumerate(fluid.shape):
        others = tuple(k for k in range(fluid.ndim) if k != axis)
        occupied = np.flatnonzero(fluid.any(others))
        first = max(0, int(occupied[0]) - 1)
        window.append(slice(first - first % 2, min(size, int(occupied[-1]) + 2)))
    return tuple(window)


def _in_units(operator: PoissonOperator) -> tuple[float, PoissonOperator]:
    """A number and the operator over it, with weights that float32 holds."""
    if operator.is_uniform:  # whose levels count open faces
        return operator.spacing[0] ** -2, operator
    exponent = math.frexp(float(operator.diagonal().max()))[1]
    if abs(exponent) <= SAFE_EXPONENT:
        return 1.0, operator
    half = exponent // 2
    scaled = PoissonOperator(
        operator.flags,
        [width * 2.0**half for width in operator.spacing],
        face_fraction=operator.face_fraction,
        coefficients=operator.coefficients,
        dtype=torch.float64,
    )
    return 4.0**half, scaled


def _is_coarsest(graph: GraphLevel) -> bool:
    """Whether coarsening has nothing left to do."""
    return graph.num_nodes <= COARSEST or graph.num_edges == 0
