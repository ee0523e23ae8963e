import torch
from torch import nn

from sciml.nn.mlp import Pointwise, PointwiseMLP


def test_equals_a_linear_layer_at_every_point():
    torch.manual_seed(11223347)
    layer = Pointwise(3, 5).double()
    u = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = nn.functional.linear(u.movedim(1, -1), layer.weight, layer.bias).movedim(-1, 1)
    torch.testing.assert_close(layer(u), expected)


def test_mlp_equals_its_formula_and_gradients():
    torch.manual_seed(66778893)
    mlp = PointwiseMLP(3, 7, 2).double()
    for shape in [(1, 3, 6), (2, 3, 4, 5), (3, 3, 2, 3, 4)]:
        u = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        expected = mlp.second(nn.functional.gelu(mlp.first(u)))
        torch.testing.assert_close(mlp(u), expected)
        inputs, weights = [u, *mlp.parameters()], torch.randn_like(expected)
        ours = torch.autograd.grad(mlp(u), inputs, weights)
        theirs = torch.autograd.grad(expected, inputs, weights)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_mlp_under_autocast():
    torch.manual_seed(66778893)
    mlp = PointwiseMLP(3, 7, 2)
    u = torch.randn(2, 3, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = mlp(u)
    half.float().square().sum().backward()
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), mlp(u), rtol=0, atol=0.03)


def test_mlp_keeps_no_hidden_layer():
    mlp = PointwiseMLP(2, 100, 1)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        mlp(torch.randn(4, 2, 32, 32, requires_grad=True))
    assert sum(kept) < 4 * 3 * 32 * 32
