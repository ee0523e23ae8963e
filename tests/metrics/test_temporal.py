import pytest
import torch

from sciml.metrics.spatial import relative_l2
from sciml.metrics.temporal import divergence_step, rollout_curve, rollout_relative_l2


def trajectory(shape=(2, 4, 1, 5, 6), seed=88_001):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def test_curve_is_the_relative_error_of_each_frame():
    pred, target = trajectory(), trajectory(seed=88_003)
    curve = rollout_curve(pred, target)
    for t in range(4):
        torch.testing.assert_close(curve[:, t], relative_l2(pred[:, t], target[:, t]))


def test_frames_weigh_by_their_norm_in_the_rollout_error():
    target = torch.ones(1, 2, 1, 4).double()
    target[:, 1] = 3.0
    pred = target.clone()
    pred[:, 0] *= 2.0  # error 1 on the small frame
    torch.testing.assert_close(rollout_curve(pred, target), torch.tensor([[1.0, 0.0]]).double())
    torch.testing.assert_close(rollout_relative_l2(pred, target).item(), (1 / 10) ** 0.5)


def test_divergence_step_counts_good_frames():
    target = torch.ones(4, 5, 1, 3)
    factors = torch.tensor(
        [[1.0, 1.1, 1.2, 1.3, 1.4],   # never beyond one
         [1.0, 1.1, 2.5, 1.0, 1.0],   # lost at the third frame, coming back does not count
         [3.0, 1.0, 1.0, 1.0, 1.0],
         [1.0, float("nan"), 1.0, 1.0, 1.0]]
    )  # fmt: skip
    pred = target * factors[:, :, None, None]
    assert divergence_step(pred, target).tolist() == [5, 2, 0, 1]
    assert divergence_step(pred, target, threshold=0.15).tolist() == [2, 2, 0, 1]


def test_bad_input_is_named():
    u = trajectory()
    with pytest.raises(
        ValueError, match="rollout_curve: expected pred and target of the same shape"
    ):
        rollout_curve(u, u[:, :2])
    with pytest.raises(
        ValueError, match="rollout_relative_l2: expected pred and target of the same"
    ):
        rollout_relative_l2(u, u[:, :2])
    with pytest.raises(ValueError, match=r"rollout_curve: expected \(b, t, c, \*space\)"):
        rollout_curve(u[:, :, 0, 0, 0], u[:, :, 0, 0, 0])
    with pytest.raises(ValueError, match="divergence_step: expected a positive threshold"):
        divergence_step(u, u, threshold=0.0)
