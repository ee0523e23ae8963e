"""Pointwise layers: the same linear map at every grid point, channels first."""

import math
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override


def pointwise_linear(
    u: Float[Tensor, "b c_in *space"],
    weight: Float[Tensor, "c_out c_in"],
    bias: Float[Tensor, " c_out"],
) -> Float[Tensor, "b c_out *space"]:
    """`weight @ u + bias` at every grid point.

    One batched product on the channels-first memory: no permutation to channels last and back.
    """
    batch, channels, *space = u.shape
    matrix = weight.expand(batch, *weight.shape)
    result = torch.baddbmm(bias[:, None], matrix, u.reshape(batch, channels, math.prod(space)))
    return result.view(batch, weight.shape[0], *space)


# The variants that write into a given tensor, which `torch.nn.functional` does not offer.
gelu = torch.ops.aten.gelu.out
gelu_backward = torch.ops.aten.gelu_backward.grad_input


@final
class Pointwise(nn.Module):
    """`weight @ u + bias` at every grid point (a convolution with a kernel of one point).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.

    Initialised as `torch.nn.Linear`.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        linear = nn.Linear(in_channels, out_channels)
        self.weight = linear.weight
        self.bias = linear.bias

    @override
    def forward(self, u: Float[Tensor, "b c_in *space"]) -> Float[Tensor, "b c_out *space"]:
        """Mix the channels of every grid point."""
        return pointwise_linear(u, self.weight, self.bias)


@final
class PointwiseMLP(nn.Module):
    """Pointwise layer, GELU, pointwise layer."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = Pointwise(in_channels, hidden_channels)
        self.second = Pointwise(hidden_channels, out_channels)

    @override
    def forward(self, u: Float[Tensor, "b c_in *space"]) -> Float[Tensor, "b c_out *space"]:
        """Apply both layers."""
        first, second = self.first, self.second
        return pointwise_mlp(u, first.weight, first.bias, second.weight, second.bias)


def pointwise_mlp(
    u: Float[Tensor, "b c_in *space"],
    weight1: Float[Tensor, "hidden c_in"],
    bias1: Float[Tensor, " hidden"],
    weight2: Float[Tensor, "c_out hidden"],
    bias2: Float[Tensor, " c_out"],
) -> Float[Tensor, "b c_out *space"]:
    """`weight2 @ gelu(weight1 @ u + bias1) + bias2` at every grid point.

    The hidden layer is the widest tensor of a surrogate at full resolution. It is therefore
    made one sample at a time, and again in the backward pass: nothing but `u` is kept, and the
    scratch fits in the cache. First derivatives only; under autocast and in exported graphs the
    two layers are separate operations.
    """
    batch, channels, *space = u.shape
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(u.device.type):
        hidden = nn.functional.gelu(pointwise_linear(u, weight1, bias1))
        return pointwise_linear(hidden, weight2, bias2)
    flat = u.reshape(batch, channels, math.prod(space))
    result: Tensor = _SamplewiseMLP.apply(flat, weight1, bias1, weight2, bias2)  # type: ignore[no-untyped-call]  # torch
    return result.view(batch, weight2.shape[0], *space)


class _SamplewiseMLP(torch.autograd.Function):
    """Two pointwise layers, one sample at a time, the hidden layer recomputed in backward."""

    @staticmethod
    @override
    def forward(
        ctx: Any, u: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor
    ) -> Tensor:
        ctx.save_for_backward(u, weight1, bias1, weight2)
        result = u.new_empty(u.shape[0], weight2.shape[0], u.shape[2])
        hidden = u.new_empty(weight1.shape[0], u.shape[2])
        for sample, out in zip(u, result, strict=True):
            torch.addmm(bias1[:, None], weight1, sample, out=hidden)
            torch.addmm(bias2[:, None], weight2, gelu(hidden, out=hidden), out=out)
        return result

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        u, weight1, bias1, weight2 = ctx.saved_tensors
        grad_u = torch.empty_like(u)
        grad_weight1, grad_bias1 = torch.zeros_like(weight1), torch.zeros_like(bias1)
        grad_weight2 = torch.zeros_like(weight2)
        # Scratch is allocated once: fresh pages cost more than the arithmetic on them.
        hidden, active, grad_hidden = u.new_empty(3, weight1.shape[0], u.shape[2]).unbind()
        for sample, grad_out, grad_in in zip(u, gradient, grad_u, strict=True):
            torch.addmm(bias1[:, None], weight1, sample, out=hidden)
            grad_weight2.addmm_(grad_out, gelu(hidden, out=active).mT)
            torch.mm(weight2.mT, grad_out, out=active)
            gelu_backward(active, hidden, grad_input=grad_hidden)
            grad_weight1.addmm_(grad_hidden, sample.mT)
            grad_bias1 += grad_hidden.sum(1)
            torch.mm(weight1.mT, grad_hidden, out=grad_in)
        return grad_u, grad_weight1, grad_bias1, grad_weight2, gradient.sum((0, 2))
