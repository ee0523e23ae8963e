"""Fluid that fills a box is solved by transforms, with walls or air on every side."""

import itertools

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.linalg.solvers.fast_diagonalization import FastDiagonalization
from sciml.simulate.geometry import make_flags
from tests.linalg.operators import random

DOUBLE = torch.float64
SIDES = ["ww", "wa", "aw", "aa"]


def boxed(shape, pairs):
    """A box of fluid with one layer of walls (w) or air (a) around it."""
    flags = np.ones([n + 2 for n in shape], np.uint8)
    inside = [slice(1, -1)] * len(shape)
    flags[tuple(inside)] = 2
    for axis, pair in enumerate(pairs):
        for place, kind in zip((0, -1), pair, strict=True):
            layer = list(inside)
            layer[axis] = place
            flags[tuple(layer)] = 3 if kind == "a" else 1
    return flags


def by_factorisation(operator, b):
    """The least-norm solution by a sparse factorisation of the unknowns."""
    matrix, right = operator.to_csr(), b.flatten().numpy()
    unknowns = np.flatnonzero(np.diff(matrix.indptr))
    inner = matrix[unknowns][:, unknowns].tocsc()
    if operator.singular_components.any():  # one value fixed, the constant removed below
        inner = inner + scipy.sparse.csc_array(([1.0], ([0], [0])), shape=inner.shape)
    x = np.zeros_like(right)
    x[unknowns] = scipy.sparse.linalg.spsolve(inner, right[unknowns])
    return operator.project(torch.from_numpy(x).reshape(b.shape))


@pytest.mark.parametrize("pairs", list(itertools.product(SIDES, SIDES)))
def test_all_sides_in_two_dimensions(pairs):
    operator = PoissonOperator(boxed((33, 40), pairs), (0.5, 0.75))
    b = operator.project(random(35, 42, dtype=DOUBLE))
    solution = linear_solve(operator, b, rtol=1e-11)
    assert solution.stats["solver"] == "FastDiagonalization"
    assert solution.stats["reason"] == "pressure of fluid that fills a box"
    expected = by_factorisation(operator, b)
    torch.testing.assert_close(solution.value, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "pairs", [("ww", "ww", "ww"), ("ww", "aw", "aa"), ("wa", "wa", "ww"), ("aa", "aa", "aa")]
)
def test_sides_in_three_dimensions_and_batches(pairs):
    operator = PoissonOperator(boxed((17, 18, 20), pairs), (1.0, 0.5, 2.0))
    b = operator.project(random(2, 1, 19, 20, 22, dtype=DOUBLE))
    solution = linear_solve(operator, b, FastDiagonalization(rtol=1e-11))
    assert solution.num_steps == 1
    for k in range(2):
        expected = by_factorisation(operator, b[k, 0])
        torch.testing.assert_close(solution.value[k, 0], expected, rtol=1e-9, atol=1e-10)
        one = linear_solve(operator, b[k, 0], FastDiagonalization(rtol=1e-11)).value
        torch.testing.assert_close(solution.value[k, 0], one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["box", "opentop"])
@pytest.mark.parametrize("shape", [(33, 40), (17, 18, 20), (1, 3), (2, 2, 2)])
def test_domains_without_a_rim(kind, shape):
    operator = PoissonOperator(make_flags(kind, shape, seed=71993))
    assert operator.fluid_box is not None
    b = operator.project(random(*shape, dtype=DOUBLE))
    x = linear_solve(operator, b, rtol=1e-11).value
    assert float((operator.mv(x) - b).norm()) <= 1e-11 * float(b.norm())
    iterated = linear_solve(operator, b, CG(rtol=1e-12)).value
    torch.testing.assert_close(x, iterated, rtol=1e-8, atol=1e-8)


def test_one_cell_of_fluid():
    flags = np.ones((4, 5), np.uint8)
    flags[2, 3] = 2
    closed = PoissonOperator(flags)
    assert not linear_solve(closed, torch.zeros(4, 5, dtype=DOUBLE)).value.any()
    flags[1, 3] = 3
    open_below = PoissonOperator(flags, (1.0, 0.5))
    b = torch.zeros(4, 5, dtype=DOUBLE)
    b[2, 3] = 3.0
    torch.testing.assert_close(linear_solve(open_below, b).value, b)


def test_gradient_in_the_right_hand_side_is_a_solve():
    operator = PoissonOperator(boxed((5, 6), ("ww", "wa")))
    b = operator.project(random(7, 8, dtype=DOUBLE)).requires_grad_()
    weight = random(7, 8, dtype=DOUBLE, seed=5550123)
    value = linear_solve(operator, b, rtol=1e-12).value
    (gradient,) = torch.autograd.grad((value * weight).sum(), b)
    expected = linear_solve(operator, operator.project(weight), rtol=1e-12).value
    torch.testing.assert_close(gradient, expected)


def without_box():
    ragged = boxed((4, 5), ("ww", "ww"))
    ragged[1, 1] = 1
    half = boxed((4, 5), ("ww", "wa"))
    half[1, -1] = 1
    box = boxed((4, 5), ("ww", "ww"))
    return {
        "a corner is solid": PoissonOperator(ragged),
        "half a side is air": PoissonOperator(half),
        "coefficients": PoissonOperator(box, coefficients=np.ones((6, 7))),
        "fractions": PoissonOperator(box, face_fraction=[np.ones((7, 7)), np.ones((6, 8))]),
        "several geometries": PoissonOperator(box[None], num_axes=2),
    }


@pytest.mark.parametrize("name", without_box())
def test_what_is_no_box(name):
    operator = without_box()[name]
    assert operator.fluid_box is None
    b = operator.project(random(*operator.batch_shape, 6, 7, dtype=DOUBLE))
    with pytest.raises(ValueError, match="a PoissonOperator whose fluid fills a box"):
        linear_solve(operator, b, FastDiagonalization())
    assert linear_solve(operator, b).stats["solver"] != "FastDiagonalization"
