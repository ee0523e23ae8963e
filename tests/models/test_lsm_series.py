import pytest
import torch

from sciml.models.lsm.series import trigonometric_series


def plain(z, sine, cosine, step):
    orders = torch.arange(cosine.shape[1], dtype=z.dtype)
    phase = z[..., None] * step * orders
    return (phase.sin()[..., 1:] * sine).sum(-1) + (phase.cos() * cosine).sum(-1)


@pytest.mark.parametrize("num_terms", [1, 2, 3, 12])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_value_and_gradients_equal_the_plain_sum(num_terms, shape):
    torch.manual_seed(27182819)
    z = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    sine = torch.randn(5, num_terms - 1, dtype=torch.float64, requires_grad=True)
    cosine = torch.randn(5, num_terms, dtype=torch.float64, requires_grad=True)
    ours = trigonometric_series(z, sine, cosine, 0.7)
    expected = plain(z, sine, cosine, 0.7)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, (z, sine, cosine), weights),
        torch.autograd.grad(expected, (z, sine, cosine), weights, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_gradients_by_finite_differences():
    torch.manual_seed(31415927)
    z = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    sine = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    cosine = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(trigonometric_series, (z, sine, cosine, 1.3))


def test_float32_at_small_and_large_arguments():
    torch.manual_seed(16180339)
    scales = torch.tensor([1e-6, 1e-3, 0.1, 1.0, 10.0])
    z = torch.randn(200, 5) * scales
    sine, cosine = torch.randn(5, 11), torch.randn(5, 12)
    ours = trigonometric_series(z, sine, cosine, 0.26)
    expected = plain(z.double(), sine.double(), cosine.double(), 0.26)
    assert (ours - expected).abs().max() < 2e-5 * expected.abs().max()


def test_half_precision_is_as_good_as_its_input():
    torch.manual_seed(16180339)
    z = torch.randn(200, 3).bfloat16()
    sine, cosine = torch.randn(3, 11).bfloat16(), torch.randn(3, 12).bfloat16()
    ours = trigonometric_series(z, sine, cosine, 0.26)
    expected = plain(z.double(), sine.double(), cosine.double(), 0.26)
    assert ours.dtype == torch.bfloat16
    assert (ours - expected).abs().max() < 2**-8 * expected.abs().max()


def test_keeps_two_values_per_token():
    z = torch.randn(1000, 3, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        trigonometric_series(z, torch.randn(3, 11), torch.randn(3, 12), 0.26)
    assert sum(kept) < 2 * z.numel() + 100


def test_second_derivatives_are_refused():
    z = torch.randn(4, 2, requires_grad=True)
    value = trigonometric_series(z, torch.randn(2, 1), torch.randn(2, 2), 1.0)
    (gradient,) = torch.autograd.grad(value.square().sum(), z, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_wrong_number_of_coefficients():
    with pytest.raises(ValueError, match="one cosine coefficient more"):
        trigonometric_series(torch.randn(4, 2), torch.randn(2, 3), torch.randn(2, 3), 1.0)
