"""Fourier mixing layer: a learned matrix for each low Fourier mode.

On the grids of a surrogate a truncated Fourier transform is a few small real matrix products,
several times faster on a CPU than full transforms of which most is thrown away, and free of
complex numbers.

Source: Li et al., Fourier Neural Operator for Parametric PDEs (ICLR 2021, arXiv 2010.08895),
eq. 4. Conventions of modes and normalisation: neuraloperator 2.0 (``norm="forward"``, signed
centred modes).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override


@final
class SpectralConv(nn.Module):
    """`y = irfftn(W_f · rfftn(x)_f) + bias` over kept frequencies f, on 1-D, 2-D, 3-D grids.

    The transform is normalised by the number of points in analysis, so that the layer means the
    same operator on every grid. A grid with fewer frequencies than the layer uses those that it
    has. The imaginary part of the last axis' zero and Nyquist planes does not reach the real
    output.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        num_modes: Kept modes per axis, counted as neuraloperator's `n_modes`: κ modes are the
            frequencies −⌊κ/2⌋ … ⌈κ/2⌉−1, and 0 … ⌊κ/2⌋ on the last axis. Odd numbers keep both
            signs of every frequency.
        bias: Whether to add a constant per output channel; it costs nothing (zero mode).

    Attributes:
        weight: Real and imaginary part of the matrices, `(2, *modes, in_channels,
            out_channels)`, frequencies in ascending order.

    Raises:
        ValueError: If the number of axes is not 1, 2 or 3, or a size is not positive.
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_modes: Sequence[int], bias: bool = True
    ) -> None:
        super().__init__()
        if not 1 <= len(num_modes) <= 3 or min(in_channels, out_channels, *num_modes) < 1:
            raise ValueError(
                "SpectralConv: expected positive channels and positive modes on 1, 2 or 3 "
                "axes, got "
                f"{in_channels} to {out_channels} channels and num_modes={tuple(num_modes)}; "
                f"give "
                "one number of modes per axis"
            )
        self.num_modes = tuple(num_modes)
        self.kept = (*self.num_modes[:-1], self.num_modes[-1] // 2 + 1)
        self.weight = nn.Parameter(torch.empty(2, *self.kept, in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw matrices that keep the variance of a smooth field, as neuraloperator does."""
        in_channels, out_channels = self.weight.shape[-2:]
        std = math.sqrt(2 / (in_channels + out_channels))
        nn.init.normal_(self.weight, std=std / math.sqrt(2))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @override
    def forward(self, u: Float[Tensor, "b c_in *space"]) -> Float[Tensor, "b c_out *space"]:
        """Mix the channels of every kept mode.

        Raises:
            ValueError: If channels or the number of axes differ from those of the layer.
        """
        space = tuple(u.shape[2:])
        if len(space) != len(self.kept) or u.shape[1] != self.weight.shape[-2]:
            raise ValueError(
                f"SpectralConv: expected (batch, {self.weight.shape[-2]}, *space) with "
                f"{len(self.kept)} spatial axes, got {tuple(u.shape)}; match the layer's "
                f"channels and axes"
            )
        weight = self._weight_on(space)
        # Sums over the whole grid lose too many digits in half precision under autocast.
        with torch.autocast(u.device.type, enabled=False):
            u = u.to(weight.dtype).contiguous()
            modes = tuple(weight.shape[1:-2])
            weight = weight.flatten(1, -3)
            if torch.compiler.is_compiling():  # plain operations for torch.export
                return _mix(u, weight, self.bias, modes)[0]
            result: Tensor = _FourierMixing.apply(u, weight, self.bias, modes)  # type: ignore[no-untyped-call]  # torch
        return result

    def _weight_on(self, space: tuple[int, ...]) -> Tensor:
        """The matrices of the frequencies that a grid has."""
        index: list[slice] = [slice(None)]
        for kept, n in zip(self.kept[:-1], space[:-1], strict=True):
            start = kept // 2 - min(kept, n) // 2
            index.append(slice(start, start + min(kept, n)))
        index.append(slice(min(self.kept[-1], space[-1] // 2 + 1)))
        return self.weight[tuple(index)]


class _Axis(NamedTuple):
    """Real matrices of the truncated transform on one axis: n points, k kept modes."""

    analysis_real: Tensor
    """(2k, n): real and imaginary part of the coefficients from the real part of a signal."""
    analysis_imag: Tensor
    """(2k, n): the same from its imaginary part."""
    synthesis: Tensor
    """(2, 2k, n): real and imaginary part of a signal from its coefficients."""


class _Basis(NamedTuple):
    """Matrices of all axes; the last one has a real signal and frequencies 0 … k−1."""

    others: tuple[_Axis, ...]
    last: Tensor
    """(2k, n): cosines, then minus sines."""
    weights: Tensor
    """(2k, 1): times a coefficient occurs in the full spectrum, 1 or 2."""
    zero_mode: int
    """Flat index of the constant mode."""


def _phases(frequencies: range, num_points: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2π f j / n in float64, exact where they are 0 or ±1."""
    table = 2 * math.pi / num_points * torch.arange(num_points, dtype=torch.float64)
    cosine, sine = table.cos(), table.sin()
    # Zeros of both, which rounding of π would leave at 1e-16: Nyquist rows have to drop out
    # exactly.
    cosine[cosine.abs() < 1e-14] = 0.0
    sine[sine.abs() < 1e-14] = 0.0
    index = torch.tensor([[f * j % num_points for j in range(num_points)] for f in frequencies])
    return cosine[index], sine[index]


def _build_basis(
    space: tuple[int, ...], modes: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> _Basis:
    others = []
    for n, k in zip(space[:-1], modes[:-1], strict=True):
        cosine, sine = _phases(range(-(k // 2), k - k // 2), n)
        others.append(
            _Axis(
                torch.cat([cosine, -sine]).to(device, dtype),
                torch.cat([sine, cosine]).to(device, dtype),
                torch.stack([torch.cat([cosine, -sine]), torch.cat([sine, cosine])]).to(
                    device, dtype
                ),
            )
        )
    n, k = space[-1], modes[-1]
    cosine, sine = _phases(range(k), n)
    weights = torch.full((k, 1), 2.0, dtype=torch.float64)
    weights[0] = 1.0
    if 2 * (k - 1) == n:
        weights[-1] = 1.0
    zero_mode = 0
    for m in modes[:-1]:
        zero_mode = zero_mode * m + m // 2
    return _Basis(
        tuple(others),
        torch.cat([cosine, -sine]).to(device, dtype),
        torch.cat([weights, weights]).to(device, dtype),
        zero_mode * k,
    )


_cached_basis = lru_cache(maxsize=64)(_build_basis)


def _basis(
    space: tuple[int, ...], modes: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> _Basis:
    # Tensors made while a graph is traced belong to that graph and must not be kept.
    if torch.compiler.is_compiling():
        return _build_basis(space, modes, dtype, device)
    with torch.inference_mode(False):
        return _cached_basis(space, modes, dtype, device)


def _analyse(u: Tensor, basis: _Basis, last: Tensor) -> Tensor:
    """Coefficients (2, *modes, b, c) of fields (b, c, *space).

    Each product transforms the axis that is last and puts its modes in front, so that the order
    ends frequency-major without any permutation.
    """
    batch, channels, *space = u.shape
    z = torch.mm(last, u.view(-1, space[-1]).mT)
    for axis, n in zip(reversed(basis.others), reversed(space[:-1]), strict=True):
        parts = z.view(2, -1, n)
        z = torch.mm(axis.analysis_real, parts[0].mT).addmm_(axis.analysis_imag, parts[1].mT)
    return z.view(2, -1, batch, channels)


def _synthesise(spectrum: Tensor, basis: _Basis, last: Tensor, space: Sequence[int]) -> Tensor:
    """Fields (b, c, *space) from coefficients (2, *modes, b, c): transpose of `_analyse`."""
    _, _, batch, channels = spectrum.shape
    z = spectrum
    for axis in basis.others:
        rows = z.view(axis.synthesis.shape[1], -1).mT
        z = torch.cat([torch.mm(rows, part) for part in axis.synthesis])
    return torch.mm(z.view(last.shape[0], -1).mT, last).view(batch, channels, *space)


def _mix(
    u: Tensor, weight: Tensor, bias: Tensor | None, modes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The layer's output and the truncated spectrum (2, *modes, b, c) of its input."""
    space = tuple(u.shape[2:])
    basis = _basis(space, modes, u.dtype, u.device)
    x = _analyse(u, basis, basis.last / math.prod(space))
    real = torch.bmm(x[0], weight[0]).baddbmm_(x[1], weight[1], alpha=-1)
    imag = torch.bmm(x[0], weight[1]).baddbmm_(x[1], weight[0])
    if bias is not None:
        real[basis.zero_mode] += bias
    y = torch.stack([real, imag])
    return _synthesise(y, basis, basis.last * basis.weights, space), x


class _FourierMixing(torch.autograd.Function):
    """Analysis, a product per mode, synthesis; keeps the truncated spectrum, not the field."""

    @staticmethod
    @override
    def forward(
        ctx: Any, u: Tensor, weight: Tensor, bias: Tensor | None, modes: tuple[int, ...]
    ) -> Tensor:
        result, x = _mix(u, weight, bias, modes)
        ctx.save_for_backward(x, weight)
        ctx.space, ctx.modes, ctx.has_bias = tuple(u.shape[2:]), modes, bias is not None
        return result

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        basis = _basis(ctx.space, ctx.modes, x.dtype, x.device)
        g = _analyse(gradient.contiguous(), basis, basis.last * basis.weights)
        grad_bias = g[0, basis.zero_mode].sum(0) if ctx.has_bias else None
        grad_weight = torch.empty_like(weight)
        adjoint = x.mT
        torch.bmm(adjoint[0], g[0], out=grad_weight[0]).baddbmm_(adjoint[1], g[1])
        torch.bmm(adjoint[0], g[1], out=grad_weight[1]).baddbmm_(adjoint[1], g[0], alpha=-1)
        grad_x = torch.empty_like(x)
        transposed = weight.mT
        torch.bmm(g[0], transposed[0], out=grad_x[0]).baddbmm_(g[1], transposed[1])
        torch.bmm(g[1], transposed[0], out=grad_x[1]).baddbmm_(g[0], transposed[1], alpha=-1)
        grad_u = _synthesise(grad_x, basis, basis.last / math.prod(ctx.space), ctx.space)
        return grad_u, grad_weight, grad_bias, None
