import itertools

import neuralop.layers.spectral_convolution as neuraloperator
import pytest
import torch

from sciml.fft.truncated import synthesise
from sciml.nn.spectral_conv import SpectralConv

GRIDS = [
    ((16,), (6,)),
    ((15,), (5,)),
    ((12, 9), (6, 5)),
    ((9, 12), (5, 13)),
    ((8, 8), (8, 8)),  # Nyquist on both axes
    ((8, 6), (11, 40)),  # more modes than the grid has
    ((8, 6, 7), (4, 3, 5)),
]


def mixed_by_fft(layer: SpectralConv, u: torch.Tensor) -> torch.Tensor:
    """The layer's formula, one mode at a time, with library transforms."""
    space, d = u.shape[2:], u.ndim - 2
    axes = tuple(range(2, 2 + d))
    spectrum = torch.fft.rfftn(u, dim=axes, norm="forward")
    weight = torch.complex(*layer.weight.unbind(len(space)))
    shape = (u.shape[0], weight.shape[-1], *spectrum.shape[2:])
    mixed = torch.zeros(shape, dtype=spectrum.dtype)
    kept = [min(k, n) for k, n in zip(layer.kept[:-1], space[:-1], strict=True)]
    frequencies = [range(-(k // 2), k - k // 2) for k in kept]
    frequencies.append(range(min(layer.kept[-1], space[-1] // 2 + 1)))
    for mode in itertools.product(*frequencies):
        row = tuple(f + k // 2 for f, k in zip(mode[:-1], layer.kept[:-1], strict=True))
        bin_ = tuple(f % n for f, n in zip(mode[:-1], space[:-1], strict=True))
        where = (slice(None), slice(None), *bin_, mode[-1])
        mixed[where] = spectrum[where] @ weight[(*row, mode[-1])]
    result = torch.fft.irfftn(mixed, s=space, dim=axes, norm="forward")
    return result + layer.bias.view(-1, *[1] * d)


@pytest.mark.parametrize(("space", "modes"), GRIDS)
@pytest.mark.parametrize("batch", [1, 2])
def test_equals_the_formula_with_library_transforms(space, modes, batch):
    torch.manual_seed(82934561)
    layer = SpectralConv(3, 2, modes).double()
    torch.nn.init.normal_(layer.bias)
    u = torch.randn(batch, 3, *space, dtype=torch.float64, requires_grad=True)
    ours, expected = layer(u), mixed_by_fft(layer, u)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-13)
    weights = torch.randn_like(ours)
    inputs = [u, *layer.parameters()]
    for a, b in zip(
        torch.autograd.grad(ours, inputs, weights),
        torch.autograd.grad(expected, inputs, weights),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_float32_agrees_with_float64():
    torch.manual_seed(17760704 + 1)
    layer = SpectralConv(4, 4, (9, 8))
    u = torch.randn(2, 4, 24, 20)
    expected = layer.double()(u.double())
    error = (layer.float()(u).double() - expected).norm() / expected.norm()
    assert error < 1e-6


@pytest.mark.parametrize(
    ("space", "modes"), [((6,), (3,)), ((4, 5), (3, 4)), ((4, 3, 4), (3, 2, 3))]
)
def test_gradients_by_finite_differences(space, modes):
    torch.manual_seed(40961337)
    layer = SpectralConv(2, 3, modes).double()
    u = torch.randn(1, 2, *space, dtype=torch.float64, requires_grad=True)

    def apply(u, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (u,))

    assert torch.autograd.gradcheck(apply, (u, layer.weight, layer.bias))


@pytest.mark.parametrize(
    ("space", "modes"), [((16,), (8,)), ((16, 12), (8, 6)), ((8, 8, 6), (4, 6, 4))]
)
def test_equals_neuraloperator_on_even_grids(space, modes):
    torch.manual_seed(5550123)
    theirs = neuraloperator.SpectralConv(3, 4, modes)
    ours = SpectralConv(3, 4, modes)
    torch.nn.init.normal_(theirs.bias)
    ours.load_neuraloperator(theirs.state_dict())
    u = torch.randn(2, 3, *space)
    expected = theirs(u).detach()
    torch.testing.assert_close(
        ours(u), expected, rtol=0, atol=2e-6 * float(expected.abs().max())
    )


def test_means_the_same_operator_on_a_finer_grid():
    torch.manual_seed(777767777)
    layer = SpectralConv(1, 1, (7, 7)).double()

    def field(n):
        x = torch.arange(n, dtype=torch.float64) * 2 * torch.pi / n
        return (torch.cos(2 * x)[:, None] + torch.sin(x)[:, None] * torch.cos(3 * x))[
            None, None
        ]

    torch.testing.assert_close(
        layer(field(32))[..., ::2, ::2], layer(field(16)), rtol=0, atol=1e-13
    )


def test_commutes_with_translations():
    torch.manual_seed(13131313)
    layer = SpectralConv(2, 2, (5, 5)).double()
    u = torch.randn(1, 2, 10, 9, dtype=torch.float64)
    shifted = torch.roll(u, (3, 4), (2, 3))
    expected = torch.roll(layer(u), (3, 4), (2, 3))
    torch.testing.assert_close(layer(shifted), expected, rtol=0, atol=1e-13)


def test_half_precision_and_autocast():
    torch.manual_seed(24680135)
    layer = SpectralConv(2, 2, (5, 5))
    u = torch.randn(1, 2, 16, 16)
    expected = layer(u)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(u.bfloat16()), expected, rtol=0, atol=0.03)
    half = layer.bfloat16()(u.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0, atol=0.08)


def test_keeps_the_truncated_spectrum_only():
    layer = SpectralConv(8, 8, (5, 5))
    u = torch.randn(2, 8, 64, 64, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        layer(u)
    parameters = sum(p.numel() for p in layer.parameters())
    assert sum(kept) - parameters < u.numel() / 10


def test_a_basis_first_made_in_inference_mode_still_trains():
    layer = SpectralConv(1, 1, (3, 3))
    with torch.inference_mode():
        layer(torch.randn(1, 1, 22, 26))
    u = torch.randn(1, 1, 22, 26, requires_grad=True)
    layer(u).sum().backward()
    assert torch.isfinite(u.grad).all()


@pytest.mark.parametrize(("space", "modes"), [((6,), (4,)), ((4, 5), (3, 4))])
def test_second_derivatives_by_finite_differences(space, modes):
    torch.manual_seed(61803399)
    layer = SpectralConv(2, 2, modes).double()
    u = torch.randn(1, 2, *space, dtype=torch.float64, requires_grad=True)

    def apply(u, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (u,))

    assert torch.autograd.gradgradcheck(apply, (u, layer.weight, layer.bias))


@pytest.mark.parametrize(
    ("space", "target"),
    [((33,), (20,)), ((32, 32), (64, 64)), ((32, 32), (16, 16)), ((33, 32), (47, 21))],
)
def test_identity_multiplier_moves_band_limited_fields_between_grids(space, target):
    torch.manual_seed(200560490131)
    modes = tuple(2 * ((min(n, m) - 1) // 2) - 1 for n, m in zip(space, target, strict=True))
    layer = SpectralConv(1, 1, (64,) * len(space), bias=False)
    with torch.no_grad():
        layer.weight.zero_().select(len(space), 0).fill_(1.0)
    spectrum = torch.randn(*modes[:-1], modes[-1] // 2 + 1, 2, 2, 1)
    u, expected = synthesise(spectrum, space), synthesise(spectrum, target)
    moved = layer(u, target)
    assert (moved - expected).norm() < 1e-6 * expected.norm()


@pytest.mark.parametrize("space", [(17,), (33, 32), (32, 33), (15, 9, 12)])
def test_identity_multiplier_keeps_any_field_on_odd_and_mixed_grids(space):
    torch.manual_seed(7368787)
    layer = SpectralConv(2, 2, tuple(n + 2 for n in space), bias=False).double()
    with torch.no_grad():
        layer.weight.zero_().select(len(space), 0).copy_(torch.eye(2).expand(*layer.kept, 2, 2))
    u = torch.randn(3, 2, *space, dtype=torch.float64)
    torch.testing.assert_close(layer(u), u, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("space", "modes"), [((16,), (8,)), ((16, 12), (8, 6))])
def test_separable_layer_equals_neuraloperator(space, modes):
    torch.manual_seed(5550133)
    theirs = neuraloperator.SpectralConv(3, 3, modes, separable=True)
    ours = SpectralConv(3, 3, modes, separable=True)
    torch.nn.init.normal_(theirs.bias)
    ours.load_neuraloperator(theirs.state_dict())
    u = torch.randn(2, 3, *space)
    expected = theirs(u).detach()
    tolerance = 2e-6 * float(expected.abs().max())
    torch.testing.assert_close(ours(u), expected, rtol=0, atol=tolerance)
    assert ours.weight.shape == (*ours.kept, 2, 3)


def test_importer_refuses_what_does_not_fit():
    ours = SpectralConv(3, 4, (8, 8))
    with pytest.raises(ValueError, match="reconstruct factorised weights first"):
        ours.load_neuraloperator({"weight.core": torch.zeros(1), "bias": torch.zeros(4, 1, 1)})
    theirs = neuraloperator.SpectralConv(3, 4, (6, 8)).state_dict()
    with pytest.raises(ValueError, match="build both with the same modes"):
        ours.load_neuraloperator(theirs)
    with pytest.raises(ValueError, match="no bias"):
        SpectralConv(3, 4, (6, 8), bias=False).load_neuraloperator(theirs)


@pytest.mark.parametrize("separable", [False, True])
def test_forward_mode_equals_reverse_mode(separable):
    torch.manual_seed(433494437)
    layer = SpectralConv(2, 2, (4, 3), separable=separable).double()
    u = torch.randn(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)

    def apply(u, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (u,))

    inputs = (u, layer.weight, layer.bias)
    assert torch.autograd.gradcheck(apply, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(apply, inputs)
    detached = tuple(value.detach() for value in inputs)
    for i in range(3):
        forward = torch.func.jacfwd(apply, i)(*detached)
        torch.testing.assert_close(forward, torch.func.jacrev(apply, i)(*detached))


@pytest.mark.unhooked
@pytest.mark.parametrize("separable", [False, True])
def test_compiles_without_graph_breaks_and_trains(separable):
    torch.manual_seed(1618033)
    layer = SpectralConv(3, 3, (6, 7), separable=separable)
    u = torch.randn(2, 3, 12, 9, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    inputs = [u, *layer.parameters()]
    expected = torch.autograd.grad(layer(u).square().sum(), inputs)
    gradients = torch.autograd.grad(compiled(u).square().sum(), inputs)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    exported = torch.export.export(layer, (u.detach(),)).module()
    torch.testing.assert_close(exported(u), layer(u), rtol=0, atol=1e-5)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="one number of modes per axis"):
        SpectralConv(2, 2, (4, 0))
    with pytest.raises(ValueError, match="1, 2 or 3 axes"):
        SpectralConv(2, 2, (4, 4, 4, 4))
    with pytest.raises(ValueError, match="as many output as input channels"):
        SpectralConv(2, 3, (4, 4), separable=True)
    with pytest.raises(ValueError, match="2 positive sizes as output_shape"):
        SpectralConv(2, 2, (4, 4))(torch.randn(1, 2, 8, 8), (8,))
    layer = SpectralConv(2, 2, (4, 4))
    with pytest.raises(ValueError, match=r"expected \(batch, 2, \*space\) with 2 spatial axes"):
        layer(torch.randn(1, 3, 8, 8))
    with pytest.raises(ValueError, match="2 spatial axes"):
        layer(torch.randn(1, 2, 8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_cpu():
    torch.manual_seed(90817263)
    layer = SpectralConv(3, 3, (8, 7)).double()
    u = torch.randn(2, 3, 24, 15, dtype=torch.float64)
    expected = layer(u)
    torch.testing.assert_close(layer.cuda()(u.cuda()).cpu(), expected, rtol=0, atol=1e-12)
