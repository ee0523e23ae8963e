import pytest
import torch

from sciml.nn.grid import coordinate_channels


def test_angles_on_periodic_axes_and_coordinates_on_bounded_ones():
    grid = coordinate_channels((4, 3), (True, False), torch.zeros(1, dtype=torch.float64))
    assert grid.shape == (3, 4, 3)
    assert grid.dtype == torch.float64
    expected = torch.tensor([[0.0, 1.0, 0.0, -1.0], [1.0, 0.0, -1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(grid[:2, :, 1], expected, rtol=0, atol=1e-6)
    assert torch.equal(grid[2, 0], torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))


def test_flags_and_axes_have_to_match():
    with pytest.raises(ValueError, match="say of every axis whether it is periodic"):
        coordinate_channels((4, 3), (True,), torch.zeros(1))
