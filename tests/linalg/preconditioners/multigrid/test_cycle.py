"""The packed, stepwise cycle against the same cycle written with dense matrices."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.dense import definite_shift
from sciml.linalg.preconditioners.multigrid.graph import GraphLevel
from sciml.linalg.preconditioners.multigrid.hierarchy import Hierarchy
from sciml.linalg.preconditioners.multigrid.kernels import HostKernels, Kernels
from sciml.linalg.preconditioners.multigrid.kernels_torch import TorchKernels
from sciml.simulate.geometry import make_flags, smooth_coefficients

SEED = 61_803_399
Dense = NDArray[np.float64]


def dense(level: GraphLevel) -> Dense:
    matrix = np.diag(level.diagonal)
    for edge in (*level.edges, level.inner):
        np.subtract.at(matrix, (edge.lower, edge.upper), edge.weight)
        np.subtract.at(matrix, (edge.upper, edge.lower), edge.weight)
    return matrix


class DenseCycle:
    """Levels of matrices, colours and transfers; everything is computed everywhere."""

    def __init__(self, hierarchy: Hierarchy, operator: PoissonOperator, twice: bool) -> None:
        fluid = operator.fluid.numpy()
        rows = np.flatnonzero(fluid)
        fine = operator.to_dense().numpy()[np.ix_(rows, rows)] / hierarchy.unit
        colours = [np.indices(fluid.shape).sum(0)[fluid] % 2]
        self.matrices, self.transfers = [fine], []
        self.twice, self.is_weighted = twice, hierarchy.fine.is_weighted
        parents = [self.first_parents(hierarchy, fluid)]
        for graph in hierarchy.graphs:
            self.matrices.append(dense(graph))
            colours.append((np.arange(graph.num_nodes) >= graph.num_red).astype(int))
        parents += [graph.aggregate for graph in hierarchy.graphs[1:]]
        self.transfers = [np.eye(parent.max() + 1)[parent] for parent in parents]
        self.masks = [[colour == 0, colour == 1] for colour in colours]
        self.coarsest = np.linalg.inv(self.definite(hierarchy.graphs[-1]))

    def definite(self, graph: GraphLevel) -> Dense:
        """The last matrix, with what fixes the constants of components without air."""
        matrix, red = dense(graph), np.arange(graph.num_nodes) < graph.num_red
        is_bipartite = not (matrix[np.ix_(red, red)] - np.diag(graph.diagonal[red])).any()
        is_bipartite &= not (matrix[np.ix_(~red, ~red)] - np.diag(graph.diagonal[~red])).any()
        start = graph.num_red if is_bipartite and graph.num_edges else 0
        vector, label = definite_shift(graph, start)
        matrix += np.where(label[:, None] == label, np.outer(vector, vector), 0.0)
        return matrix + np.diag(matrix.diagonal() == 0)

    def first_parents(self, hierarchy: Hierarchy, fluid: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The level-1 node of each cell: of each red one as the cycle has it, and of a black
        one the node that a correction of black cells would be read from."""
        cells = np.stack(np.nonzero(fluid))
        parent = np.full(cells.shape[1], -1)
        red = cells.sum(0) % 2 == 0
        entries = hierarchy.layout.entries(cells[:, red])
        parent[red] = hierarchy.fine.aggregate[entries]
        parent[~red] = 0  # their residual is zero and their correction is overwritten
        assert parent[red].max(initial=0) < hierarchy.graphs[0].num_nodes
        size = hierarchy.graphs[0].num_nodes
        parent[~red] = size - 1
        return parent

    def half(self, level: int, colour: int, x: Dense, r: Dense) -> None:
        matrix, mask = self.matrices[level], self.masks[level][colour]
        diagonal = np.diag(matrix)
        change = np.divide(r - matrix @ x, diagonal, out=np.zeros_like(r), where=diagonal > 0)
        x[mask] += change[mask]

    def visit(self, level: int, x: Dense, r: Dense) -> Dense:
        if level == len(self.matrices) - 1:
            return self.coarsest @ r
        for colour in (0, 1, 0, 1):
            self.half(level, colour, x, r)
        transfer = self.transfers[level]
        defect = transfer.T @ (r - self.matrices[level] @ x)
        correction = self.visit(level + 1, np.zeros(transfer.shape[1]), defect)
        if self.twice and (level > 0 or self.is_weighted) and level + 2 < len(self.matrices):
            correction = self.visit(level + 1, correction, defect)
        x = x + transfer @ correction
        for colour in (1, 0, 1, 0):
            self.half(level, colour, x, r)
        return x


OPERATORS = {
    "random": {},
    "thin": {},
    "freesurf": {},
    "dense, other spacing": {"spacing": 0.125},
    "random, anisotropic": {"spacing": (1.0, 0.1)},
    "freesurf, patches": {"coefficients": "cb_s"},
    "random, 3-D": {},
    "random, patches in 3-D": {"coefficients": "cb_s"},
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(
    ("cycle", "kernels"),
    [
        ("V", HostKernels()),
        ("W", HostKernels()),
        ("W", TorchKernels(torch.device("cpu"))),
        ("W", "numba"),
    ],
)
def test_cycle_is_that_of_dense_matrices(
    name: str, cycle: str, kernels: Kernels | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sciml.linalg.preconditioners.multigrid.hierarchy.COARSEST", 40)
    if cycle == "V":  # transfers as they are on large levels
        monkeypatch.setattr("sciml.linalg.preconditioners.multigrid.kernels.LARGE", 0)
    if isinstance(kernels, str):
        compiled = pytest.importorskip(
            "sciml.linalg.preconditioners.multigrid.kernels_numba", exc_type=ImportError
        )
        monkeypatch.setattr(compiled, "LARGE", 0)  # compiled transfers on all levels
        kernels = compiled.CompiledKernels()
    shape = (10, 9, 12) if "3-D" in name else (36, 47)
    options = dict(OPERATORS[name])
    flags = make_flags(name.split(",")[0], shape, seed=SEED)  # type: ignore[arg-type]
    flags = np.pad(flags, [(5, 4), *((3, 3) for _ in shape[1:])], constant_values=1)
    shape = flags.shape
    if "coefficients" in options:
        kind = options["coefficients"]
        options["coefficients"] = smooth_coefficients(kind, shape, seed=SEED)
    operator = PoissonOperator(torch.from_numpy(flags), **options)
    hierarchy = Hierarchy(operator, kernels, cycle=cycle, dtype=torch.float64)  # type: ignore[arg-type]
    assert hierarchy.num_levels >= 3
    r = np.random.default_rng(SEED).standard_normal(shape) * (flags == 2)
    rows = hierarchy.layout.pack(torch.from_numpy(r))
    found = torch.empty_like(rows)
    hierarchy.precondition(rows, found)
    reference = DenseCycle(hierarchy, operator, twice=cycle == "W")
    own = r[flags == 2]
    expected = reference.visit(0, np.zeros_like(own), own)
    actual = hierarchy.layout.unpack(found).numpy()
    assert np.all(actual[flags != 2] == 0)
    assert np.abs(actual[flags == 2] - expected).max() < 1e-11 * np.abs(expected).max()


def test_steps_do_not_depend_on_what_ran_before() -> None:
    flags = make_flags("dense", (40, 33), seed=SEED)
    hierarchy = Hierarchy(PoissonOperator(torch.from_numpy(flags)), dtype=torch.float64)
    r = hierarchy.layout.pack(torch.from_numpy((flags == 2) * 1.0))
    first, second = torch.empty_like(r), torch.empty_like(r)
    hierarchy.precondition(r, first)
    hierarchy.precondition(-7 * r.roll(3, 1) * (r > 0), second)
    hierarchy.precondition(r, second)
    assert torch.equal(first, second)


def test_many_pockets_end_in_a_coarsest_level_that_is_relaxed() -> None:
    flags = np.ones((120, 120), np.uint8)
    flags[::2, ::2] = 2  # 3600 single cells
    flags[1::8, ::8] = 3  # some of them below air
    hierarchy = Hierarchy(PoissonOperator(torch.from_numpy(flags)), dtype=torch.float64)
    operator = PoissonOperator(torch.from_numpy(flags))
    b = operator @ torch.from_numpy(np.random.default_rng(SEED).standard_normal(flags.shape))
    rows = hierarchy.layout.pack(b)
    hierarchy.precondition(rows, rows)
    assert torch.allclose(operator @ hierarchy.layout.unpack(rows), b)
