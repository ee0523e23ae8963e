import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sciml.domain import Box
from sciml.models.lsm import ReferenceLSM, load_reference
from sciml.models.lsm.block import NeuralSpectralBlock, join_patches, split_patches
from sciml.spec import DatasetSpec, FieldSpec
from tests.golden import golden


def straightforward():
    """The benchmark's plain form of the model, which is the oracle here."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "straightforward_lsm.py"
    spec = importlib.util.spec_from_file_location("straightforward_lsm", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("straightforward_lsm", module)
    spec.loader.exec_module(module)
    return module


def relative_maximum(ours, expected):
    ours, expected = ours.detach(), torch.as_tensor(expected).detach()
    return float((ours - expected).abs().max() / expected.abs().max())


def relative_norm(ours, expected):
    ours, expected = ours.detach(), torch.as_tensor(expected).detach()
    return float((ours - expected).norm() / expected.norm())


def state(data, prefix="sd/"):
    return {k.removeprefix(prefix): v for k, v in data.items() if k.startswith(prefix)}


def perturbed(model):
    """Weights large enough that every part of the model matters."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "process" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture
def golden_2d():
    data = golden("lsm_2d.npz")
    return data, load_reference(state(data), d_model=16, patch_size="3,2", padding="3,2")


def test_evaluation_equals_published_output_and_activations(golden_2d):
    data, model = golden_2d
    seen = {}
    for key in data:
        if key.startswith("act/"):
            name = key.removeprefix("act/")
            model.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: seen.update({name: output.detach()})
            )
    u = torch.as_tensor(data["in/x"]).movedim(-1, 1)
    result = model.eval()(u)
    assert relative_maximum(result.movedim(1, -1), data["out/eval"]) < 5e-5
    assert len(seen) == sum(key.startswith("act/") for key in data) > 0
    for name, activation in seen.items():
        assert relative_maximum(activation, data[f"act/{name}"]) < 5e-5, name


def test_training_mode_equals_published_output(golden_2d):
    data, model = golden_2d
    result = model.train()(torch.as_tensor(data["in/x"]).movedim(-1, 1))
    assert relative_maximum(result.movedim(1, -1), data["out/train"]) < 5e-5


def test_gradients_equal_published_ones(golden_2d):
    data, model = golden_2d
    u = torch.as_tensor(data["in/x"]).movedim(-1, 1).requires_grad_()
    (0.5 * model.eval()(u).square().sum()).backward()
    assert relative_norm(u.grad.movedim(1, -1), data["grad/x"]) < 5e-3
    for key, expected in data.items():
        if key.startswith("grad/") and key != "grad/x":
            gradient = model.get_parameter(key.removeprefix("grad/")).grad
            assert relative_norm(gradient, expected) < 5e-3, key
    # The sine of frequency zero has no effect.
    assert (model.get_parameter("process1.weights").grad[:, 0] == 0).all()


BLOCKS = {
    "b2d": (32, (3, 2), 4, 12, 8),
    "b3d": (16, (2, 3, 1), 5, 6, 8),
    "b1d": (24, (4,), 3, 8, 6),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_block_and_its_stages_equal_published_ones(name):
    data = state(golden("lsm_blocks.npz"), f"{name}/")
    block = NeuralSpectralBlock(*BLOCKS[name])
    block.load_state_dict({k: torch.as_tensor(v) for k, v in state(data).items()})
    u = torch.as_tensor(data["in/x"])
    rows = split_patches(u, block.patch)
    patches = torch.as_tensor(data["act/patches"])
    assert torch.equal(rows.mT.reshape(patches.shape), patches)
    assert torch.equal(join_patches(rows, block.patch, u.shape[2:]), u)
    tokens = block.encode(rows)
    assert relative_maximum(tokens.mT, data["act/latent_encoded"]) < 5e-5
    assert relative_maximum(block.solve(tokens).mT, data["act/latent_solved"]) < 5e-5
    result = block(u)
    decoded = split_patches(result, block.patch).mT.reshape(patches.shape)
    assert relative_maximum(decoded, data["act/decoded_patches"]) < 5e-5
    assert relative_maximum(result, data["out"]) < 5e-5


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)], ids=["f64", "f32"]
)
@pytest.mark.parametrize(
    ("channels", "patch", "space"),
    [(8, (4,), (16,)), (24, (3, 2), (9, 8)), (16, (2, 1, 3), (4, 5, 6))],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_fast_block_equals_straightforward_block(
    dtype, tolerance, channels, patch, space, batch
):
    torch.manual_seed(57721567)
    fast = NeuralSpectralBlock(channels, patch, num_tokens=3, num_bases=5, num_heads=4).to(
        dtype
    )
    for parameter in fast.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    plain = straightforward().StraightforwardBlock.of(fast)
    u = torch.randn(batch, channels, *space, dtype=dtype, requires_grad=True)
    ours, expected = fast(u), plain(u)
    assert relative_maximum(ours, expected.detach()) < tolerance
    names = list(dict(fast.named_parameters()))
    inputs = [[u, *(dict(m.named_parameters())[k] for k in names)] for m in (fast, plain)]
    gradients = [
        torch.autograd.grad(out.square().sum(), leaves)
        for out, leaves in zip((ours, expected), inputs, strict=True)
    ]
    for name, a, b in zip(["u", *names], *gradients, strict=True):
        assert (a - b).norm() <= 10 * tolerance * b.norm() + tolerance, name


@pytest.mark.parametrize("space", [(20,), (17, 30), (16, 18, 16)])
def test_fast_model_equals_straightforward_model(space):
    torch.manual_seed(14142137)
    model = perturbed(ReferenceLSM(2, 3, (1,) * len(space), d_model=8, padding=None).double())
    plain = straightforward().straightforward_copy(model)
    u = torch.randn(2, 2, *space, dtype=torch.float64)
    assert relative_maximum(model.eval()(u), plain.eval()(u)) < 1e-9
    assert model(u).shape == (2, 3, *space)


def test_initial_values_follow_the_published_order():
    torch.manual_seed(600)
    model = ReferenceLSM(1, 1, (2, 2), d_model=8)
    torch.manual_seed(600)
    conv = torch.nn.Conv2d
    widths, ups = [8, 16, 32, 64, 64], [(128, 64, 32), (64, 32, 16), (32, 16, 8), (16, 8, 8)]
    expected = []
    for a, b in [(8, 8), *itertools.pairwise(widths)]:
        expected += [conv(a, b, 3, bias=False).weight, conv(b, b, 3, bias=False).weight]
    for a, middle, b in ups:
        expected += [
            conv(a, middle, 3, bias=False).weight,
            conv(middle, b, 3, bias=False).weight,
        ]
    expected += list(conv(8, 8, 1).parameters())
    for c in widths:
        expected += [torch.rand(c, 24) / c, torch.rand(8, 4, c // 8) / c]
        expected += [*conv(c, 2 * c, 1).parameters(), *conv(c, c, 1).parameters()]
    for a, b in [(3, 8), (8, 128), (128, 1)]:
        expected += list(torch.nn.Linear(a, b).parameters())
    ours = [
        p
        for n, p in model.named_parameters()
        if ".double_conv.1" not in n and ".double_conv.4" not in n
    ]
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        assert torch.equal(a, b)


def test_number_of_parameters_of_the_published_model():
    model = ReferenceLSM(10, 1, (4, 4), d_model=64)
    assert sum(p.numel() for p in model.parameters()) == 19_188_033


def test_crop_with_padding_on_one_axis_only():
    data = golden("lsm_2d.npz")
    model = load_reference(state(data), d_model=16, patch_size="2,2", padding="3,0").eval()
    assert model(torch.randn(1, 1, 32, 29)).shape == (1, 1, 32, 29)


def test_instance_norm_is_chosen_without_running_statistics():
    source = ReferenceLSM(1, 1, (2, 2), d_model=8, norm="instance")
    model = load_reference(source.state_dict(), d_model=8, patch_size="2,2")
    u = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(model(u)[:1], model(u[:1]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(model(u), source(u))


def test_rebuilt_from_its_arguments():
    model = ReferenceLSM(2, 1, (2, 1), d_model=8, padding=[0, 5])
    twin = type(model)(**model.arguments)
    assert twin.state_dict().keys() == model.state_dict().keys()
    assert twin.padding == (0, 5)


def test_from_spec_takes_a_sixteenth_of_the_padded_grid():
    field = (FieldSpec("u"),)
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0))
    spec = DatasetSpec("darcy", box, (85, 64), field, field)
    model = ReferenceLSM.from_spec(spec, d_model=8)
    assert model.patch_size == (6, 4)
    assert model(torch.randn(1, 1, 85, 64)).shape == (1, 1, 85, 64)


def test_bfloat16_forward():
    torch.manual_seed(33333331)
    model = ReferenceLSM(1, 1, (2, 2), d_model=8, norm="instance")
    u = torch.randn(1, 1, 32, 32)
    expected = model(u)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(u)
    assert relative_norm(half.float(), expected.detach()) < 0.05
    half.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_wrong_keys_are_all_named():
    data = golden("lsm_2d.npz")
    given = state(data)
    del given["fc0.weight"]
    given["fc9.weight"] = np.zeros(3, np.float32)
    with pytest.raises(
        ValueError, match=r"2 differences: missing fc0.weight; unexpected fc9.weight"
    ):
        load_reference(given, d_model=16, patch_size="3,2", padding="3,2")
    with pytest.raises(
        ValueError, match=r"fc0.weight has shape \(16, 3\) instead of \(16, 5\)"
    ):
        load_reference(state(data), in_dim=3, d_model=16, patch_size="3,2", padding="3,2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_model": 12}, "multiple of the 8 heads, got 12"),
        ({"patch_size": ()}, "positive patch size"),
        ({"patch_size": (0, 2)}, "positive patch size"),
        ({"padding": (1,)}, "padding of zero or more points for each of 2 axes"),
        ({"norm": "layer"}, "norm 'batch' or 'instance'"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReferenceLSM(1, 1, **{"patch_size": (2, 2), "d_model": 8, **arguments})


def test_impossible_grids_are_refused():
    model = ReferenceLSM(1, 1, (3, 2), d_model=8)
    with pytest.raises(ValueError, match=r"multiples of \(48, 32\).* got \(64, 32\)"):
        model(torch.randn(1, 1, 64, 32))
    with pytest.raises(ValueError, match="multiples of the patch"):
        split_patches(torch.randn(1, 2, 9, 8), (2, 2))
    with pytest.raises(ValueError, match="integers separated by commas"):
        load_reference({}, patch_size="4x4")
    with pytest.raises(ValueError, match="multiple of the 3 heads"):
        NeuralSpectralBlock(8, (2,), num_heads=3)


def test_block_in_pieces_equals_the_block_in_one(monkeypatch):
    torch.manual_seed(86028121)
    block = NeuralSpectralBlock(8, (2, 2)).double()
    u = torch.randn(2, 8, 6, 4, dtype=torch.float64)
    expected = block(u)
    # 128 scores per patch: 12 patches in pieces of five.
    monkeypatch.setattr("sciml.models.lsm.block.CACHED_SCORES", 700)
    torch.testing.assert_close(block(u), expected)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_training_step_under_bfloat16_autocast(norm):
    torch.manual_seed(33333331)
    model = perturbed(ReferenceLSM(1, 1, (2, 2), d_model=8, norm=norm))
    u, target = torch.randn(2, 4, 1, 32, 32).unbind()
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
