import pytest
import torch
from torch.nn import functional

from sciml.nn.fourier_block import FourierBlock


@pytest.mark.parametrize(
    ("space", "modes"), [((9,), (4,)), ((6, 7), (3, 5)), ((4, 5, 3), (2, 3, 3))]
)
@pytest.mark.parametrize("separable", [False, True])
def test_equals_its_formula(space, modes, separable):
    torch.manual_seed(7158278821)
    block = FourierBlock(3, modes, separable=separable).double()
    v = torch.randn(2, 3, *space, dtype=torch.float64)
    inner = block.mixing(v) + torch.einsum("oc,bc...->bo...", block.local.weight, v)
    outer = torch.einsum("oc,bc...->bo...", block.output.weight, functional.gelu(inner))
    torch.testing.assert_close(block(v), v + outer, rtol=0, atol=1e-13)


def test_takes_fields_whose_channels_are_last_in_memory():
    torch.manual_seed(715827883)
    block = FourierBlock(4, (3, 3))
    v = torch.randn(2, 6, 5, 4).movedim(-1, 1)
    torch.testing.assert_close(block(v), block(v.contiguous()))


def test_gradients_by_finite_differences():
    torch.manual_seed(2147483647)
    block = FourierBlock(2, (3, 2)).double()
    v = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, v)


def test_half_precision_under_autocast():
    torch.manual_seed(6700417)
    block = FourierBlock(4, (5, 5))
    v = torch.randn(1, 4, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = block(v)
    torch.testing.assert_close(result.float(), block(v), rtol=0, atol=0.05)
