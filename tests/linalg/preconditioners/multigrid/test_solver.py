from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.preconditioners.multigrid.solver import MultigridCG
from sciml.linalg.solve import linear_solve
from sciml.linalg.sparse import SparseOperator
from sciml.simulate.geometry import make_flags, right_hand_side, smooth_coefficients
from sciml.solution import Status

SEED = 35_914_087
DOMAINS = ["box", "sphere", "random", "dense", "freesurf", "opentop", "thin"]


def pressure(kind: str, shape: tuple[int, ...], seed: int = SEED) -> PoissonOperator:
    flags = make_flags(kind, shape, seed=seed)  # type: ignore[arg-type]
    return PoissonOperator(torch.from_numpy(flags))


def load(operator: PoissonOperator, seed: int = SEED) -> torch.Tensor:
    return operator.project(
        torch.from_numpy(right_hand_side(operator.flags.numpy(), seed=seed))
    )


def residual(operator: PoissonOperator, b: torch.Tensor, x: torch.Tensor) -> float:
    return float((b - operator.mv(x)).norm() / b.norm())


def steps(operator: PoissonOperator, rtol: float = 1e-6) -> int:
    return MultigridCG(rtol=rtol).solve(operator, load(operator)).num_steps


@pytest.mark.parametrize("kind", DOMAINS)
@pytest.mark.parametrize("shape", [(64, 64), (51, 96), (24, 24, 24), (15, 22, 19)])
def test_reaches_a_true_residual_of_1e_10(kind: str, shape: tuple[int, ...]) -> None:
    operator = pressure(kind, shape)
    b = load(operator)
    solution = MultigridCG(rtol=1e-10).solve(operator, b)
    assert solution
    assert residual(operator, b, solution.value) <= 1e-10
    assert torch.all(solution.value[~operator.fluid] == 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DOMAINS)
@pytest.mark.parametrize("shape", [(256, 256), (512, 512), (64, 64, 64), (128, 128, 128)])
def test_large_domains_reach_1e_10(kind: str, shape: tuple[int, ...]) -> None:
    operator = pressure(kind, shape)
    b = load(operator)
    solution = MultigridCG(rtol=1e-10).solve(operator, b)
    assert residual(operator, b, solution.value) <= 1e-10
    bound = 11 if kind in ("thin", "dense") else 9
    assert steps(operator) <= (bound if kind != "thin" or len(shape) == 2 else 14)


@pytest.mark.parametrize("kind", DOMAINS)
@pytest.mark.parametrize("shape", [(96, 96), (28, 28, 28)])
def test_steps_to_1e_6(kind: str, shape: tuple[int, ...]) -> None:
    bound = 11 if kind in ("thin", "dense") else 9
    assert steps(pressure(kind, shape)) <= bound


@pytest.mark.parametrize("kind", ["random", "freesurf", "thin"])
def test_steps_do_not_grow_with_the_resolution(kind: str) -> None:
    assert steps(pressure(kind, (256, 256))) <= steps(pressure(kind, (64, 64))) + 3


def test_thin_walls_cost_little() -> None:
    assert steps(pressure("thin", (128, 128))) <= 2.2 * steps(pressure("box", (128, 128)))


def test_single_precision_inside_of_double_precision() -> None:
    operator = pressure("random", (256, 256))
    b = load(operator)
    solution = MultigridCG(rtol=1e-10).solve(operator, b)
    assert residual(operator, b, solution.value) <= 1e-10
    # all in float32 the iteration must not claim what it has not reached
    rounded = PoissonOperator(operator.flags, dtype=torch.float32)
    claimed = MultigridCG(rtol=1e-6).solve(rounded, b.float())
    actual = residual(operator, b, claimed.value.double())
    assert not claimed
    assert claimed.status in (Status.STAGNATION, Status.BREAKDOWN)
    assert float(claimed.stats["residual_norm"] / b.norm()) == pytest.approx(actual, rel=0.5)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (3, 3), (1, 17), (17, 1), (2, 2, 2), (1, 1, 9), (1, 5, 6)]
)
def test_tiny_grids(shape: tuple[int, ...]) -> None:
    for kind in ("box", "opentop"):
        flags = np.full(shape, 2, np.uint8)
        if kind == "opentop":
            flags[..., -1] = 3
        if not (flags == 2).any():
            continue
        operator = PoissonOperator(torch.from_numpy(flags))
        generator = torch.Generator().manual_seed(SEED)
        x = torch.randn(shape, dtype=torch.float64, generator=generator)
        b = operator.mv(x)
        solution = MultigridCG(rtol=1e-10).solve(operator, b)
        assert solution
        assert torch.allclose(operator.mv(solution.value), b, atol=1e-9)


def test_one_fluid_cell_among_solids() -> None:
    flags = torch.ones(9, 8, dtype=torch.uint8)
    flags[4, 3] = 2
    operator = PoissonOperator(flags)
    solution = MultigridCG().solve(operator, torch.zeros(9, 8, dtype=torch.float64))
    assert solution
    assert solution.num_steps == 0
    flags[5, 3] = 3
    operator = PoissonOperator(flags)
    b = torch.zeros(9, 8, dtype=torch.float64)
    b[4, 3] = 5.0
    assert torch.allclose(MultigridCG().solve(operator, b).value, b)


def test_many_components_some_with_air() -> None:
    flags = make_flags("box", (30, 36), seed=SEED)
    flags[::4] = 1
    flags[:, ::6] = 1
    flags[1, 1:20:6] = 3
    flags[8, 9] = 2  # a doorway
    operator = PoissonOperator(torch.from_numpy(flags))
    assert len(operator.singular_components) > 30
    b = load(operator)
    solution = linear_solve(operator, b, MultigridCG(rtol=1e-10))
    assert residual(operator, b, solution.value) <= 1e-10
    exact = torch.linalg.pinv(operator.to_dense().reshape(1080, 1080), hermitian=True)
    expected = (exact @ b.flatten()).reshape(30, 36)
    assert (solution.value - expected).norm() < 1e-7 * expected.norm()


def test_noise_of_cells() -> None:
    generator = np.random.default_rng(SEED)
    for shape in [(70, 81), (19, 18, 20)]:
        flags = generator.choice([1, 2, 2, 3], shape, p=[0.3, 0.3, 0.35, 0.05]).astype(np.uint8)
        operator = PoissonOperator(torch.from_numpy(flags))
        b = load(operator)
        solution = MultigridCG(rtol=1e-10).solve(operator, b)
        assert residual(operator, b, solution.value) <= 1e-10


@pytest.mark.parametrize("shape", [(40, 57), (12, 17, 20)])
def test_axes_may_be_permuted(shape: tuple[int, ...]) -> None:
    operator = pressure("random", shape)
    b = load(operator)
    order = tuple(reversed(range(len(shape))))
    turned = PoissonOperator(operator.flags.permute(order).contiguous())
    ours = linear_solve(operator, b, MultigridCG(rtol=1e-10)).value
    theirs = linear_solve(turned, b.permute(order).contiguous(), MultigridCG(rtol=1e-10)).value
    assert (ours.permute(order) - theirs).norm() < 1e-7 * ours.norm()


def test_batch_equals_one_by_one() -> None:
    operator = pressure("dense", (45, 40))
    b = torch.stack([load(operator, SEED + 2 * k) for k in range(6)]).reshape(2, 3, 45, 40)
    b[1, 1] = 0
    together = MultigridCG(rtol=1e-9).solve(operator, b)
    assert together.converged.shape == (2, 3)
    assert torch.all(together.value[1, 1] == 0)
    for index in np.ndindex(2, 3):
        alone = MultigridCG(rtol=1e-9).solve(operator, b[index])
        difference = (together.value[index] - alone.value).norm()
        assert difference <= 1e-8 * alone.value.norm()


def test_right_hand_sides_of_any_size() -> None:
    operator = pressure("freesurf", (40, 40))
    b = load(operator)
    sizes = torch.tensor([1e-60, 1.0, 1e60], dtype=torch.float64)[:, None, None]
    expected = linear_solve(operator, b, MultigridCG(rtol=1e-9)).value
    found = linear_solve(operator, sizes * b, MultigridCG(rtol=1e-9)).value / sizes
    assert torch.allclose(found, expected.expand(3, 40, 40), rtol=1e-6, atol=1e-7)


def test_a_good_start_saves_steps() -> None:
    operator = pressure("random", (64, 64))
    b = load(operator)
    cold = MultigridCG(rtol=1e-6).solve(operator, b)
    warm = MultigridCG(rtol=1e-6).solve(operator, b, x0=cold.value)
    assert warm.num_steps == 0
    near = MultigridCG(rtol=1e-6).solve(operator, b, x0=cold.value + 1e-4 * b)
    assert 0 < near.num_steps < cold.num_steps
    assert residual(operator, b, near.value) <= 1e-6


def test_gradient_of_a_solution() -> None:
    operator = pressure("freesurf", (4, 5))
    b = load(operator).requires_grad_()
    solve = MultigridCG(rtol=1e-12)
    assert torch.autograd.gradcheck(lambda c: linear_solve(operator, c, solve).value, b)


def test_gradient_in_the_coefficients() -> None:
    flags = torch.from_numpy(make_flags("opentop", (3, 4), seed=SEED))
    kappa = torch.from_numpy(smooth_coefficients("logn", (3, 4), contrast=5.0, seed=SEED))
    b = load(PoissonOperator(flags))

    def solve(values: torch.Tensor) -> torch.Tensor:
        operator = PoissonOperator(flags, coefficients=values)
        value: torch.Tensor = linear_solve(operator, b, MultigridCG(rtol=1e-12)).value
        return value

    assert torch.autograd.gradcheck(solve, kappa.requires_grad_())


def test_hierarchy_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = pressure("random", (64, 64))
    b = load(operator).requires_grad_()
    first = linear_solve(operator, b, MultigridCG())
    monkeypatch.setattr(
        "sciml.linalg.preconditioners.multigrid.hierarchy.Hierarchy.__init__", refuse
    )
    second = linear_solve(operator, b, MultigridCG())
    second.value.square().sum().backward()
    assert second.stats["setup_seconds"] < first.stats["setup_seconds"]
    assert linear_solve(operator, torch.stack([b, 2 * b]), MultigridCG())


def refuse(*arguments: object, **options: object) -> None:
    raise RuntimeError("built again")


def test_takes_the_hierarchy_of_a_preconditioner() -> None:
    operator = pressure("thin", (128, 128))
    inverse = CCMG(operator, cycle="V")
    solution = MultigridCG().solve(operator, load(operator), preconditioner=inverse)
    assert solution.stats["preconditioner"] == "CCMG"
    assert solution.num_steps > MultigridCG().solve(operator, load(operator)).num_steps
    with pytest.raises(ValueError, match="expected no preconditioner but a CCMG, got Jacobi"):
        MultigridCG().solve(operator, load(operator), preconditioner=Jacobi(operator))
    other = pressure("thin", (128, 128), SEED + 4)
    with pytest.raises(ValueError, match="other geometry or coefficients; call update"):
        MultigridCG().solve(other, load(other), preconditioner=inverse)


def test_threads_may_share_an_operator() -> None:
    operator = pressure("random", (96, 96))
    fields = [load(operator, SEED + 2 * k) for k in range(8)]
    alone = [MultigridCG(rtol=1e-9).solve(operator, b).value for b in fields]
    fresh = pressure("random", (96, 96))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda b: MultigridCG(rtol=1e-9).solve(fresh, b).value, fields))
    for ours, theirs in zip(found, alone, strict=True):
        assert torch.equal(ours, theirs)


def test_says_what_it_did() -> None:
    operator = pressure("random", (64, 64))
    stats = MultigridCG().solve(operator, load(operator)).stats
    assert (stats["solver"], stats["preconditioner"]) == ("CG", "CCMG")
    assert stats["setup_seconds"] > 0
    assert stats["num_levels"] == 3
    assert 1.2 < stats["operator_complexity"] < 1.45


def test_out_of_steps_and_not_a_number_are_told() -> None:
    operator = pressure("random", (64, 64))
    b = load(operator)
    solution = MultigridCG(rtol=1e-10, max_steps=3).solve(operator, b)
    assert solution.status is Status.MAX_STEPS
    assert residual(operator, b, solution.value) < 1e-1
    b[operator.fluid] = torch.nan
    assert MultigridCG().solve(operator, b).status is Status.NONFINITE


def test_refuses_other_operators() -> None:
    matrix = SparseOperator.from_scipy(pressure("box", (4, 4)).to_csr())
    with pytest.raises(ValueError, match="MultigridCG: expected a PoissonOperator, got"):
        MultigridCG().check(matrix)


@pytest.mark.parametrize("coefficients", ["cb_a", "cb_s", "cb_8", "logn"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.1)])
def test_coefficients_that_jump_and_flat_cells(
    coefficients: str, spacing: tuple[float, ...]
) -> None:
    flags = make_flags("random", (64, 64), seed=SEED)
    kappa = smooth_coefficients(coefficients, (64, 64), seed=SEED)  # type: ignore[arg-type]
    operator = PoissonOperator(torch.from_numpy(flags), spacing, coefficients=kappa)
    b = load(operator)
    solution = MultigridCG(rtol=1e-8).solve(operator, b)
    assert residual(operator, b, solution.value) <= 1e-8
    assert solution.num_steps <= 24


@pytest.mark.parametrize("coefficients", ["cb_a", "cb_s", "logn"])
def test_contrast_beyond_single_precision(coefficients: str) -> None:
    flags = make_flags("random", (96, 96), seed=SEED)
    kappa = smooth_coefficients(coefficients, (96, 96), contrast=1e6, seed=SEED)  # type: ignore[arg-type]
    operator = PoissonOperator(torch.from_numpy(flags), coefficients=kappa)
    b = load(operator)
    solution = MultigridCG(rtol=1e-6).solve(operator, b)
    assert solution
    assert residual(operator, b, solution.value) <= 1e-6
    assert solution.num_steps <= 30
    assert CCMG(operator).dtype is torch.float64
    gentle = PoissonOperator(torch.from_numpy(flags), coefficients=kappa**0.5)
    assert CCMG(gentle).dtype is torch.float32
