import pytest
import torch

from sciml.training.rollout import rollout, slide


@pytest.mark.parametrize("space", [(5,), (4, 7), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_window_slides(space, dtype):
    window = torch.randn(3, 6, *space, dtype=dtype)
    frame = torch.randn(3, 2, *space, dtype=dtype)
    moved = slide(window, frame)
    assert torch.equal(moved[:, :4], window[:, 2:])
    assert torch.equal(moved[:, 4:], frame)


def test_rollout_feeds_predictions_back():
    def sum_of_history(u, *, params=None):  # Fibonacci
        return u.sum(1, keepdim=True)

    u = torch.tensor([[1.0, 1.0]])[..., None]
    frames = rollout(sum_of_history, u, 6)
    assert frames.shape == (1, 6, 1, 1)
    assert frames.flatten().tolist() == [2.0, 3.0, 5.0, 8.0, 13.0, 21.0]


def test_parameters_reach_every_step():
    def scaled(u, *, params=None):
        return u * params[:, :1, None]

    u = torch.ones(2, 1, 3)
    frames = rollout(scaled, u, 3, params=torch.tensor([[2.0], [3.0]]))
    assert frames[:, :, 0, 0].tolist() == [[2.0, 4.0, 8.0], [3.0, 9.0, 27.0]]


def test_gradient_flows_through_all_steps():
    u = torch.full((1, 1, 1), 3.0, dtype=torch.float64, requires_grad=True)

    def square(u, *, params=None):
        return u**2

    rollout(square, u, 3)[:, -1].sum().backward()  # u ** 8
    assert u.grad.item() == pytest.approx(8 * 3.0**7)


def test_errors():
    u = torch.ones(1, 3, 4)
    with pytest.raises(ValueError, match="rollout: expected at least one step, got 0"):
        rollout(lambda u, *, params=None: u, u, 0)
    with pytest.raises(ValueError, match="slide: expected a window of whole frames of 2"):
        slide(u, u[:, :2])
