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

from sciml.fft.truncated import analyse, synthesise
from sciml.nn.factorized import ModeWeight
from sciml.nn.mode_mixing import add_constant, mix_channels, scale_channels


@final
class SpectralConv(nn.Module):
    """`y = irfftn(W_f · rfftn(x)_f) + bias` over kept frequencies f, on 1-D, 2-D, 3-D grids.

    The transform is normalised by the number of points in analysis, so that the layer means the
    same operator on every grid. A grid with fewer frequencies than the layer uses those that it
    has. The imaginary part of the last axis' zero and Nyquist planes does not reach the real
    output.

    With a dense weight, only the truncated spectrum of the input is kept for the gradient.
    Derivatives of any order, forward mode and `torch.func` transformations work; a compiled or
    exported graph holds real matrix products only.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        num_modes: Kept modes per axis, counted as neuraloperator's `n_modes`: κ modes are the
            frequencies −⌊κ/2⌋ … ⌈κ/2⌉−1, and 0 … ⌊κ/2⌋ on the last axis. Odd numbers keep both
            signs of every frequency.
        bias: Whether to add a constant per output channel; it costs nothing (zero mode).
        separable: One factor per channel and mode instead of a matrix per mode.
        weight: The matrices in another form than a dense array, of the same channels and
            modes, for instance a `CPWeight` or a `TuckerWeight`. Layers may share it.

    Attributes:
        weight: Real and imaginary part of the matrices, `(*modes, 2, in_channels,
            out_channels)`, or of the factors, `(*modes, 2, channels)`; frequencies in ascending
            order. Or the `ModeWeight`.

    Raises:
        ValueError: If the number of axes is not 1, 2 or 3, a size is not positive, a separable
            layer would change the number of channels or has a weight of another form, or that
            does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_modes: Sequence[int],
        bias: bool = True,
        *,
        separable: bool = False,
        weight: ModeWeight | None = None,
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
        if weight is not None:
            self._check_weight(weight)
        self.weight: nn.Parameter | ModeWeight
        self.weight = weight or nn.Parameter(torch.empty(*self.kept, 2, *channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw matrices that keep the variance of a smooth field, as neuraloperator does.

        A weight in another form has been drawn where it was made.
        """
        std = math.sqrt(2 / (self.in_channels + self.out_channels))
        if not isinstance(self.weight, ModeWeight):
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
        u = u.to(next(self.parameters()).dtype)
        # Products per mode stay in the dtype of the weights, as the transforms do.
        if torch.is_autocast_enabled(u.device.type):
            with torch.autocast(u.device.type, enabled=False):
                return self._apply_modes(u, modes, target)
        return self._apply_modes(u, modes, target)

    def _apply_modes(
        self, u: Tensor, modes: tuple[int, ...], target: tuple[int, ...]
    ) -> Tensor:
        """Analysis, a product per mode, synthesis."""
        spectrum = analyse(u, modes)
        kept = tuple(spectrum.shape[: len(modes)])
        rows = spectrum.flatten(0, len(kept) - 1)
        window, zero_mode = self._window(kept), _zero_mode(kept)
        weight, bias = self.weight, self.bias
        if isinstance(weight, ModeWeight):
            mixed = weight.mix(rows, window)
        elif self.separable:
            mixed = scale_channels(rows, weight[window].flatten(0, len(kept) - 1))
        else:
            matrices = weight[window].flatten(0, len(kept) - 1)
            mixed, bias = mix_channels(rows, matrices, bias, zero_mode), None
        if bias is not None:
            mixed = add_constant(mixed, bias, zero_mode)
        return synthesise(mixed.view(*kept, *mixed.shape[1:]), target)

    def load_neuraloperator(self, state: Mapping[str, Tensor]) -> None:
        """Take over the weights of neuraloperator's layer of the same name.

        Args:
            state: Its state dict, dense or separable: complex ``weight`` or ``weight.tensor``
                of shape (in, out, *modes) or (channels, *modes), and ``bias`` if there is one.

        Raises:
            TypeError: If this layer's weight is factorised.
            ValueError: If an entry is missing, additional, or of another shape.
        """
        if isinstance(self.weight, ModeWeight):
            raise TypeError(
                "load_neuraloperator: expected a layer with a dense or separable weight, got "
                f"{type(self.weight).__name__}; build the layer without `weight`"
            )
        weight = state.get("weight.tensor", state.get("weight"))
        others = set(state) - {"weight.tensor", "weight", "bias"}
        channels = self.weight.shape[len(self.kept) + 1 :]
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
        lead = range(len(channels))
        with torch.no_grad():
            pairs = torch.view_as_real(weight)
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

    def _window(self, kept: tuple[int, ...]) -> tuple[slice, ...]:
        """Where the frequencies in use stand among those of the layer."""
        if kept == self.kept:
            return (slice(None),) * len(kept)
        starts = [ours // 2 - k // 2 for ours, k in zip(self.kept[:-1], kept[:-1], strict=True)]
        return tuple(slice(i, i + k) for i, k in zip([*starts, 0], kept, strict=True))

    def _check_weight(self, weight: ModeWeight) -> None:
        """A weight of another form has to be made for the same layer."""
        ours = (self.in_channels, self.out_channels, self.kept)
        theirs = (weight.in_channels, weight.out_channels, weight.kept)
        if self.separable or ours != theirs:
            raise ValueError(
                f"SpectralConv: expected a weight from {ours[0]} to {ours[1]} channels with "
                f"{ours[2]} kept modes and separable=False, got one from {theirs[0]} to "
                f"{theirs[1]} with {theirs[2]} and separable={self.separable}; build both "
                "with the same sizes"
            )


def _zero_mode(kept: Sequence[int]) -> int:
    """Flat index of the constant mode."""
    zero_mode = 0
    for k in kept[:-1]:
        zero_mode = zero_mode * k + k // 2
    return zero_mode * kept[-1]
