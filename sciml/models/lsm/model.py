"""The default Latent Spectral Model: Fourier mixing, and latent blocks on the coarse levels.

It keeps the published idea (a hierarchy of grids, latent tokens per patch, a trigonometric
series as solver in latent space) and replaces what costs time or accuracy on periodic problems:
convolutions become Fourier mixing, the flow is computed on a 32-point grid whatever the data's
resolution, skips are added, tokens start orthogonal, attention is scaled, and every latent
block starts as the identity.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from sciml.fft.resample import fourier_resample
from sciml.models.lsm.layers import DoubleGrid, HalveGrid, LatentBlock
from sciml.nn.fourier_block import FourierBlock
from sciml.nn.grid import coordinate_channels
from sciml.nn.mlp import PointwiseMLP
from sciml.nn.model import SurrogateModel
from sciml.spec import DatasetSpec

LIFT_CHANNELS = 48
HEAD_CHANNELS = 64


@final
class LSM(SurrogateModel):
    """Latent Spectral Model for periodic grids in 1-D, 2-D and 3-D.

    The input is resampled by Fourier to the latent grid, joined with sin and cos of the
    coordinates and lifted; one Fourier residual block per level and side, strided convolutions
    down, transposed ones up, added skips with a `LatentBlock` on the levels in `block_levels`;
    a pointwise head; the result is resampled to the grid of the input.

    Args:
        in_channels: Input channels (history times fields).
        out_channels: Output channels.
        ndim: Number of spatial axes, 1 to 3.
        hidden_channels: Width of each level, finest first.
        num_modes: Fourier modes per axis of each level, counted as by `SpectralConv`; odd
            counts 2m − 1 keep the frequencies |f| < m.
        latent_resolution: Points per axis of the finest level, whatever the grid of the data;
            None works on the grid itself. 32 holds everything that a smooth flow has.
        latent_block: False leaves the latent blocks out (the ablation).
        block_levels: Levels whose skip has a latent block.
        num_tokens: Latent tokens T per patch.
        num_bases: Terms M of the trigonometric series.
        patch: Points of a patch along each axis.
        num_heads: Attention heads of a latent block.

    Raises:
        ValueError: If the arguments do not fit together, in words.

    Source: Wu et al. (ICML 2023, arXiv 2301.12664) for the latent block and the hierarchy.
    """

    def __init__(  # noqa: PLR0913  every argument is one concept of the method
        self,
        in_channels: int,
        out_channels: int,
        ndim: int = 2,
        hidden_channels: Sequence[int] = (24, 36, 48),
        num_modes: Sequence[int] = (15, 11, 5),
        latent_resolution: int | None = 32,
        latent_block: bool = True,
        block_levels: Sequence[int] = (1, 2),
        num_tokens: int = 4,
        num_bases: int = 8,
        patch: int = 4,
        num_heads: int = 4,
    ) -> None:
        super().__init__(in_channels, out_channels, ndim)
        self.hidden_channels, self.num_modes = tuple(hidden_channels), tuple(num_modes)
        self.block_levels = tuple(block_levels) if latent_block else ()
        self.patch, self.latent_resolution = patch, latent_resolution
        self._check_arguments(num_tokens, num_bases, num_heads)
        if latent_resolution is not None:
            self._check_latent_grid((latent_resolution,) * ndim)
        widths = self.hidden_channels
        modes = [(count,) * ndim for count in self.num_modes]
        pairs = list(pairwise(widths))
        self.lift = PointwiseMLP(in_channels + 2 * ndim, LIFT_CHANNELS, widths[0])
        self.encoder = nn.ModuleList(map(FourierBlock, widths, modes))
        self.decoder = nn.ModuleList(map(FourierBlock, widths[:-1], modes[:-1]))
        self.down = nn.ModuleList(HalveGrid(a, b, ndim) for a, b in pairs)
        self.up = nn.ModuleList(DoubleGrid(b, a, ndim) for a, b in pairs)
        self.blocks = nn.ModuleDict(
            {
                str(level): LatentBlock(
                    widths[level], ndim, num_tokens, num_bases, patch, num_heads
                )
                for level in self.block_levels
            }
        )
        self.head = PointwiseMLP(widths[0], HEAD_CHANNELS, out_channels)

    @classmethod
    @override
    def from_spec(cls, spec: DatasetSpec, **hyper: Any) -> "LSM":
        """Build the model for a periodic data set; `hyper` are further constructor arguments.

        Raises:
            ValueError: If an axis is not periodic.
        """
        if not all(spec.periodic):
            bounded = [a for a, p in zip(spec.axes, spec.periodic, strict=True) if not p]
            raise ValueError(
                f"LSM: expected a domain that is periodic on all axes, got {spec.name!r} with "
                f"bounded axes {bounded}; the default mode mixes Fourier modes, use "
                f"model/lsm_mode=published instead"
            )
        return cls(spec.in_channels, spec.out_channels, spec.ndim, **hyper)

    @override
    def check_resolution(self, space: tuple[int, ...]) -> None:
        """Raise ValueError, in words, for a grid that the model cannot take."""
        if self.latent_resolution is None:
            self._check_latent_grid(space)

    @override
    def forward(
        self,
        u: Float[Tensor, "b c_in *space"],
        *,
        params: Float[Tensor, "b p"] | None = None,
        coords: Float[Tensor, "b n d"] | None = None,
    ) -> Float[Tensor, "b c_out *space"]:
        """Predict the output fields on the grid of the input."""
        self.check_input(u, params, coords)
        space = tuple(u.shape[2:])
        latent = space
        if self.latent_resolution is not None:
            latent = (self.latent_resolution,) * len(space)
            u = fourier_resample(u, latent)
        periodic = (True,) * len(latent)
        waves = coordinate_channels(latent, periodic, u).expand(u.shape[0], -1, *latent)
        h = self.lift(torch.cat([u, waves], dim=1))
        skips = []
        for level, residual in enumerate(self.encoder):
            h = residual(h)
            skips.append(self.blocks[str(level)](h) if level in self.block_levels else h)
            if level < len(self.down):
                h = self.down[level](h)
        h = skips.pop()
        for level in reversed(range(len(self.up))):
            h = self.decoder[level](self.up[level](h) + skips[level])
        return fourier_resample(self.head(h), space)

    def _check_arguments(self, num_tokens: int, num_bases: int, num_heads: int) -> None:
        levels = len(self.hidden_channels)
        if self.ndim not in (1, 2, 3):
            raise ValueError(
                f"LSM: expected 1, 2 or 3 spatial axes, got {self.ndim}; use a grid"
            )
        if not levels or len(self.num_modes) != levels:
            raise ValueError(
                f"LSM: expected one num_modes for each level, got {levels} hidden_channels "
                f"{self.hidden_channels} and num_modes {self.num_modes}; give both the same "
                f"length"
            )
        counts = (
            *self.hidden_channels,
            *self.num_modes,
            num_tokens,
            num_bases,
            num_heads,
            self.patch,
        )
        if min(counts) < 1:
            raise ValueError(
                "LSM: expected positive hidden_channels, num_modes, num_tokens, num_bases, "
                f"num_heads and patch, got {counts} in this order; raise the smallest"
            )
        wrong = [level for level in self.block_levels if not 0 <= level < levels]
        if wrong:
            raise ValueError(
                f"LSM: expected block_levels between 0 and {levels - 1}, got "
                f"{self.block_levels}; "
                f"leave out {wrong} or add levels to hidden_channels"
            )
        for level in self.block_levels:
            if self.hidden_channels[level] % num_heads:
                raise ValueError(
                    f"LSM: expected a width that is a multiple of the {num_heads} heads on "
                    f"level {level}, "
                    f"got hidden_channels {self.hidden_channels}; change the width or num_heads"
                )

    def _check_latent_grid(self, grid: Sequence[int]) -> None:
        levels = len(self.hidden_channels)
        factor = 2 ** (levels - 1)
        if any(n % factor for n in grid):
            raise ValueError(
                f"LSM: expected a grid that can be halved {levels - 1} times for {levels} "
                f"levels, got "
                f"{tuple(grid)}; use multiples of {factor}, set latent_resolution, or drop "
                f"levels"
            )
        for level, modes in enumerate(self.num_modes):
            coarse = tuple(n // 2**level for n in grid)
            if modes > min(coarse):
                raise ValueError(
                    f"LSM: expected at most {min(coarse)} modes on level {level}, whose grid "
                    f"is {coarse}, "
                    f"got num_modes {self.num_modes}; keep fewer modes or use a finer grid"
                )
            if level in self.block_levels and any(n % self.patch for n in coarse):
                raise ValueError(
                    f"LSM: expected a grid that is a multiple of the patch {self.patch} on "
                    f"level {level}, "
                    f"got {coarse}; change patch, block_levels or the grid"
                )
