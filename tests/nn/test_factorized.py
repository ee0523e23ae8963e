import pytest
import tltorch
import torch

from sciml.nn.factorized import CPWeight, TuckerWeight
from sciml.nn.spectral_conv import SpectralConv

KINDS = [(CPWeight, 3), (CPWeight, 0.6), (TuckerWeight, (2, 3, 2)), (TuckerWeight, 0.6)]
GRIDS = [((7,), (5,)), ((6, 5), (4, 3)), ((4, 5, 6), (3, 2, 4))]


def layers(kind, rank, modes, c_in=3, c_out=2):
    """A factorised layer and the dense one of the same operator, in float64."""
    if isinstance(rank, tuple):
        rank = (*rank[:2], *[rank[2]] * len(modes))
    weight = kind(c_in, c_out, modes, rank)
    factorised = SpectralConv(c_in, c_out, modes, weight=weight).double()
    torch.nn.init.normal_(factorised.bias)
    dense = SpectralConv(c_in, c_out, modes).double()
    with torch.no_grad():
        dense.weight.copy_(weight.reconstruct())
        dense.bias.copy_(factorised.bias)
    return factorised, dense


@pytest.mark.parametrize(("kind", "rank"), KINDS)
@pytest.mark.parametrize(("space", "modes"), GRIDS)
@pytest.mark.parametrize("batch", [1, 40])
def test_equals_the_dense_layer(kind, rank, space, modes, batch):
    torch.manual_seed(62207)
    factorised, dense = layers(kind, rank, modes)
    u = torch.randn(batch, 3, *space, dtype=torch.float64)
    torch.testing.assert_close(factorised(u), dense(u), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("kind", "rank"), KINDS)
def test_both_ways_to_mix_agree(kind, rank):
    torch.manual_seed(4001)
    weight = kind(3, 4, (4, 3), 2 if rank == (2, 3, 2) else rank).double()
    window = (slice(1, 4), slice(0, 2))
    dense = weight.reconstruct(window)
    assert dense.shape == (3, 2, 2, 3, 4)
    torch.testing.assert_close(dense, weight.reconstruct()[window])
    matrices = torch.complex(*dense.flatten(0, 1).unbind(1))
    for batch in (1, 2, 300):  # few are projected, for many the matrices are formed
        spectrum = torch.randn(6, 2, batch, 3, dtype=torch.float64)
        expected = torch.complex(*spectrum.unbind(1)) @ matrices
        ours = torch.complex(*weight.mix(spectrum, window).unbind(1))
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "rank"), KINDS)
def test_coarse_grids_use_the_middle_frequencies(kind, rank):
    torch.manual_seed(80021)
    factorised, dense = layers(kind, rank, (7, 9))
    u = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(factorised(u), dense(u), rtol=0, atol=1e-13)
    moved, expected = factorised(u, (9, 12)), dense(u, (9, 12))
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("kind", "rank"), [(CPWeight, 2), (TuckerWeight, 2)])
@pytest.mark.parametrize(("space", "modes"), [((5,), (3,)), ((4, 3), (3, 2))])
def test_first_and_second_derivatives(kind, rank, space, modes):
    torch.manual_seed(350377)
    layer = SpectralConv(2, 2, modes, weight=kind(2, 2, modes, rank)).double()
    u = torch.randn(1, 2, *space, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def apply(u, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), u)

    inputs = (u, *layer.parameters())
    assert torch.autograd.gradcheck(apply, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(apply, inputs)


@pytest.mark.parametrize(("kind", "rank"), [(CPWeight, 0.3), (TuckerWeight, 0.3)])
def test_dense_weight_has_the_variance_of_the_dense_layer(kind, rank):
    torch.manual_seed(16807)
    draws = [kind(12, 20, (9, 8), rank).reconstruct().detach().square() for _ in range(20)]
    expected = 2 / (12 + 20) / 2  # of a real or an imaginary part
    assert 0.8 < float(torch.stack(draws).mean()) / expected < 1.25


@pytest.mark.parametrize("name", ["cp", "tucker"])
def test_reconstruction_equals_tensorly(name):
    torch.manual_seed(49297)
    shape, ranks = (3, 4, 6, 5), {"cp": 4, "tucker": (2, 3, 4, 2)}
    theirs = tltorch.FactorizedTensor.new(
        shape, rank=ranks[name], factorization=f"Complex{name}", dtype=torch.complex64
    ).normal_(0, 1)
    kind = {"cp": CPWeight, "tucker": TuckerWeight}[name]
    ours = kind(3, 4, (6, 8), ranks[name])
    with torch.no_grad():
        for mine, factor in zip(ours.factors, theirs.factors, strict=True):
            mine.copy_(torch.view_as_real(factor).movedim(-1, 0))
        if name == "cp":
            ours.scale.copy_(torch.view_as_real(theirs.weights).movedim(-1, 0))
        else:
            ours.core.copy_(torch.view_as_real(theirs.core).permute(4, 2, 3, 0, 1))
    expected = theirs.to_tensor().detach().permute(2, 3, 0, 1)
    dense = torch.complex(*ours.reconstruct().unbind(2))
    torch.testing.assert_close(dense, expected, rtol=1e-5, atol=1e-5)


def test_layers_may_share_a_weight_and_train_it():
    torch.manual_seed(27644437)
    weight = CPWeight(2, 2, (3, 3), 2)
    first, second = (SpectralConv(2, 2, (3, 3), weight=weight) for _ in range(2))
    second(first(torch.randn(2, 2, 8, 8))).square().sum().backward()
    for parameter in (*first.parameters(), *second.parameters()):
        assert parameter.grad.abs().sum() > 0
    assert "weight.factors.0" in first.state_dict()


@pytest.mark.unhooked
@pytest.mark.parametrize("kind", [CPWeight, TuckerWeight])
def test_compiles_without_graph_breaks(kind):
    torch.manual_seed(86028121)
    layer = SpectralConv(2, 3, (4, 3), weight=kind(2, 3, (4, 3), 2))
    u = torch.randn(2, 2, 8, 7)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(u), layer(u), rtol=0, atol=1e-5)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="CPWeight: expected positive channels"):
        CPWeight(2, 0, (3,))
    with pytest.raises(ValueError, match="build both with the same sizes"):
        SpectralConv(2, 2, (5,), weight=CPWeight(2, 2, (3,)))
    with pytest.raises(ValueError, match="separable=True; build both"):
        SpectralConv(2, 2, (3,), separable=True, weight=CPWeight(2, 2, (3,)))
    layer = SpectralConv(2, 2, (3,), weight=CPWeight(2, 2, (3,)))
    with pytest.raises(TypeError, match="build the layer without `weight`"):
        layer.load_neuraloperator({"weight": torch.zeros(2, 2, 2, dtype=torch.complex64)})
