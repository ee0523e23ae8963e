import math

import pytest
import torch

import sciml
from sciml.data.drawn import DrawnData
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.learned_ccmg import LearnedCCMG, methods
from sciml.models.dcdm.learned_network import LearnedCCMGNet
from sciml.models.dcdm.learned_objective import UnrolledPCG
from sciml.simulate.geometry import make_flags, right_hand_side, smooth_coefficients
from sciml.simulate.poisson_geometry import GeometrySampler
from sciml.training.fit import fit
from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate


def system(kind, shape, *, seed=70001, **options):
    flags = make_flags(kind, shape, seed=seed)
    operator = PoissonOperator(flags, **options)
    return operator, operator.project(torch.from_numpy(right_hand_side(flags, seed=seed + 2)))


def spoiled(ndim=2):
    """A net that makes the cycle worse on purpose."""
    network = LearnedCCMGNet(ndim)
    with torch.no_grad():
        network.edge[-1].bias += 3.0
        network.log_relaxation -= 1.5
    return network


@pytest.fixture(scope="module")
def surrogate():
    torch.manual_seed(70003)
    data = DrawnData(GeometrySampler((16, 16), num_geometries=4), batch_size=2, epoch_size=4)
    network = LearnedCCMGNet(2)
    return Surrogate(NormalizedModel.from_data(network, data, kind="none"))


def test_the_better_cycle_is_chosen_and_named():
    operator, b = system("random", (48, 40))
    chosen = LearnedCCMG(spoiled(), operator)
    assert chosen.kind == "classical"
    assert chosen.decades_per_step["classical"] > chosen.decades_per_step["learned"]
    classical = LearnedCCMG(spoiled(), operator, choose="classical")
    learned = LearnedCCMG(spoiled(), operator, choose="learned")
    assert (classical.kind, learned.kind) == ("classical", "learned")
    assert not learned.decades_per_step
    r = b.float()
    torch.testing.assert_close(chosen.mv(r), classical.mv(r), rtol=0, atol=0)
    assert not torch.allclose(learned.mv(r), classical.mv(r), rtol=1e-2)
    gained = LearnedCCMGNet(2).as_classical()
    with torch.no_grad():
        gained.log_relaxation[0] += 0.1  # a little over-relaxation is known to help
    assert LearnedCCMG(gained, operator).kind == "learned"


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("thin", (41, 36)), ("freesurf", (30, 45)), ("random", (64, 64)), ("thin", (13, 12, 15))],
)
def test_solves_to_a_true_residual_of_1e_10(kind, shape):
    operator, b = system(kind, shape)
    m = LearnedCCMG(LearnedCCMGNet(len(shape)), operator)
    solution = linear_solve(operator, b, CG(rtol=1e-10, max_steps=40), preconditioner=m)
    residual = b - operator.mv(solution.value)
    assert float(residual.norm()) <= 1.01e-10 * float(b.norm())
    assert solution.num_steps <= 20


def test_the_classical_red_black_cycle_takes_the_steps_of_ccmg():
    for kind in ("random", "freesurf", "thin"):
        operator, b = system(kind, (72, 65))
        ours = LearnedCCMG(LearnedCCMGNet(2), operator, choose="classical")
        steps = [
            CG(rtol=1e-8).solve(operator, b, preconditioner=m).num_steps
            for m in (ours, CCMG(operator))
        ]
        assert abs(steps[0] - steps[1]) <= 1, kind


@pytest.mark.parametrize("kind", ["cb_s", "logn"])
def test_jumps_and_anisotropy(kind):
    coefficients = smooth_coefficients(kind, (40, 48), contrast=1e3, seed=70009)
    for spacing in (1.0, (0.1, 1.0)):
        operator, b = system("random", (40, 48), coefficients=coefficients, spacing=spacing)
        m = LearnedCCMG(LearnedCCMGNet(2), operator)
        solution = CG(rtol=1e-8, max_steps=60).solve(operator, b, preconditioner=m)
        assert solution
        assert solution.num_steps < 30


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 3), (2, 1, 5)])
def test_tiny_grids(shape):
    for flags in (
        torch.full(shape, 2),
        torch.full(shape, 2).index_fill(-1, torch.tensor(0), 3),
    ):
        if not bool((flags == 2).any()):
            continue
        operator = PoissonOperator(flags)
        b = operator.project(torch.randn(shape, dtype=torch.float64))
        m = LearnedCCMG(LearnedCCMGNet(len(shape)), operator)
        solution = CG(rtol=1e-8, max_steps=50).solve(operator, b, preconditioner=m)
        assert solution, flags


@pytest.mark.parametrize("smoother", ["polynomial", "red_black"])
def test_the_width_of_the_cells_only_scales(smoother):
    torch.manual_seed(70067)
    network = LearnedCCMGNet(2, smoother=smoother)
    unit, b = system("freesurf", (37, 30))
    small, _ = system("freesurf", (37, 30), spacing=0.25)
    one, other = (LearnedCCMG(network, op, choose="learned") for op in (unit, small))
    z = one.mv(b.float())
    scale = float(z.abs().max())
    torch.testing.assert_close(16 * other.mv(b.float()), z, rtol=1e-4, atol=1e-5 * scale)


def test_level_0_is_the_same_on_slices_and_as_a_graph():
    torch.manual_seed(70079)
    network = LearnedCCMGNet(3)
    plain, b = system("random", (9, 14, 11))
    ones = torch.ones(9, 14, 11, dtype=torch.float64)
    general, _ = system("random", (9, 14, 11), coefficients=ones)
    assert plain.is_uniform
    assert not general.is_uniform
    cycles = [
        LearnedCCMG(network, op, choose="learned", dtype=torch.float64)
        for op in (plain, general)
    ]
    slices, graph = (m.mv(b) for m in cycles)
    torch.testing.assert_close(slices, graph, rtol=1e-9, atol=1e-10)


def test_many_pockets_cost_no_dense_matrix():
    flags = torch.ones(90, 90, dtype=torch.uint8)
    flags[::3, ::2] = 2
    flags[::3, 1::6] = 2  # 1350 pockets of one and of three cells
    operator = PoissonOperator(flags)
    b = operator.project(torch.randn(90, 90, dtype=torch.float64))
    m = LearnedCCMG(LearnedCCMGNet(2), operator)
    assert CG(rtol=1e-8, max_steps=30).solve(operator, b, preconditioner=m)


def test_several_right_hand_sides_are_each_alone():
    operator, _ = system("random", (26, 31))
    m = LearnedCCMG(LearnedCCMGNet(2), operator)
    r = torch.randn(2, 3, 26, 31)
    together = m.mv(r)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(together[i, j], m.mv(r[i, j]), rtol=0, atol=0)


def test_update_is_a_fresh_one_and_a_stale_one_is_refused():
    first, _ = system("random", (28, 25))
    second, b = system("freesurf", (28, 25))
    network = LearnedCCMGNet(2)
    m = LearnedCCMG(network, first)
    with pytest.raises(ValueError, match=r"another geometry or weights; call update"):
        linear_solve(second, b, CG(rtol=1e-8), preconditioner=m)
    m.update(second)
    fresh = LearnedCCMG(network, second)
    assert m.kind == fresh.kind
    torch.testing.assert_close(m.mv(b.float()), fresh.mv(b.float()), rtol=0, atol=0)
    other, _ = system("random", (28, 24))
    with pytest.raises(ValueError, match=r"expected a geometry of shape \(28, 25\)"):
        m.update(other)


def test_a_loaded_net_is_the_saved_one(surrogate, tmp_path):
    surrogate.save(tmp_path)
    loaded = sciml.load(tmp_path)
    operator, b = system("thin", (34, 27))
    before = LearnedCCMG(surrogate, operator, choose="learned")
    after = LearnedCCMG(loaded, operator, choose="learned")
    torch.testing.assert_close(after.mv(b.float()), before.mv(b.float()), rtol=0, atol=0)
    assert loaded.spec == surrogate.spec
    assert loaded.num_parameters == 1212


def test_methods_for_a_comparison(surrogate):
    operator, b = system("random", (32, 32))
    found = methods(surrogate)
    assert list(found) == ["learned_ccmg", "learned_always", "classical"]
    kinds = []
    for method in found.values():
        solver, m = method(operator, 1e-6)
        assert solver.solve(operator, b, preconditioner=m)
        kinds.append(m.kind)
    assert kinds[1:] == ["learned", "classical"]


def test_what_it_cannot_take_is_refused(surrogate):
    operator, _ = system("random", (12, 12))
    with pytest.raises(TypeError, match=r"expected a LearnedCCMGNet .* got Linear"):
        LearnedCCMG(torch.nn.Linear(2, 2), operator)
    with pytest.raises(ValueError, match="'measured', 'learned' or 'classical', got 'best'"):
        LearnedCCMG(surrogate, operator, choose="best")
    batch = PoissonOperator(torch.full((3, 8, 8), 2), num_axes=2)
    with pytest.raises(ValueError, match=r"expected one geometry, got a batch \(3,\)"):
        LearnedCCMG(surrogate, batch)
    with pytest.raises(ValueError, match=r"with 2 axes, .* got \(4, 4, 4\)"):
        LearnedCCMG(surrogate, PoissonOperator(torch.full((4, 4, 4), 2)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_what_the_cpu_gives():
    network = LearnedCCMGNet(2)
    host, b = system("random", (60, 52))
    device = PoissonOperator(host.flags, device=torch.device("cuda"))
    r = b.float()
    on_host = LearnedCCMG(network, host, choose="learned").mv(r)
    on_device = LearnedCCMG(network, device, choose="learned").mv(r.cuda()).cpu()
    scale = float(on_host.abs().max())
    torch.testing.assert_close(on_device, on_host, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.slow
def test_a_minute_of_training_saves_steps_on_unseen_geometries(tmp_path):
    torch.manual_seed(70019)
    data = DrawnData(GeometrySampler((64, 64)), batch_size=2, epoch_size=600, seed=70039)
    report = fit(
        NormalizedModel.from_data(LearnedCCMGNet(2), data, kind="none"),
        data,
        UnrolledPCG(),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=5e-3),
        max_epochs=1,
        folder=tmp_path,
        enable_progress_bar=False,
        gradient_clip_val=1.0,
    )
    steps = {"learned": [], "classical": []}
    for kind in ("random", "dense", "freesurf", "thin"):
        for seed in (70051, 70061):
            operator, b = system(kind, (64, 64), seed=seed)
            for choose, counts in steps.items():
                m = LearnedCCMG(report.surrogate, operator, choose=choose)
                history = CG(rtol=1e-6).solve(operator, b, preconditioner=m).history.flatten()
                before, after = (math.log10(float(h / history[0])) for h in history[-2:])
                counts.append(len(history) - 2 + (before + 6) / (before - after))
    assert sum(steps["learned"]) <= 0.92 * sum(steps["classical"])
