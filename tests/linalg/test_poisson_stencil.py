"""Products in chunks: the same numbers whatever fits the cache."""

import pytest
import torch

from sciml.linalg import poisson_stencil
from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.geometry import make_flags, smooth_coefficients
from tests.linalg.operators import random

DOUBLE = torch.float64
SEED = 71993


@pytest.mark.parametrize("cells", [1, 40, 130, 700, 3000])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(19, 13), (7, 6, 9), (1, 40), (40, 1, 3)])
def test_chunks_do_not_show(monkeypatch, shape, weighted, cells):
    flags = make_flags("freesurf", shape, seed=SEED)
    flags[0] = 2  # there is fluid on the smallest of these grids, too
    options = {}
    if weighted:
        options["coefficients"] = smooth_coefficients("logn", shape, seed=SEED)
    operator = PoissonOperator(flags, **options)
    batch = PoissonOperator(
        flags[None].repeat(3, 0),
        num_axes=len(shape),
        **{name: value[None].repeat(3, 0) for name, value in options.items()},
    )
    x = random(2, 3, *shape, dtype=DOUBLE)
    whole, expected = operator.mv(x[0, 0]), operator.mv(x)
    monkeypatch.setattr(poisson_stencil, "_CACHED_CELLS", cells)
    torch.testing.assert_close(operator.mv(x[0, 0]), whole, rtol=1e-14, atol=1e-12)
    torch.testing.assert_close(operator.mv(x), expected, rtol=1e-14, atol=1e-12)
    torch.testing.assert_close(batch.mv(x), expected, rtol=1e-14, atol=1e-12)
    torch.testing.assert_close(batch.mv(x[0, 0])[2], whole, rtol=1e-14, atol=1e-12)
    strided = x.transpose(0, 1).flip(-1)
    torch.testing.assert_close(
        operator.mv(strided), operator.mv(strided.contiguous()), rtol=0, atol=0
    )


def test_values_off_the_fluid_have_no_effect():
    flags = make_flags("freesurf", (15, 16), seed=SEED)
    operator = PoissonOperator(flags)
    x = random(15, 16, dtype=DOUBLE)
    torch.testing.assert_close(operator.mv(x * operator.fluid), operator.mv(x), rtol=0, atol=0)
    assert not operator.mv(x)[~operator.fluid].any()


def test_gradient_of_a_product_in_chunks(monkeypatch):
    operator = PoissonOperator(make_flags("random", (9, 8), seed=SEED))
    monkeypatch.setattr(poisson_stencil, "_CACHED_CELLS", 16)
    x = random(9, 8, dtype=DOUBLE).requires_grad_()
    weight = random(9, 8, dtype=DOUBLE, seed=5550123)
    (gradient,) = torch.autograd.grad((operator.mv(x) * weight).sum(), x)
    torch.testing.assert_close(gradient, operator.mv(weight))
