import pytest
import torch

from sciml.data.normalizer import Normalizer
from sciml.training.normalized import NormalizedModel
from tests.training.diffusion import (
    SEED,
    Conditioned,
    Convolution,
    LastFrame,
    convolution,
    diffusion_data,
)


@pytest.fixture(scope="module")
def data():
    return diffusion_data(history=3)


def test_increment_and_field_by_hand(data):
    network = convolution(data).double()
    u = torch.randn(2, 3, 8, 8, dtype=torch.float64) + 5
    statistics = data.statistics()
    mean, std = statistics.field.mean.item(), statistics.field.std.item()
    field = NormalizedModel.from_data(network, data, prediction="field")
    output = network((u - mean) / std)
    torch.testing.assert_close(field(u), mean + std * output)
    mean, std = statistics.increment.mean.item(), statistics.increment.std.item()
    increment = NormalizedModel.from_data(network, data)
    torch.testing.assert_close(increment(u), u[:, 2:] + mean + std * output)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_of_the_input_is_kept(data, dtype):
    model = NormalizedModel.from_data(convolution(data).to(dtype), data)
    assert model(torch.ones(1, 3, 6, 10, dtype=dtype)).dtype == dtype


def test_no_normalisation_reads_no_statistics():
    class Unreadable:
        spec = diffusion_data().spec

        def statistics(self):
            raise AssertionError("statistics were read")

    network = Convolution.from_spec(Unreadable.spec)
    model = NormalizedModel.from_data(network, Unreadable(), kind="none", prediction="field")
    u = torch.randn(1, 1, 8, 8)
    assert torch.equal(model(u), network(u))


def test_steady_data_predict_the_field():
    steady = diffusion_data(dt=None)
    network = Convolution.from_spec(steady.spec)
    model = NormalizedModel.from_data(network, steady, kind="none")
    assert not model.increment
    with pytest.raises(ValueError, match="rollout: expected a model whose outputs can be"):
        model.rollout(torch.zeros(1, 1, 8, 8), 2)
    scaled = NormalizedModel.from_data(network, steady)
    batch = steady.one_step_dataset("train").batch(range(8))
    assert not scaled.increment
    torch.testing.assert_close(
        scaled.outputs.shift, batch.targets.double().mean().view(1), rtol=1e-6, atol=0
    )
    u, normal = batch.inputs, scaled.inputs(batch.inputs)
    assert abs(normal.mean()) < 1e-5
    torch.testing.assert_close(
        scaled(u), scaled.outputs.inverse(network(normal)), rtol=1e-6, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"got 'diffusion' with inputs \['temperature'\]"):
        NormalizedModel.from_data(network, steady, kind="none", prediction="increment")


def test_channels_must_be_those_of_the_data(data):
    with pytest.raises(ValueError, match=r"3 input and 1 output .*\(history 3\), got 2 and 1"):
        NormalizedModel.from_data(Convolution(2, 1), data)


def test_unknown_prediction(data):
    with pytest.raises(ValueError, match=r"expected prediction among .*got 'delta'; did you"):
        NormalizedModel.from_data(convolution(data), data, prediction="delta")


def test_unknown_kind(data):
    with pytest.raises(ValueError, match=r"expected kind among \['zscore', .*got 'std'"):
        NormalizedModel.from_data(convolution(data), data, kind="std")


def test_a_network_without_parameters_is_left_alone(data):
    model = NormalizedModel.from_data(LastFrame(3, 1), data, kind="rms", prediction="increment")
    u = torch.randn(2, 3, 8, 8)
    assert torch.equal(model(u), u[:, 2:])


def test_parameters_are_refused_by_a_network_without(data):
    model = NormalizedModel.from_data(convolution(data), data)
    u, params = torch.zeros(1, 3, 8, 8), torch.ones(1, 1)
    with pytest.raises(ValueError, match=r"Convolution: .*params"):
        model(u, params=params)
    assert model.usable(params) is None
    conditioned = Conditioned.from_spec(data.spec)
    none = Normalizer(1, kind="none")
    model = NormalizedModel(conditioned, none, none, increment=False, spec=data.spec)
    assert model.usable(params) is params
    torch.manual_seed(SEED)
    torch.testing.assert_close(model(u, params=2 * params), 2 * model(u, params=params))


def test_a_shift_and_scale_for_every_point():
    steady = diffusion_data(dt=None)
    network = Convolution.from_spec(steady.spec)
    model = NormalizedModel.from_data(network, steady, scope="point")
    batch = steady.one_step_dataset("train").batch(range(8))
    targets = batch.targets[:, 0].double()
    torch.testing.assert_close(model.outputs.shift, targets.mean(0))
    torch.testing.assert_close(model.outputs.scale, targets.std(0, correction=0))
    with pytest.raises(ValueError, match=r"expected the grid \(8, 8\) of its points"):
        model(torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match=r"expected scope among .*got 'pixel'; did you mean"):
        NormalizedModel.from_data(network, steady, scope="pixel")
