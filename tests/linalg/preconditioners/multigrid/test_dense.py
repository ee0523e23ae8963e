"""The last level: elimination of red nodes, null vectors, inverse."""

import numpy as np
import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.coarsen import CONSTANT, STRENGTH, CoarseningRule
from sciml.linalg.preconditioners.multigrid.dense import (
    definite_shift,
    inverse,
    reciprocal,
    schur_complement,
)
from sciml.linalg.preconditioners.multigrid.graph import GraphLevel, level_from_operator
from sciml.linalg.preconditioners.multigrid.kernels import HostKernels
from sciml.linalg.preconditioners.multigrid.relax import CoarsestLevel
from sciml.linalg.preconditioners.multigrid.steps import run_steps
from sciml.simulate.geometry import make_flags, smooth_coefficients
from tests.linalg.preconditioners.multigrid.reference import components, hierarchy, matrix

SEED = 57_721_567
KINDS = ["box", "dense", "freesurf", "thin"]


def level(kind: str, shape: tuple[int, ...]) -> GraphLevel:
    return level_from_operator(PoissonOperator(make_flags(kind, shape, seed=SEED)))  # type: ignore[arg-type]


def last_level(
    operator: PoissonOperator, most: int, rule: CoarseningRule = CONSTANT
) -> GraphLevel:
    return hierarchy(level_from_operator(operator), rule, coarsest=most)[-1]


def definite(graph: GraphLevel, start: int) -> np.ndarray:
    vector, label = definite_shift(graph, start)
    shift = np.where(label[:, None] == label, np.outer(vector, vector), 0.0)
    whole = matrix(graph).toarray() + shift
    return whole + np.diag(whole.diagonal() == 0)


@pytest.mark.parametrize("shape", [(11, 14), (5, 6, 7)])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_after_elimination(kind: str, shape: tuple[int, ...]) -> None:
    graph = level(kind, shape)
    red = graph.num_red
    whole = definite(graph, red)
    expected = whole[red:, red:] - whole[red:, :red] @ np.linalg.solve(
        whole[:red, :red], whole[:red, red:]
    )
    found = schur_complement(graph, red)
    np.testing.assert_allclose(found, expected, atol=1e-13)
    assert np.linalg.eigvalsh(found).min() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_without_elimination_the_whole_matrix_is_left(kind: str) -> None:
    graph = level(kind, (9, 12))
    np.testing.assert_allclose(schur_complement(graph, 0), definite(graph, 0), atol=1e-13)


def test_the_shift_lives_on_components_without_air_and_counts_cells() -> None:
    flags = np.full((9, 9), 2, np.uint8)
    flags[4] = 1  # two chambers, one with air
    flags[0, 0] = 3
    flags[7, 7:] = 1
    flags[8, 7] = 1  # and a single cell
    graph = last_level(PoissonOperator(flags), 30)
    vector, label = definite_shift(graph, 0)
    own, has_none = components(graph)
    assert len(set(label.tolist())) == own.max() + 1 == 3
    assert len(set(zip(label.tolist(), own.tolist(), strict=True))) == 3
    np.testing.assert_array_equal(vector > 0, has_none[own])
    for component in np.flatnonzero(has_none):
        ratio = (vector / graph.volume)[own == component]
        np.testing.assert_allclose(ratio, ratio[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("medium", ["constant", "cb_s"])
@pytest.mark.parametrize("kind", KINDS)
def test_coarsest_level_solves(kind: str, medium: str, dtype: type) -> None:
    flags = make_flags(kind, (18, 15), seed=SEED)  # type: ignore[arg-type]
    values = None
    if medium != "constant":
        values = smooth_coefficients(medium, flags.shape, contrast=10.0, seed=SEED)
    operator = PoissonOperator(torch.from_numpy(flags), coefficients=values)
    graph = last_level(operator, 100)
    level = CoarsestLevel(graph, np.dtype(dtype), HostKernels())
    full = matrix(graph).toarray()
    r = full @ np.random.default_rng(SEED).standard_normal(graph.num_nodes)
    level.r_and_rest[:-1] = r
    run_steps(level.steps)
    bound = 1e-4 if dtype is np.float32 else 1e-11
    assert np.abs(full @ level.x_and_rest[:-1] - r).max() < bound * np.abs(r).max()
    assert level.x_and_rest[-1] == 0


def test_strong_edges_within_a_colour_are_not_eliminated() -> None:
    flags = np.full((14, 14), 2, np.uint8)
    kappa = smooth_coefficients("cb_s", flags.shape, contrast=1e3, seed=SEED)
    graph = last_level(PoissonOperator(flags, coefficients=kappa), 100, STRENGTH)
    blocks = graph.color_blocks()
    assert blocks.red_red is not None or blocks.black_black is not None
    level = CoarsestLevel(graph, np.dtype(np.float64), HostKernels())
    r = matrix(graph) @ np.random.default_rng(SEED).standard_normal(graph.num_nodes)
    level.r_and_rest[:-1] = r
    run_steps(level.steps)
    np.testing.assert_allclose(matrix(graph) @ level.x_and_rest[:-1], r, atol=1e-8)


def test_inverse_of_definite_and_of_singular_matrices() -> None:
    factor = np.random.default_rng(SEED).standard_normal((13, 13))
    spd = factor @ factor.T + np.eye(13)
    found = inverse(spd, np.dtype(np.float64))
    np.testing.assert_allclose(found @ spd, np.eye(13), atol=1e-10)
    np.testing.assert_array_equal(found, found.T)
    assert inverse(spd, np.dtype(np.float32)).dtype == np.float32
    negative = np.diag([2.0, 0.0, -1e-17])
    np.testing.assert_allclose(
        inverse(negative, np.dtype(np.float64)), np.diag([0.5, 0, 0]), atol=1e-12
    )


def test_reciprocal_of_nodes_without_neighbours() -> None:
    np.testing.assert_array_equal(reciprocal(np.array([4.0, 0.0])), [0.25, 1.0])
