"""The networks: sizes, the published formula on a small grid, what they refuse."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from sciml.models.dcdm.model import DCDMNet
from sciml.simulate.poisson_samples import poisson_spec
from sciml.spec import FieldSpec


@pytest.mark.parametrize(
    ("ndim", "pairs", "count"),
    [(3, (2, 3, 2), 97_457), (3, (3, 5, 3), 152_881), (2, (2, 3, 2), 32_657)],
)
def test_published_sizes(ndim, pairs, count):
    fine, coarse, final = pairs
    net = DCDMNet(ndim, num_fine_pairs=fine, num_coarse_pairs=coarse, num_final_pairs=final)
    assert sum(p.numel() for p in net.parameters()) == count


def published(net, x):
    """DCDM-64 as the specification writes it, convolution by convolution."""
    conv = functional.conv2d if x.ndim == 4 else functional.conv3d
    pool = functional.avg_pool2d if x.ndim == 4 else functional.avg_pool3d

    def c(layer, v):
        return torch.relu(conv(v, layer.weight, layer.bias, padding=1))

    h = conv(x, net.first.weight, net.first.bias, padding=1)
    a = c(net.fine[0].first, h)
    b = c(net.fine[0].second, a)
    a = c(net.fine[1].first, b) + a
    b = c(net.fine[1].second, a)
    u = pool(b, 2)
    for pair in net.coarse:
        v = c(pair.first, u)
        u = c(pair.second, v) + u
    for axis in range(2, u.ndim):
        u = u.repeat_interleave(2, axis)
    w = u + b
    for pair in net.final:
        v = c(pair.first, w)
        w = c(pair.second, v) + w
    return conv(w, net.head.weight, net.head.bias)


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 6)])
def test_equals_the_published_formula(shape):
    torch.manual_seed(60013)
    net = DCDMNet(len(shape)).double()
    for parameter in net.parameters():
        torch.nn.init.uniform_(parameter, -0.2, 0.2)
    x = torch.randn(3, 1, *shape, dtype=torch.float64)
    torch.testing.assert_close(net(x), published(net, x), rtol=1e-12, atol=1e-12)


def test_beside_masks_the_residual_has_unit_mean_square():
    torch.manual_seed(60013)
    net = DCDMNet(2, in_channels=4).double()
    r, masks = torch.randn(2, 1, 4, 6).double(), torch.rand(2, 3, 4, 6).double().round()
    scaled = torch.cat([r * 24**0.5, masks], 1)
    torch.testing.assert_close(net(torch.cat([r, masks], 1)), published(net, scaled))


def test_every_parameter_learns():
    torch.manual_seed(7919)
    net = DCDMNet(2, in_channels=4, num_fine_pairs=3)
    net(torch.randn(2, 4, 8, 10)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().max()) > 0, name


def test_one_net_serves_every_even_grid():
    net = DCDMNet(2)
    assert net(torch.randn(1, 1, 2, 34)).shape == (1, 1, 2, 34)
    with pytest.raises(ValueError, match=r"even number of cells.*got \(8, 9\); pad the domain"):
        net(torch.randn(1, 1, 8, 9))


def test_sees_no_farther_than_its_receptive_field():
    """21 cells to either side, as the sizes of DCDM-64 imply; coarse blocks may add one."""
    torch.manual_seed(40487)
    net = DCDMNet(2).double()
    x = torch.randn(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[0, 0, 32, 32], x)
    rows = gradient[0, 0].abs().sum(1).nonzero().flatten()
    assert 32 - 22 <= int(rows.min()) <= 32 - 15
    assert 32 + 15 <= int(rows.max()) <= 32 + 22


def test_the_data_decide_dimension_and_masks():
    assert DCDMNet.from_spec(poisson_spec("p", (8, 8, 8), masks=False)).ndim == 3
    assert DCDMNet.from_spec(poisson_spec("p", (8, 8), masks=True)).in_channels == 4
    net = DCDMNet.from_spec(poisson_spec("p", (8, 8), masks=False), num_coarse_pairs=1)
    assert len(net.coarse) == 1
    assert DCDMNet(**net.arguments).arguments == net.arguments


def test_other_data_are_refused():
    spec = poisson_spec("p", (8, 8), masks=False)
    other = replace(spec, name="flow", in_fields=(FieldSpec("vorticity"),))
    with pytest.raises(ValueError, match=r"right-hand sides.*'flow' with the fields \['vort"):
        DCDMNet.from_spec(other)
    with pytest.raises(ValueError, match=r"even number of cells along every axis.*\(8, 7\)"):
        DCDMNet.from_spec(spec.at((8, 7)))


@pytest.mark.parametrize(
    "options", [{"ndim": 4}, {"ndim": 1}, {"in_channels": 2}, {"num_fine_pairs": 0}]
)
def test_sizes_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="expected ndim 2 or 3, in_channels 1"):
        DCDMNet(**{"ndim": 2, **options})
