import json

import pytest
import torch

from sciml.domain import Box
from sciml.models.lsm import LSM
from sciml.models.lsm.layers import DoubleGrid, HalveGrid
from sciml.spec import DatasetSpec, FieldSpec

SMALL = {
    "hidden_channels": [8, 12],
    "num_modes": [5, 3],
    "latent_resolution": 16,
    "block_levels": [1],
    "num_tokens": 3,
    "num_bases": 4,
    "patch": 4,
    "num_heads": 4,
}


def awake(model):
    """Give the zero-initialised projections values, so that everything behind them counts."""
    with torch.no_grad():
        for block in model.blocks.values():
            torch.nn.init.normal_(block.output.weight, std=0.3)
    return model


@pytest.mark.parametrize("space", [(40,), (64, 64), (24, 37), (18, 16, 15)])
@pytest.mark.parametrize("batch", [1, 2])
def test_maps_channels_on_any_periodic_grid(space, batch):
    torch.manual_seed(87654321)
    model = LSM(3, 2, len(space), **SMALL)
    assert model(torch.randn(batch, 3, *space)).shape == (batch, 2, *space)


def test_default_sizes():
    assert sum(p.numel() for p in LSM(1, 1).parameters()) == 740_529
    assert sum(p.numel() for p in LSM(1, 1, latent_block=False).parameters()) == 724_197


def test_latent_blocks_start_as_identity():
    torch.manual_seed(10000019)
    model = LSM(1, 1, **SMALL)
    plain = LSM(1, 1, **{**SMALL, "latent_block": False})
    plain.load_state_dict(
        {k: v for k, v in model.state_dict().items() if not k.startswith("blocks.")}
    )
    u = torch.randn(2, 1, 16, 16)
    assert torch.equal(model(u), plain(u))
    assert not torch.allclose(awake(model)(u), plain(u))


@pytest.mark.parametrize("latent_block", [True, False])
def test_every_parameter_gets_a_finite_gradient(latent_block):
    torch.manual_seed(19283747)
    model = awake(LSM(2, 1, **{**SMALL, "latent_block": latent_block}))
    model(torch.randn(2, 2, 20, 20)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name


def test_gradients_by_finite_differences():
    torch.manual_seed(55555553)
    small = {
        **SMALL,
        "latent_resolution": 8,
        "patch": 2,
        "hidden_channels": [2, 4],
        "num_heads": 2,
    }
    model = awake(LSM(1, 1, 1, **small)).double()
    names, values = zip(*model.named_parameters(), strict=True)

    def apply(u, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(model, given, (u,))

    u = torch.randn(1, 1, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(apply, (u, *values), fast_mode=True)


def test_means_the_same_on_a_finer_grid():
    torch.manual_seed(33550337)
    model = awake(LSM(1, 1, **SMALL)).double()

    def field(n):
        x = torch.arange(n, dtype=torch.float64) * 2 * torch.pi / n
        return (torch.cos(2 * x)[:, None] * torch.sin(x)[None])[None, None]

    torch.testing.assert_close(model(field(64))[..., ::2, ::2], model(field(32)))


def test_batch_members_do_not_mix():
    torch.manual_seed(77777779)
    model = awake(LSM(1, 1, **SMALL)).double()
    u = torch.randn(3, 1, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(model(u)[1:2], model(u[1:2]))


def test_overfits_one_batch():
    torch.manual_seed(12345679)
    model = LSM(1, 1, **SMALL)
    u, target = torch.randn(2, 2, 1, 16, 16).unbind()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    first = last = 0.0
    for step in range(150):
        optimizer.zero_grad()
        loss = (model(u) - target).square().mean()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = first if step else last
    assert last < 0.02 * first


def test_rebuilt_from_its_arguments_as_json():
    torch.manual_seed(98989897)
    model = LSM(2, 1, **SMALL)
    twin = LSM(**json.loads(json.dumps(model.arguments)))
    twin.load_state_dict(model.state_dict())
    u = torch.randn(1, 2, 16, 16)
    assert torch.equal(model(u), twin(u))


def test_float64_and_autocast():
    torch.manual_seed(24681357)
    model = awake(LSM(1, 1, **SMALL))
    u = torch.randn(2, 1, 16, 16)
    single = model(u)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(u)
    half.float().square().sum().backward()
    double = model.double()(u.double())
    scale = double.abs().max()
    assert (single - double).abs().max() < 1e-5 * scale
    assert (half - double).abs().max() < 0.1 * scale


def test_training_step_under_bfloat16_autocast():
    torch.manual_seed(24681357)
    model = awake(LSM(1, 1, **SMALL))
    u, target = torch.randn(2, 4, 1, 16, 16).unbind()
    losses = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = (model(u).float() - target).square().mean()
        loss.backward()
        losses.append(float(loss.detach()))
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def spec(periodic):
    vorticity = (FieldSpec("vorticity"),)
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0), periodic)
    return DatasetSpec("flow", box, (64, 64), vorticity, vorticity, dt=1.0, history=3)


def test_from_spec():
    model = LSM.from_spec(spec((True, True)), **SMALL)
    assert (model.in_channels, model.out_channels, model.ndim) == (3, 1, 2)
    with pytest.raises(
        ValueError,
        match=r"periodic on all axes, got 'flow' with bounded axes \['y'\].*lsm_mode=published",
    ):
        LSM.from_spec(spec((True, False)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ndim": 4}, "1, 2 or 3 spatial axes, got 4"),
        ({"num_modes": [5]}, "one num_modes for each level"),
        ({"num_tokens": 0}, "positive hidden_channels"),
        ({"block_levels": [2]}, r"block_levels between 0 and 1, got \(2,\)"),
        ({"num_heads": 5}, "multiple of the 5 heads on level 1"),
        ({"latent_resolution": 17}, "halved 1 times for 2 levels"),
        ({"num_modes": [5, 9]}, "at most 8 modes on level 1"),
        ({"patch": 3}, "multiple of the patch 3 on level 1"),
    ],
)
def test_impossible_arguments_are_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        LSM(1, 1, **{**SMALL, **arguments})


def test_without_a_latent_grid_the_data_grid_is_checked():
    model = LSM(1, 1, **{**SMALL, "latent_resolution": None})
    assert model(torch.randn(1, 1, 24, 32)).shape == (1, 1, 24, 32)
    with pytest.raises(ValueError, match=r"multiple of the patch 4 on level 1, got \(9, 16\)"):
        model(torch.randn(1, 1, 18, 32))


def test_wrong_input_is_refused():
    model = LSM(1, 1, **SMALL)
    with pytest.raises(ValueError, match="expected 1 input channels, got 2"):
        model(torch.randn(1, 2, 16, 16))
    with pytest.raises(ValueError, match="uses no PDE parameters"):
        model(torch.randn(1, 1, 16, 16), params=torch.zeros(1, 1))


def test_exports_with_a_free_batch_size():
    torch.manual_seed(48271001)
    model = awake(LSM(1, 1, **SMALL)).eval()
    u = torch.randn(2, 1, 20, 24)
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        program = torch.export.export(model, (u,), dynamic_shapes={"u": {0: batch}})
        larger = torch.randn(5, 1, 20, 24)
        expected = model(larger)
        torch.testing.assert_close(program.module()(larger), expected, rtol=1e-5, atol=1e-6)
    model(u).sum().backward()  # nothing of the traced graph stays behind in a cache


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_halving_and_doubling_are_strided_convolutions(ndim):
    torch.manual_seed(61803399)
    u = torch.randn(2, 3, *(4, 6, 2)[:ndim], dtype=torch.float64)
    corners = (2,) * ndim
    convolution = getattr(torch.nn.functional, f"conv{ndim}d")
    transposed = getattr(torch.nn.functional, f"conv_transpose{ndim}d")
    down = HalveGrid(3, 5, ndim).double()
    # The channels of a gathered point are ordered (corner, channel).
    weight = down.pointwise.weight.view(5, *corners, 3).movedim(-1, 1)
    expected = convolution(u, weight, down.pointwise.bias, stride=2)
    torch.testing.assert_close(down(u), expected)
    up = DoubleGrid(3, 5, ndim).double()
    torch.nn.init.zeros_(up.pointwise.bias)
    weight = up.pointwise.weight.view(*corners, 5, 3).movedim((-1, -2), (0, 1))
    torch.testing.assert_close(up(u), transposed(u, weight, stride=2))
