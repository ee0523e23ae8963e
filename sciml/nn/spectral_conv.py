"""Fourier mixing layer: a learned matrix for each low Fourier mode.

On the grids of a surrogate a truncated Fourier transform is a few small real matrix products,
several times faster on a CPU than full transforms of which most is thrown away, and free of
complex numbers; `sciml.fft.truncated` chooses between the two.

Source: Li et al., Fourier Neural Operator for Parametric PDEs (ICLR 2021, arXiv 2010.08895),
eq. 4. Conventions of modes and normalisation: neuraloperator 2.0 (``norm="forward"``, signed
centred modes).
"""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from sciml.fft.truncated import analyse, kept_modes, synthesise
from sciml.nn.mode_mixing import mix_channels, scale_channels


@final
class SpectralConv(nn.Module):
    """`y = irfftn(W_f · rfftn(x)_f) + bias` over kept frequencies f, on 1-D, 2-D, 3-D grids.

    The transform is normalised by the number of points in analysis, so that the layer means the
    same operator on every grid. A grid with fewer frequencies than the layer uses those that it
    has. The imaginary part of the last axis' zero and Nyquist planes does not reach the real
    output.

    Only the truncated spectrum of the input is kept for the gradient. Derivatives of any order,
    forward mode and `torch.func` transformations work; a compiled or exported graph holds real
    matrix products only.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        num_modes: Kept modes per axis, counted as neuraloperator's `n_modes`: κ modes are the
            frequencies −⌊κ/2⌋ … ⌈κ/2⌉−1, and 0 … ⌊κ/2⌋ on the last axis. Odd numbers keep both
            signs of every frequency.
        bias: Whether to add a constant per output channel; it costs nothing (zero mode).
        separable: One factor per channel and mode instead of a matrix per mode.

    Attributes:
        weight: Real and imaginary part of the matrices, `(2, *modes, in_channels,
            out_channels)`, or of the factors, `(2, *modes, channels)`; frequencies in ascending
            order.

    Raises:
        ValueError: If the number of axes is not 1, 2 or 3, a size is not positive, or a
            separable layer would change the number of channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_modes: Sequence[int],
        bias: bool = True,
        *,
        separable: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= len(num_modes) <= 3 or min(in_channels, out_channels, *num_modes) < 1:
            raise ValueError(
                "SpectralConv: expected positive channels and positive modes on 1, 2 or 3 "
                f"axes, got {in_channels} to {out_channels} channels and num_modes="
                f"{tuple(num_modes)}; give one number of modes per axis"
            )
        if separable and in_channels != out_channels:
            raise ValueError(
                "SpectralConv: expected as many output as input channels of a separable layer, "
                f"got {in_channels} to {out_channels}; mix channels elsewhere"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.separable = separable
        self.num_modes = tuple(num_modes)
        self.kept = (*self.num_modes[:-1], self.num_modes[-1] // 2 + 1)
        channels = (in_channels,) if separable else (in_channels, out_channels)
        self.weight = nn.Parameter(torch.empty(2, *self.kept, *channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw matrices that keep the variance of a smooth field, as neuraloperator does."""
        std = math.sqrt(2 / (self.in_channels + self.out_channels))
        nn.init.normal_(self.weight, std=std / math.sqrt(2))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @override
    def forward(
        self, u: Float[Tensor, "b c_in *space"], output_shape: Sequence[int] | None = None
    ) -> Float[Tensor, "b c_out *out_space"]:
        """Mix the channels of every kept mode.

        Args:
            u: Periodic fields.
            output_shape: Points per axis of the result, those of `u` by default. On a change
                of grid only frequencies below the coarser grid's Nyquist frequency take part:
                the Nyquist mode itself means different functions on the two.

        Raises:
            ValueError: If channels or the number of axes differ from those of the layer.
        """
        space = tuple(u.shape[2:])
        target = space if output_shape is None else tuple(output_shape)
        if len(space) != len(self.kept) or u.shape[1] != self.in_channels:
            raise ValueError(
                f"SpectralConv: expected (batch, {self.in_channels}, *space) with "
                f"{len(self.kept)} spatial axes, got {tuple(u.shape)}; match the layer's "
                f"channels and axes"
            )
        if len(target) != len(space) or min(target) < 1:
            raise ValueError(
                f"SpectralConv: expected {len(space)} positive sizes as output_shape, got "
                f"{target}; give one per axis"
            )
        modes = self._modes_on(space, target)
        weight = self._weight_of(kept_modes(modes, space))
        # Products per mode stay in the dtype of the weights, as the transforms do.
        if torch.is_autocast_enabled(u.device.type):
            with torch.autocast(u.device.type, enabled=False):
                return self._apply_modes(u.to(weight.dtype), weight, modes, target)
        return self._apply_modes(u.to(weight.dtype), weight, modes, target)

    def _apply_modes(
        self, u: Tensor, weight: Tensor, modes: tuple[int, ...], target: tuple[int, ...]
    ) -> Tensor:
        """Analysis, a product per mode, synthesis."""
        spectrum = analyse(u, modes)
        kept = spectrum.shape[: len(modes)]
        mix = scale_channels if self.separable else mix_channels
        mixed = mix(
            spectrum.flatten(0, len(kept) - 1),
            weight.flatten(1, len(kept)),
            self.bias,
            _zero_mode(kept),
        )
        return synthesise(mixed.view(*kept, *mixed.shape[1:]), target)

    def load_neuraloperator(self, state: Mapping[str, Tensor]) -> None:
        """Take over the weights of neuraloperator's layer of the same name.

        Args:
            state: Its state dict, dense or separable: complex ``weight`` or ``weight.tensor``
                of shape (in, out, *modes) or (channels, *modes), and ``bias`` if there is one.

        Raises:
            ValueError: If an entry is missing, additional, or of another shape.
        """
        weight = state.get("weight.tensor", state.get("weight"))
        others = set(state) - {"weight.tensor", "weight", "bias"}
        channels = self.weight.shape[1 + len(self.kept) :]
        expected = (*channels, *self.kept)
        if weight is None or others or ("bias" in state) != (self.bias is not None):
            raise ValueError(
                f"load_neuraloperator: expected a dense weight and "
                f"{'a' if self.bias is not None else 'no'} bias, got {sorted(state)}; "
                "reconstruct factorised weights first"
            )
        if not weight.is_complex() or tuple(weight.shape) != expected:
            raise ValueError(
                f"load_neuraloperator: expected a complex weight of shape {expected}, got "
                f"{weight.dtype} {tuple(weight.shape)}; build both with the same modes"
            )
        lead = range(1, 1 + len(channels))
        with torch.no_grad():
            pairs = torch.view_as_real(weight).movedim(-1, 0)
            self.weight.copy_(pairs.movedim(tuple(lead), tuple(range(-len(channels), 0))))
            if self.bias is not None:
                self.bias.copy_(state["bias"].flatten())

    def _modes_on(self, space: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
        """The counts κ that both grids can hold."""
        if space == target:
            return self.num_modes
        # 2⌊(n-1)/2⌋ + 1 modes are those below the Nyquist frequency of n points.
        return tuple(
            min(k, 2 * ((min(n, m) - 1) // 2) + 1)
            for k, n, m in zip(self.num_modes, space, target, strict=True)
        )

    def _weight_of(self, kept: tuple[int, ...]) -> Tensor:
        """The matrices of the frequencies in use."""
        index: list[slice] = [slice(None)]
        for ours, k in zip(self.kept[:-1], kept[:-1], strict=True):
            start = ours // 2 - k // 2
            index.append(slice(start, start + k))
        index.append(slice(kept[-1]))
        return self.weight[tuple(index)]


def _zero_mode(kept: Sequence[int]) -> int:
    """Flat index of the constant mode."""
    zero_mode = 0
    for k in kept[:-1]:
        zero_mode = zero_mode * k + k // 2
    return zero_mode * kept[-1]
