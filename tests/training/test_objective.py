import pytest
import torch

from sciml.metrics.spatial import relative_l2
from sciml.spec import Batch
from sciml.training.normalized import NormalizedModel
from sciml.training.objective import OneStep, Progress, PushForward, Rollout, counter_seed
from tests.training.diffusion import SEED, Conditioned, convolution, diffusion_data


@pytest.fixture
def data():
    return diffusion_data(history=2)


@pytest.fixture
def model(data):
    return NormalizedModel.from_data(convolution(data), data).double()


def batch_of(data, horizon):
    loader = data.train_loader(horizon)
    return next(iter(loader)).to("cpu", torch.float64)


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()))


def test_one_step_is_the_mean_relative_error(data, model):
    batch = batch_of(data, 1)
    loss, terms = OneStep()(model, batch, Progress.at(0, seed=SEED))
    errors = [
        (p - y).norm() / y.norm()
        for p, y in zip(model(batch.inputs), batch.targets[:, 0], strict=True)
    ]
    assert loss.item() == pytest.approx(sum(e.item() for e in errors) / len(errors), rel=1e-12)
    assert terms == {}


def test_noise_has_the_asked_size_and_depends_on_the_step_alone(data):
    seen = []
    model = NormalizedModel.from_data(convolution(data), data)
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    generator = torch.Generator().manual_seed(SEED)
    scale = torch.tensor([3.0, 0.1]).view(1, 2, 1, 1)
    inputs = 10 + scale * torch.randn(16, 2, 32, 34, generator=generator)
    batch = Batch(inputs, inputs[:, None, -1:])
    objective = OneStep(noise=0.5)
    for step in (5, 5, 6):
        objective(model, batch, Progress.at(step, seed=SEED))
    noise = seen[0] - inputs
    assert noise.std(dim=(0, 2, 3)).tolist() == pytest.approx([1.5, 0.05], rel=0.02)
    assert noise.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.0, 0.0], abs=0.03)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_rollout_is_the_mean_over_steps_of_the_per_frame_error(data, model):
    batch = batch_of(data, 3)
    loss, terms = Rollout(3)(model, batch, Progress.at(0, seed=SEED))
    u, expected = batch.inputs, []
    for t in range(3):
        frame = model(u)
        expected.append(relative_l2(frame, batch.targets[:, t]).mean())
        u = torch.cat((u[:, 1:], frame), 1)
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-12)
    assert terms["first_step"].item() == pytest.approx(expected[0].item())
    assert terms["last_step"].item() == pytest.approx(expected[-1].item())
    ours = gradients(model, loss)
    naive = gradients(model, sum(expected) / 3)
    for a, b in zip(ours, naive, strict=True):
        torch.testing.assert_close(a, b)


def test_detached_rollout_has_the_value_but_not_the_gradient(data, model):
    batch, progress = batch_of(data, 3), Progress.at(0, seed=SEED)
    full, _ = Rollout(3)(model, batch, progress)
    cut, _ = Rollout(3, detached=True)(model, batch, progress)
    assert cut.item() == full.item()
    a, b = gradients(model, full), gradients(model, cut)
    assert any((x - y).norm() > 1e-3 * x.norm() for x, y in zip(a, b, strict=True))


def test_curriculum_grows_to_the_full_length():
    objective = Rollout(5, curriculum=0.8)
    lengths = [objective.length(x) for x in (0.0, 0.19, 0.21, 0.41, 0.61, 0.79, 0.8, 1.0)]
    assert lengths == [1, 1, 2, 3, 4, 4, 5, 5]
    assert Rollout(5).length(0.0) == 5
    assert objective.horizon == 5


def test_push_forward_differentiates_the_last_step_only(data, model):
    batch = batch_of(data, 3)
    loss, _ = PushForward(3)(model, batch, Progress.at(0, seed=SEED))
    u = batch.inputs
    for _ in range(2):
        u = torch.cat((u[:, 1:], model(u)), 1).detach()
    expected = relative_l2(model(u), batch.targets[:, 2]).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for a, b in zip(gradients(model, loss), gradients(model, expected), strict=True):
        torch.testing.assert_close(a, b)


def test_parameters_reach_a_network_that_uses_them_and_no_other():
    data = diffusion_data(num_params=1)
    batch = next(iter(data.train_loader(1)))
    plain = NormalizedModel.from_data(convolution(data), data)
    OneStep()(plain, batch, Progress.at(0))
    conditioned = NormalizedModel.from_data(Conditioned.from_spec(data.spec), data)
    loss, _ = OneStep()(conditioned, batch, Progress.at(0))
    changed = Batch(batch.inputs, batch.targets, params=2 * batch.params)
    assert OneStep()(conditioned, changed, Progress.at(0))[0].item() != loss.item()


def test_objectives_refuse_what_they_are_not_defined_on(data, model):
    with pytest.raises(ValueError, match=r"Rollout: expected a batch with 3 target .*got 1"):
        Rollout(3)(model, batch_of(data, 1), Progress.at(0))
    with pytest.raises(ValueError, match=r"OneStep: expected a batch with 1 target .*got 0"):
        OneStep()(model, Batch(batch_of(data, 1).inputs), Progress.at(0))
    with pytest.raises(ValueError, match="Rollout: expected num_steps >= 1, got 0"):
        Rollout(0)
    with pytest.raises(ValueError, match="PushForward: expected num_steps >= 2, got 1"):
        PushForward(1)
    with pytest.raises(ValueError, match="OneStep: expected noise >= 0, got -1"):
        OneStep(noise=-1.0)
    with pytest.raises(ValueError, match=r"Rollout: expected a curriculum fraction .* got 1.5"):
        Rollout(2, curriculum=1.5)
    steady = diffusion_data(dt=None).spec
    OneStep().check_spec(steady)
    with pytest.raises(ValueError, match=r"PushForward: expected a data set whose .*flux"):
        PushForward(2).check_spec(steady)


def test_seeds_of_steps_are_distinct():
    seeds = {counter_seed(s, step, r) for s in (1, 11) for step in range(50) for r in range(3)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
