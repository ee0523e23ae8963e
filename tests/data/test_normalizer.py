import pytest
import torch

from sciml.data.normalizer import Normalizer
from sciml.data.statistics import ChannelStatistics

KINDS = ["zscore", "rms", "minmax", "none"]


def values(shape, dtype=torch.float32, seed=440_417):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    scale = torch.tensor([1.0, 1e3, 1e-4], dtype=torch.float64)
    shape = (-1,) + (1,) * (x.ndim - 2)
    return (x * scale.view(shape) + 2 * scale.view(shape)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("space", [(11,), (5, 8), (3, 4, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_inverse_is_exact_to_rounding(kind, space, dtype):
    x = values((1, 3, *space), dtype)
    normalizer = Normalizer(3, kind).fit([x])
    z = normalizer(x)
    assert z.dtype == dtype
    error = (normalizer.inverse(z) - x).abs().flatten(2).amax(2)
    assert (error <= 4 * torch.finfo(dtype).eps * x.abs().flatten(2).amax(2)).all()


def test_what_each_kind_does():
    x = values((40, 3, 6, 7), torch.float64)
    channels = {
        kind: Normalizer(3, kind).fit([x])(x).movedim(1, 0).flatten(1) for kind in KINDS
    }
    one, zero = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(channels["zscore"].mean(1), zero, rtol=0, atol=1e-12)
    torch.testing.assert_close(channels["zscore"].std(1, correction=0), one)
    torch.testing.assert_close((channels["rms"] ** 2).mean(1), one)
    assert not torch.allclose(channels["rms"].mean(1), zero)
    torch.testing.assert_close(channels["minmax"].amin(1), zero, rtol=0, atol=1e-12)
    torch.testing.assert_close(channels["minmax"].amax(1), one)
    assert torch.equal(channels["none"], x.movedim(1, 0).flatten(1))


def test_streaming_equals_one_batch_and_statistics():
    x = values((30, 3, 5, 4))
    whole, parts = Normalizer(3).fit([x]), Normalizer(3).fit(x.split(7))
    known = Normalizer.from_statistics(ChannelStatistics.of(x))
    for other in (parts, known):
        torch.testing.assert_close(other.shift, whole.shift, rtol=1e-13, atol=0)
        torch.testing.assert_close(other.scale, whole.scale, rtol=1e-13, atol=0)


@pytest.mark.parametrize("history", [1, 2, 5])
def test_history_repeats_the_parameters(history):
    x = values((4, 3, 5, 4))
    normalizer = Normalizer(3).fit([x])
    frames = torch.stack([k * x for k in range(1, history + 1)], dim=1)
    z = normalizer(frames.flatten(1, 2)).unflatten(1, (history, 3))
    for k in range(history):
        assert torch.equal(z[:, k], normalizer(frames[:, k]))
    back = normalizer.inverse(z.flatten(1, 2)).unflatten(1, (history, 3))
    torch.testing.assert_close(back, frames)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_channel_keeps_scale_one(kind):
    x = values((4, 3, 5, 4))
    x[:, 1] = 300.1
    x[:, 2] = 0.0
    normalizer = Normalizer(3, kind).fit([x])
    if kind != "rms":
        assert float(normalizer.scale[1]) == 1.0
    assert float(normalizer.scale[2]) == 1.0
    assert torch.isfinite(normalizer(x)).all()
    torch.testing.assert_close(normalizer.inverse(normalizer(x)), x)


def test_small_scales_are_not_floored():
    x = 1e-12 * values((4, 3, 5, 4), torch.float64)
    z = Normalizer(3).fit([x])(x)
    torch.testing.assert_close(
        z.movedim(1, 0).flatten(1).std(1, correction=0), torch.ones(3, dtype=torch.float64)
    )


def test_state_travels_with_the_model():
    x = values((4, 3, 5, 4))
    fitted = Normalizer(3).fit([x])
    other = Normalizer(3)
    assert torch.equal(other(x), x)
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other(x), fitted(x))
    assert torch.equal(fitted.to(torch.float32)(x), other(x))
    assert set(fitted.state_dict()) == {"shift", "scale"}


def test_gradient_passes_through():
    x = values((2, 3, 4), torch.float64).requires_grad_()
    normalizer = Normalizer(3).fit([x.detach()])
    normalizer(x).sum().backward()
    expected = (1 / normalizer.scale)[None, :, None].expand_as(x)
    torch.testing.assert_close(x.grad, expected)


def test_refusals():
    normalizer = Normalizer(3).fit([values((2, 3, 4))])
    with pytest.raises(
        ValueError, match=r"forward: expected a multiple of 3 channels.*\(2, 4, 5\)"
    ):
        normalizer(torch.zeros(2, 4, 5))
    with pytest.raises(ValueError, match="inverse: expected a multiple of 3 channels"):
        normalizer.inverse(torch.zeros(2, 2, 5))
    with pytest.raises(ValueError, match="fit: expected 3 channels on axis 1"):
        normalizer.fit([torch.zeros(2, 6, 5)])
    with pytest.raises(ValueError, match="at least one batch, got none"):
        normalizer.fit([])
    with pytest.raises(ValueError, match="kind zscore, rms, minmax or none, got 'std'"):
        Normalizer(3, "std")
