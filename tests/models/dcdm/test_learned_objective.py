import pytest
import torch

from sciml.data.drawn import DrawnData
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.solvers.cg import CG
from sciml.models.dcdm.learned_ccmg import LearnedCCMG
from sciml.models.dcdm.learned_network import LearnedCCMGNet
from sciml.models.dcdm.learned_objective import PCGSteps, UnrolledPCG, unrolled_pcg
from sciml.models.dcdm.model import DCDMNet
from sciml.simulate.poisson_geometry import GeometrySampler
from sciml.simulate.poisson_samples import CosineSampler, poisson_spec
from sciml.training.normalized import NormalizedModel
from sciml.training.objective import Progress


def model_of(network, sampler):
    data = DrawnData(sampler, batch_size=2, epoch_size=4)
    return NormalizedModel.from_data(network, data, kind="none")


@pytest.fixture(scope="module")
def sampler():
    return GeometrySampler((24, 21), num_geometries=4, largest_speckle=0.0)


def test_unrolled_steps_are_those_of_conjugate_gradients(sampler):
    torch.manual_seed(60029)
    batch = sampler.draw(60037, [0, 1, 2])
    network = LearnedCCMGNet(2).double()
    b = batch.inputs[:, 0].double()
    flags = batch.inputs[:, 1].to(torch.uint8)
    operator = PoissonOperator(flags, num_axes=2)
    b = operator.project(b)
    with torch.no_grad():
        norms = unrolled_pcg(operator, network.cycle(operator), b, 5)
    for k in range(3):
        one = PoissonOperator(flags[k])
        m = LearnedCCMG(network, one, choose="learned", dtype=torch.float64)
        solution = CG(rtol=1e-14, max_steps=5).solve(one, b[k], preconditioner=m)
        torch.testing.assert_close(norms[:, k], solution.history, rtol=1e-6, atol=0)


def test_what_is_solved_stays_solved(sampler):
    flags = torch.ones(1, 6, 6, dtype=torch.uint8)
    flags[0, 2, 2:4] = 2  # two cells: exact after one step
    operator = PoissonOperator(flags, num_axes=2)
    b = operator.project(torch.randn(1, 6, 6, dtype=torch.float64))
    network = LearnedCCMGNet(2).double()
    norms = unrolled_pcg(operator, network.cycle(operator), b, 4)
    norms.log10().sum().backward()
    assert torch.isfinite(norms).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_loss_is_decades_per_step_and_training_lowers_it(sampler):
    torch.manual_seed(60041)
    network = LearnedCCMGNet(2)
    model, objective = model_of(network, sampler), UnrolledPCG(num_steps=3)
    batch = sampler.draw(60077, [0, 1])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for step in range(12):
        loss, terms = objective(model, batch, Progress.at(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert set(terms) == {"first_step"}
    assert losses[-1] < losses[0] - 0.02
    assert losses[0] < -0.3


def test_validation_counts_steps_between_whole_ones(sampler):
    network = LearnedCCMGNet(2)
    validation = PCGSteps(1e-6)
    assert validation.name(sampler.spec) == "pcg_iters@1e-6"
    batch = sampler.draw(60083, [0, 1])
    steps = validation.errors(model_of(network, sampler), batch)
    for k in range(2):
        operator = PoissonOperator(batch.inputs[k, 1].to(torch.uint8))
        m = LearnedCCMG(network, operator, choose="learned")
        b = operator.project(batch.inputs[k, 0].double())
        whole = CG(rtol=1e-6).solve(operator, b, preconditioner=m).num_steps
        assert whole - 1 < float(steps[k]) <= whole


def test_another_net_or_data_set_or_normalisation_is_refused(sampler):
    objective = UnrolledPCG()
    assert not objective.needs_targets
    objective.check_spec(sampler.spec)
    plain = poisson_spec("poisson_dct", (16, 16), masks=False)
    with pytest.raises(ValueError, match=r"UnrolledPCG: expected .* got 'poisson_dct'"):
        objective.check_spec(plain)
    batch = sampler.draw(60089, [0])
    other = model_of(DCDMNet(2), CosineSampler((24, 22)))
    with pytest.raises(TypeError, match="expected a LearnedCCMGNet, got DCDMNet"):
        objective(other, batch, Progress.at(0))
    for make, message in (
        (lambda: UnrolledPCG(num_steps=0), "expected num_steps >= 1, got 0"),
        (lambda: PCGSteps(0.0), r"expected rtol in \(0, 1\), got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
