import pytest
import torch

import sciml
from sciml.domain import Box
from sciml.nn.fno import FNO
from sciml.spec import DatasetSpec, FieldSpec

CASES = [((16,), (5,)), ((12, 9), (5, 4)), ((6, 7, 8), (3, 3, 3))]


def spec(periodic, resolution):
    ndim = len(periodic)
    return DatasetSpec(
        name="flow",
        domain=Box(("x", "y", "z")[:ndim], (0.0,) * ndim, (1.0,) * ndim, periodic),
        resolution=resolution,
        in_fields=(FieldSpec("vorticity"),),
        out_fields=(FieldSpec("vorticity"),),
        dt=1.0,
        history=2,
    )


@pytest.mark.parametrize(("space", "modes"), CASES)
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
def test_every_parameter_trains_and_grids_may_change(space, modes, separable, periodic):
    torch.manual_seed(123457)
    flags = (periodic,) * len(space)
    model = FNO(3, 2, modes, 6, 2, 8, flags, separable=separable)
    output = model(torch.randn(2, 3, *space))
    assert output.shape == (2, 2, *space)
    output.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
    finer = tuple(2 * n + 1 for n in space)
    assert model(torch.randn(1, 3, *finer)).shape == (1, 2, *finer)


def test_is_the_same_operator_on_a_finer_periodic_grid():
    torch.manual_seed(998244353)
    model = FNO(1, 1, (5, 5), 8, 1, 8).double()

    def field(n):
        x = torch.arange(n, dtype=torch.float64) * 2 * torch.pi / n
        return (x.sin()[:, None] * x.cos()[None]).expand(1, 1, n, n)

    coarse, fine = model(field(32)), model(field(64))
    # The angles of the grid are computed in float32.
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, rtol=0, atol=1e-5)


def test_padding_separates_the_ends_of_a_bounded_axis():
    u = torch.zeros(1, 1, 32)
    changed = u.clone()
    changed[..., -1] = 1.0
    moved = []
    for padding in (0.0, 1.0):
        torch.manual_seed(1299709)
        model = FNO(1, 1, (31,), 4, 1, 4, (False,), padding)
        with torch.no_grad():
            weight = model.blocks[0].mixing.weight
            # A smoothing kernel a few points wide.
            decay = torch.exp(-0.02 * torch.arange(16.0) ** 2 * (1 + padding) ** -2)
            weight.zero_()[:, 0] = decay[:, None, None] * torch.eye(4)
            moved.append(float((model(changed) - model(u))[..., 0].abs().mean()))
    assert moved[0] > 1e-4
    assert moved[1] < 0.01 * moved[0]


def test_overfits_one_batch():
    torch.manual_seed(20011)
    model = FNO(1, 1, (5, 5), 12, 2, 16)
    u, target = torch.randn(2, 2, 1, 8, 8).unbind()
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    first = last = 0.0
    for step in range(150):
        optimizer.zero_grad()
        loss = (model(u) - target).square().mean()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = last if step == 0 else first
    assert last < 0.05 * first


def test_from_spec_and_arguments_rebuild_it():
    model = FNO.from_spec(spec((True, False), (16, 12)), num_modes=5, hidden_channels=4)
    assert (model.in_channels, model.out_channels, model.ndim) == (2, 1, 2)
    assert model.periodic == (True, False)
    again = sciml.FNO(**model.arguments)
    again.load_state_dict(model.state_dict())
    u = torch.randn(1, 2, 16, 12)
    assert torch.equal(again(u), model(u))


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="expected modes for the 2 axes"):
        FNO.from_spec(spec((True, True), (8, 8)), num_modes=(3, 3, 3))
    with pytest.raises(ValueError, match="one periodic flag for each of 2 axes"):
        FNO(1, 1, (3, 3), periodic=(True,))
    with pytest.raises(ValueError, match=r"padding in \[0, 1\]"):
        FNO(1, 1, (3, 3), padding=-0.5)
    with pytest.raises(ValueError, match="positive hidden_channels, num_layers"):
        FNO(1, 1, (3, 3), num_layers=0)
    with pytest.raises(ValueError, match="uses no PDE parameters"):
        FNO(1, 1, (3, 3))(torch.zeros(1, 1, 8, 8), params=torch.zeros(1, 1))


@pytest.mark.unhooked
def test_compiles_as_one_graph():
    torch.manual_seed(611953)
    model = FNO(1, 1, (5, 5), 4, 1, 4, (True, False))
    u = torch.randn(1, 1, 12, 10)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(u), model(u), rtol=0, atol=1e-5)
