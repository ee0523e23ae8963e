import gc
import weakref

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.preconditioners.multigrid.hierarchy import Hierarchy
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.simulate.geometry import make_flags, right_hand_side, smooth_coefficients

SEED = 48_271_093
DOMAINS = ["box", "sphere", "random", "dense", "freesurf", "opentop", "thin"]


def pressure(kind: str, shape: tuple[int, ...], seed: int = SEED) -> PoissonOperator:
    flags = make_flags(kind, shape, seed=seed)  # type: ignore[arg-type]
    return PoissonOperator(torch.from_numpy(flags))


def load(operator: PoissonOperator, seed: int = SEED) -> torch.Tensor:
    return operator.project(
        torch.from_numpy(right_hand_side(operator.flags.numpy(), seed=seed))
    )


def ritz_values(
    operator: PoissonOperator, inverse: CCMG, num_steps: int
) -> NDArray[np.float64]:
    """Eigenvalues of the Lanczos matrix that PCG on a white right-hand side builds."""
    generator = torch.Generator().manual_seed(SEED)
    r = torch.randn(operator.in_shape, dtype=torch.float64, generator=generator)
    r = operator.project(r)
    z = operator.project(inverse.mv(r))
    p, rho, start = z, torch.sum(r * z), r.norm()
    alphas, betas = [], []
    while len(alphas) < num_steps and r.norm() > 1e-11 * start:
        q = operator.mv(p)
        alphas.append(float(rho / torch.sum(p * q)))
        r = r - alphas[-1] * q
        z = operator.project(inverse.mv(r))
        new = torch.sum(r * z)
        assert new > 0
        betas.append(float(new / rho))
        p, rho = z + betas[-1] * p, new
    alpha, beta = np.array(alphas), np.array(betas)
    diagonal = 1 / alpha
    diagonal[1:] += beta[:-1] / alpha[:-1]
    beside = np.sqrt(beta[:-1]) / alpha[:-1]
    return np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))


@pytest.mark.parametrize("kind", DOMAINS)
@pytest.mark.parametrize("shape", [(64, 64), (24, 24, 24), (37, 50)])
def test_spectrum_of_the_preconditioned_operator(kind: str, shape: tuple[int, ...]) -> None:
    operator = pressure(kind, shape)
    values = ritz_values(operator, CCMG(operator, dtype=torch.float64), 60)
    assert values.min() > 0.19
    assert values.max() < 1.7


@pytest.mark.parametrize("coefficients", ["cb_a", "cb_s", "cb_8", "logn"])
@pytest.mark.parametrize("shape", [(64, 64), (20, 20, 20)])
def test_spectrum_with_coefficients_that_jump(
    coefficients: str, shape: tuple[int, ...]
) -> None:
    kappa = smooth_coefficients(coefficients, shape, seed=SEED)  # type: ignore[arg-type]
    flags = make_flags("random", shape, seed=SEED)
    operator = PoissonOperator(torch.from_numpy(flags), coefficients=torch.from_numpy(kappa))
    values = ritz_values(operator, CCMG(operator, dtype=torch.float64), 60)
    assert values.min() > 0.15
    assert values.max() < 2.5


@pytest.mark.parametrize("kind", ["random", "freesurf", "thin"])
@pytest.mark.parametrize("cycle", ["V", "W"])
def test_symmetric(kind: str, cycle: str) -> None:
    operator = pressure(kind, (45, 64))
    inverse = CCMG(operator, cycle=cycle, dtype=torch.float64)  # type: ignore[arg-type]
    u, v = load(operator), load(operator, SEED + 2)
    left, right = torch.sum(u * inverse.mv(v)), torch.sum(v * inverse.mv(u))
    assert abs(left - right) < 1e-12 * (u.norm() * inverse.mv(v).norm())


def test_symmetric_with_nodes_that_strength_has_split() -> None:
    kappa = smooth_coefficients("cb_s", (64, 64), seed=SEED)
    flags = make_flags("freesurf", (64, 64), seed=SEED)
    operator = PoissonOperator(torch.from_numpy(flags), coefficients=torch.from_numpy(kappa))
    inverse = CCMG(operator, dtype=torch.float64)
    assert any(graph.inner.lower.size for graph in inverse.hierarchy.graphs)
    u, v = load(operator), load(operator, SEED + 2)
    left, right = torch.sum(u * inverse.mv(v)), torch.sum(v * inverse.mv(u))
    assert abs(left - right) < 1e-12 * (u.norm() * inverse.mv(v).norm())


def test_single_precision_is_double_precision_rounded() -> None:
    operator = pressure("dense", (64, 64))
    b = load(operator)
    exact = CCMG(operator, dtype=torch.float64).mv(b)
    rounded = CCMG(operator).mv(b.float()).double()
    assert 0 < (exact - rounded).norm() < 1e-4 * exact.norm()


def test_scales_with_the_spacing() -> None:
    flags = torch.from_numpy(make_flags("random", (32, 40), seed=SEED))
    unit, fine = PoissonOperator(flags), PoissonOperator(flags, spacing=0.25)
    b = load(unit)
    ours = CCMG(fine, dtype=torch.float64).mv(b)
    assert torch.allclose(ours, CCMG(unit, dtype=torch.float64).mv(b) / 16, rtol=1e-12)
    # the weighted path has the spacing in its conductances
    ones = torch.ones(32, 40, dtype=torch.float64)
    weighted = PoissonOperator(flags, spacing=0.25, coefficients=ones)
    plain = CCMG(fine, cycle="V", dtype=torch.float64).mv(b)
    found = CCMG(weighted, cycle="V", dtype=torch.float64).mv(b)
    assert torch.allclose(found, plain, atol=1e-10 * float(plain.abs().max()))


@pytest.mark.parametrize("batch", [(1,), (3,), (2, 2)])
def test_batch_equals_one_by_one(batch: tuple[int, ...]) -> None:
    operator = pressure("random", (20, 31))
    inverse = CCMG(operator, dtype=torch.float64)
    fields = torch.stack([load(operator, SEED + 2 * k) for k in range(4)])
    fields = fields[: int(np.prod(batch))].reshape(*batch, 20, 31)
    found = inverse.mv(fields)
    for index in np.ndindex(batch):
        assert torch.equal(found[index], inverse.mv(fields[index]))


def test_update_equals_a_fresh_one() -> None:
    old, new = pressure("random", (40, 40)), pressure("random", (40, 40), SEED + 4)
    inverse = CCMG(old)
    b = load(new).float()
    before = inverse.mv(b)
    inverse.update(new)
    assert torch.equal(inverse.mv(b), CCMG(new).mv(b))
    assert not torch.equal(inverse.mv(b), before)


def test_update_refuses_another_shape() -> None:
    inverse = CCMG(pressure("box", (8, 8)))
    with pytest.raises(
        ValueError, match=r"CCMG\.update: expected an operator on fields \(8, 8\)"
    ):
        inverse.update(pressure("box", (8, 9)))


def test_notices_that_the_geometry_has_changed() -> None:
    old, new = pressure("random", (40, 40)), pressure("random", (40, 40), SEED + 4)
    inverse = CCMG(old)
    inverse.check_operator(old)
    inverse.check_operator(pressure("random", (40, 40)))  # an equal one
    with pytest.raises(ValueError, match=r"other geometry or coefficients; call update"):
        inverse.check_operator(new)
    inverse.check_operator(2 * new)  # M cannot tell
    inverse.update(new)
    inverse.check_operator(new)


def test_refuses_a_batch_of_geometries() -> None:
    flags = torch.full((2, 6, 6), 2)
    with pytest.raises(ValueError, match="CCMG: expected one geometry, got a batch"):
        CCMG(PoissonOperator(flags, num_axes=2))


def test_preconditions_conjugate_gradients_on_grid_fields() -> None:
    operator = pressure("thin", (64, 64))
    solution = linear_solve(operator, load(operator), CG(), preconditioner=CCMG(operator))
    assert solution.num_steps <= 11


def test_hierarchy_goes_with_its_operator() -> None:
    operator = pressure("random", (32, 32))
    hierarchy = weakref.ref(CCMG(operator).hierarchy)
    collecting = gc.isenabled()
    gc.disable()  # what waits for a collection would pile up in a time loop
    try:
        assert hierarchy() is not None
        del operator
        assert hierarchy() is None
    finally:
        if collecting:
            gc.enable()


def test_hierarchy_is_shallow_and_light() -> None:
    hierarchy = Hierarchy(pressure("dense", (256, 256)))
    assert hierarchy.num_levels <= 6
    assert 1.2 < hierarchy.operator_complexity < 1.45
    assert hierarchy.setup_seconds > 0
    assert 20 < hierarchy.num_bytes / 256**2 < 200
    assert Hierarchy(pressure("random", (32, 32, 32))).operator_complexity < 1.25
