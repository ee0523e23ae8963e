import pytest
import torch

from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate
from tests.training.diffusion import Conditioned, LastFrame, convolution, diffusion_data


@pytest.fixture(scope="module")
def data():
    return diffusion_data(history=2)


@pytest.fixture
def surrogate(data):
    return Surrogate(NormalizedModel.from_data(convolution(data, dropout=0.5), data))


def test_inference_mode(surrogate):
    u = torch.randn(2, 2, 8, 8)
    surrogate.model.train()
    assert torch.equal(surrogate(u), surrogate(u))  # no dropout
    assert not surrogate(u).requires_grad
    surrogate.model.train()
    assert torch.equal(surrogate.rollout(u, 1)[:, 0], surrogate(u))


@pytest.mark.parametrize(("batch", "space"), [(1, (8, 8)), (3, (6, 10))])
def test_rollout_slides_the_window(surrogate, batch, space):
    u = 5 + torch.randn(batch, 2, *space)
    frames = surrogate.rollout(u, 3)
    assert frames.shape == (batch, 3, 1, *space)
    first = surrogate(u)
    assert torch.equal(frames[:, 0], first)
    assert torch.equal(frames[:, 1], surrogate(torch.cat((u[:, 1:], first), 1)))


def test_wrong_inputs_are_refused_in_words(surrogate):
    for call in (surrogate, lambda u, p=None: surrogate.rollout(u, 2, p)):
        with pytest.raises(ValueError, match="expected 2 input channels, got 1"):
            call(torch.zeros(1, 1, 8, 8))
        with pytest.raises(ValueError, match="2 spatial axes, got"):
            call(torch.zeros(1, 2, 8))
        with pytest.raises(TypeError, match=r"expected dtype torch.float32, got torch.float64"):
            call(torch.zeros(1, 2, 8, 8, dtype=torch.float64))
        with pytest.raises(TypeError, match="expected an input on cpu, got meta"):
            call(torch.zeros(1, 2, 8, 8, device="meta"))
        with pytest.raises(ValueError, match="expected an even grid"):
            call(torch.zeros(1, 2, 7, 8))
        with pytest.raises(ValueError, match="params"):
            call(torch.zeros(1, 2, 8, 8), torch.zeros(1, 1))


def test_conversion(surrogate):
    u = torch.randn(1, 2, 8, 8)
    single = surrogate(u)
    assert surrogate.to(dtype=torch.float64) is surrogate
    torch.testing.assert_close(surrogate(u.double()).float(), single)
    assert surrogate.num_parameters == 2 * 6 * 9 + 6 + 6 + 1
    assert repr(surrogate) == "Surrogate(Convolution, 'diffusion', 121 parameters)"


def test_export_runs_without_the_class_and_for_any_batch(surrogate, tmp_path):
    path = surrogate.export(tmp_path / "new" / "model.pt2")
    program = torch.export.load(path).module()
    for batch in (1, 2, 5):
        u = 5 + torch.randn(batch, 2, 8, 8)
        torch.testing.assert_close(program(u), surrogate(u))
    assert [file.name for file in path.parent.iterdir()] == ["model.pt2"]


def test_export_with_parameters(tmp_path):
    data = diffusion_data(num_params=1)
    network = Conditioned.from_spec(data.spec)
    surrogate = Surrogate(NormalizedModel.from_data(network, data))
    program = torch.export.load(surrogate.export(tmp_path / "model.pt2")).module()
    u, params = torch.randn(3, 1, 8, 8), torch.tensor([[1.0], [0.5], [2.0]])
    torch.testing.assert_close(program(u, params=params), surrogate(u, params))


def test_export_of_a_model_without_weights(data, tmp_path):
    model = NormalizedModel.from_data(LastFrame(2, 1), data, kind="none", prediction="field")
    path = Surrogate(model).export(tmp_path / "model.pt2", batch_size=3)
    u = torch.randn(3, 2, 8, 8)
    assert torch.equal(torch.export.load(path).module()(u), u[:, 1:])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_cpu(surrogate):
    u = 5 + torch.randn(2, 2, 8, 8)
    expected = surrogate.rollout(u, 3)
    torch.testing.assert_close(surrogate.to("cuda").rollout(u.cuda(), 3).cpu(), expected)
