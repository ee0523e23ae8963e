"""Fourier neural operator: lifting, Fourier mixing blocks, projection.

Source: Li et al., Fourier Neural Operator for Parametric PDEs (ICLR 2021, arXiv 2010.08895),
§4. Deviations: a residual connection around each block with a second pointwise map (Tran et
al., Factorized Fourier Neural Operators, ICLR 2023, arXiv 2111.13802, eq. 8), sine and cosine
of the coordinates on periodic axes, odd mode counts that keep both signs of each frequency.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from sciml.nn.fourier_block import FourierBlock
from sciml.nn.grid import coordinate_channels
from sciml.nn.mlp import PointwiseMLP
from sciml.nn.model import SurrogateModel
from sciml.spec import DatasetSpec


@final
class FNO(SurrogateModel):
    """Fourier neural operator on 1-D, 2-D and 3-D grids of any size.

    Periodic axes are used as they are. A bounded axis is extended by `padding` of its length
    with zeros behind its upper end, so that the periodic transform does not tie its two ends
    together; the extension is cut off before the projection.

    Args:
        in_channels: Input channels (history times fields).
        out_channels: Output channels.
        num_modes: Fourier modes κ per axis, counted as by `SpectralConv`; odd counts 2m − 1
            keep the frequencies |f| < m. The number of entries is the number of axes.
        hidden_channels: Width of the blocks; 24 fits minutes on a CPU.
        num_layers: Blocks; four in the paper.
        head_channels: Hidden width of lifting and projection.
        periodic: Whether each axis is periodic; all by default.
        padding: Extension of a bounded axis as a fraction of its length.
        separable: Whether the Fourier mixing has no channel matrix (fewer parameters).

    Raises:
        ValueError: If the arguments do not fit together, in words.

    Source: Li et al. (ICLR 2021, arXiv 2010.08895), §4; see the module for deviations.
    """

    def __init__(  # noqa: PLR0913  every argument is one concept of the method
        self,
        in_channels: int,
        out_channels: int,
        num_modes: Sequence[int] = (31, 31),
        hidden_channels: int = 24,
        num_layers: int = 4,
        head_channels: int = 48,
        periodic: Sequence[bool] | None = None,
        padding: float = 0.125,
        separable: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, len(num_modes))
        axes = len(num_modes)
        self.periodic = (True,) * axes if periodic is None else tuple(periodic)
        self.padding = padding
        if len(self.periodic) != axes or not 0 <= padding <= 1:
            raise ValueError(
                f"FNO: expected one periodic flag for each of {axes} axes and padding in "
                f"[0, 1], got periodic={self.periodic}, padding={padding}; describe every axis"
            )
        if min(hidden_channels, num_layers, head_channels) < 1:
            raise ValueError(
                "FNO: expected positive hidden_channels, num_layers and head_channels, got "
                f"{hidden_channels}, {num_layers}, {head_channels}; raise the smallest"
            )
        coordinates = sum(2 if closed else 1 for closed in self.periodic)
        self.lift = PointwiseMLP(in_channels + coordinates, head_channels, hidden_channels)
        self.blocks = nn.ModuleList(
            FourierBlock(hidden_channels, num_modes, separable=separable)
            for _ in range(num_layers)
        )
        self.head = PointwiseMLP(hidden_channels, head_channels, out_channels)

    @classmethod
    @override
    def from_spec(
        cls, spec: DatasetSpec, *, num_modes: int | Sequence[int] = 31, **hyper: Any
    ) -> "FNO":
        """Build the model for a data set; `hyper` are further constructor arguments.

        Args:
            spec: Description of the data set.
            num_modes: Modes on each axis, or one number for all.
            **hyper: Further constructor arguments.

        Raises:
            ValueError: If there is not one number of modes per axis.
        """
        modes = (num_modes,) * spec.ndim if isinstance(num_modes, int) else tuple(num_modes)
        if len(modes) != spec.ndim:
            raise ValueError(
                f"FNO: expected modes for the {spec.ndim} axes {spec.axes} of {spec.name!r}, "
                f"got {modes}; give one number, or one per axis"
            )
        return cls(spec.in_channels, spec.out_channels, modes, periodic=spec.periodic, **hyper)

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
        grid = coordinate_channels(space, self.periodic, u).expand(u.shape[0], -1, *space)
        v = self.lift(torch.cat([u, grid], dim=1))
        extension = [
            0 if closed else round(self.padding * n)
            for n, closed in zip(space, self.periodic, strict=True)
        ]
        if any(extension):
            # `pad` counts from the last axis, low and high end of each.
            v = functional.pad(v, [side for n in reversed(extension) for side in (0, n)])
        for block in self.blocks:
            v = block(v)
        for axis, n in enumerate(space):
            v = v.narrow(2 + axis, 0, n)
        result: Tensor = self.head(v)
        return result
