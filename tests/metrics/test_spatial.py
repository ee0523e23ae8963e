import math

import pytest
import torch

from sciml.metrics.spatial import nmse, relative_l2, rmse, vrmse

SHAPES = [(1, 2, 7), (3, 1, 5, 8), (2, 2, 3, 4, 5)]
METRICS = [relative_l2, rmse, nmse, vrmse]


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def pair(shape, dtype=torch.float64, seed=30_011):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2)]


def loop_over_samples(function, pred, target):
    return [
        function(p.double().flatten(), y.double().flatten())
        for p, y in zip(pred, target, strict=True)
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_relative_l2_is_the_quotient_of_norms(shape, dtype):
    pred, target = pair(shape, dtype)
    expected = loop_over_samples(lambda p, y: math.dist(p, y) / math.hypot(*y), pred, target)
    value = relative_l2(pred, target)
    assert value.dtype == dtype
    torch.testing.assert_close(
        value.double(), torch.tensor(expected).double(), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_rmse_is_the_root_of_the_mean_square(shape, dtype):
    pred, target = pair(shape, dtype)
    expected = loop_over_samples(lambda p, y: math.dist(p, y) / math.sqrt(len(p)), pred, target)
    torch.testing.assert_close(
        rmse(pred, target).double(), torch.tensor(expected).double(), rtol=1e-6, atol=0
    )


def test_scaled_prediction_has_known_errors():
    _, target = pair((3, 2, 8, 6))
    torch.testing.assert_close(
        relative_l2(0.9 * target, target), torch.full((3,), 0.1).double()
    )
    torch.testing.assert_close(
        nmse(0.9 * target, target, eps=0.0), torch.full((3,), 0.01).double()
    )


def test_vrmse_of_the_spatial_mean_is_one():
    _, target = pair((2, 3, 9, 7))
    mean = target.mean(dim=(2, 3), keepdim=True).expand_as(target)
    torch.testing.assert_close(vrmse(mean, target, eps=0.0), torch.ones(2).double())
    # The eps lowers it by a known amount.
    small = 1e-3 * target
    variance = small.var(dim=(2, 3), correction=0)
    expected = (variance / (variance + 1e-7)).sqrt().mean(1)
    torch.testing.assert_close(vrmse(1e-3 * mean, small), expected)


def test_fields_are_averaged_after_the_quotient():
    target = torch.stack([torch.sin(torch.arange(16) * math.pi / 8), torch.zeros(16)])[
        None
    ].double()
    target[:, 1, ::2] = 100.0  # mean square 5000, variance 2500
    pred = target + torch.tensor([0.5, 10.0]).double()[None, :, None]
    expected_nmse = (0.25 / 0.5 + 100 / 5000) / 2
    expected_vrmse = (math.sqrt(0.25 / 0.5) + math.sqrt(100 / 2500)) / 2
    torch.testing.assert_close(nmse(pred, target, eps=0.0).item(), expected_nmse)
    torch.testing.assert_close(vrmse(pred, target, eps=0.0).item(), expected_vrmse)


@pytest.mark.parametrize("metric", [nmse, vrmse])
def test_ndim_says_which_axes_are_space(metric):
    pred, target = pair((2, 3, 2, 5, 4))
    frames = [metric(pred[:, t], target[:, t]) for t in range(3)]
    torch.testing.assert_close(metric(pred, target, ndim=2), torch.stack(frames).mean(0))
    plane, truth = pair((2, 5, 4))
    torch.testing.assert_close(
        metric(plane, truth, ndim=2), metric(plane[:, None], truth[:, None])
    )


def test_zero_target_is_infinite_and_zero_over_zero_is_nan():
    zero = torch.zeros(2, 1, 4)
    pred = torch.stack([torch.ones(1, 4), torch.zeros(1, 4)])
    value = relative_l2(pred, zero)
    assert math.isinf(value[0])
    assert math.isnan(value[1])


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_match_finite_differences(metric):
    pred, target = pair((2, 1, 3, 4))
    assert torch.autograd.gradcheck(lambda p: metric(p, target), (pred.requires_grad_(),))


@pytest.mark.parametrize("metric", METRICS)
def test_gradient_of_a_perfect_prediction_is_zero(metric):
    _, target = pair((2, 1, 3, 4))
    pred = target.clone().requires_grad_()
    metric(pred, target).sum().backward()
    assert torch.equal(pred.grad, torch.zeros_like(pred))


@pytest.mark.parametrize("metric", METRICS)
def test_shapes_that_would_broadcast_are_refused(metric):
    with pytest.raises(
        ValueError, match=rf"{metric.__name__}: expected pred and target of the same shape"
    ):
        metric(torch.ones(2, 1, 4), torch.ones(2, 3, 4))


def test_missing_axes_are_named():
    with pytest.raises(ValueError, match="rmse: expected a batch axis and at least one more"):
        rmse(torch.ones(3), torch.ones(3))
    with pytest.raises(
        ValueError, match="vrmse: expected a batch axis, fields and 3 space axes"
    ):
        vrmse(torch.ones(2, 4, 4), torch.ones(2, 4, 4), ndim=3)
