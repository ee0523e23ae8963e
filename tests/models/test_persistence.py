import pytest
import torch

from sciml.domain import Box
from sciml.models.persistence import Persistence
from sciml.spec import DatasetSpec, FieldSpec


def spec(history=1, dt=0.5, outputs=None):
    fields = (FieldSpec("velocity", 1, 2), FieldSpec("pressure"))
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0), (True, True))
    return DatasetSpec("flow", box, (5, 6), fields, outputs or fields, dt=dt, history=history)


@pytest.mark.parametrize("history", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predicts_the_last_frame(history, dtype):
    model = Persistence.from_spec(spec(history))
    u = torch.randn(2, 3 * history, 5, 6, dtype=dtype)
    assert torch.equal(model(u), u[:, -3:])
    rollout = model.rollout(u, 4)
    assert rollout.shape == (2, 4, 3, 5, 6)
    assert all(torch.equal(rollout[:, t], u[:, -3:]) for t in range(4))


def test_has_nothing_to_train_and_can_be_rebuilt():
    model = Persistence.from_spec(spec(2))
    assert not list(model.parameters())
    assert model.arguments == {"in_channels": 6, "out_channels": 3, "ndim": 2}
    u = torch.randn(1, 6, 5, 6)
    assert torch.equal(Persistence(**model.arguments)(u), model(u))


def test_parameters_do_not_matter():
    u = torch.randn(2, 1, 7)
    model = Persistence(1, 1)
    assert torch.equal(model(u, params=torch.randn(2, 3)), u)
    assert torch.equal(model.rollout(u, 1, params=torch.randn(2, 3))[:, 0], u)


def test_maps_between_different_fields_are_refused():
    with pytest.raises(
        ValueError, match=r"Persistence: expected a data set of trajectories.*pressure"
    ):
        Persistence.from_spec(spec(outputs=(FieldSpec("pressure"),)))
    with pytest.raises(ValueError, match="dt=None"):
        Persistence.from_spec(spec(dt=None))


def test_bad_input_is_named():
    with pytest.raises(
        ValueError, match="positive multiple of out_channels, got in_channels=3"
    ):
        Persistence(3, 2)
    with pytest.raises(ValueError, match="Persistence: expected 6 input channels, got 3"):
        Persistence(6, 3, 2)(torch.ones(1, 3, 4, 4))
    with pytest.raises(
        ValueError, match=r"Persistence.rollout: expected at least one step, got 0"
    ):
        Persistence(1, 1).rollout(torch.ones(1, 1, 4), 0)
