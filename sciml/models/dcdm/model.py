"""The networks of the deep conjugate direction method."""

import math
from collections.abc import Callable, Iterable
from typing import TypeAlias, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from sciml.nn.model import SurrogateModel
from sciml.spec import DatasetSpec

RESIDUAL_FIELDS = ("residual",)
MASKED_FIELDS = ("residual", "solid", "fluid", "air")
"""Input fields of the two variants: blind to the geometry, or conditioned on its masks."""

_Convolution: TypeAlias = nn.Conv2d | nn.Conv3d
_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_POOLINGS: dict[int, Callable[[Tensor, int], Tensor]] = {
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


@final
class _Pair(nn.Module):
    """Two convolutions of three points per axis that keep width and grid."""

    def __init__(self, ndim: int, width: int) -> None:
        super().__init__()
        self.first = _convolution(ndim, width, width)
        self.second = _convolution(ndim, width, width)

    @override
    def forward(self, u: Tensor) -> Tensor:
        """k(k(u)) + u."""
        return _activated(self.second, _activated(self.first, u)) + u


@final
class DCDMNet(SurrogateModel):
    r"""Direction f(r / ‖r‖) ≈ c A⁻¹ r from a normalised residual, c ≠ 0 arbitrary.

    With k(x) = ReLU(conv(x)), all convolutions of three points per axis with zero padding:

    .. math::
        h &= \mathrm{conv}(x), \quad a = k(h), \quad b = k(a), \quad
            \text{then } a \gets k(b) + a, \; b \gets k(a) \\
        u &= \mathrm{pool}(b), \quad \text{then } v = k(u), \; u \gets k(v) + u \\
        w &= \mathrm{upsample}(u) + b, \quad \text{then } v = k(w), \; w \gets k(v) + w, \quad
        y = \mathrm{conv}_1(w)

    with average pooling by two and the nearest value on the way up. The receptive field covers
    43 cells (67 with the sizes of DCDM-128): the network is no inverse, long distances are left
    to the iteration around it.

    Args:
        ndim: Number of spatial axes, 2 or 3.
        in_channels: 1 for the residual alone; 4 with the masks of solid, fluid and air cells,
            beside which the residual is scaled from unit norm to unit mean square.
        hidden_channels: Width; 16 as published.
        num_fine_pairs: Pairs of convolutions before the pooling, the first one included.
        num_coarse_pairs: Residual pairs on the coarse grid.
        num_final_pairs: Residual pairs after the upsampling.

        The defaults are DCDM-64 (97,457 parameters in three dimensions, 32,657 in two), and 3,
        5, 3 pairs are DCDM-128 (152,881).

    Raises:
        ValueError: If a number is out of range.

    Source: Kaneda, Akar, Chen, Kala, Hyde, Teran, ICML 2023, arXiv:2205.10763; sizes and
    initialisation (Glorot's, zero bias) of the published code; the 2-D net trains much slower
    from torch's own. The masks are ours.
    """

    def __init__(
        self,
        ndim: int,
        *,
        in_channels: int = 1,
        hidden_channels: int = 16,
        num_fine_pairs: int = 2,
        num_coarse_pairs: int = 3,
        num_final_pairs: int = 2,
    ) -> None:
        super().__init__(in_channels, 1, ndim)
        counts = (hidden_channels, num_fine_pairs, num_coarse_pairs, num_final_pairs)
        if ndim not in _CONVOLUTIONS or in_channels not in (1, 4) or min(counts) < 1:
            raise ValueError(
                "DCDMNet: expected ndim 2 or 3, in_channels 1 (residual) or 4 (residual and "
                f"masks), and positive sizes, got ndim={ndim}, in_channels={in_channels}, "
                f"hidden_channels and pairs {counts}; correct them"
            )
        width = hidden_channels
        self.first = _convolution(ndim, in_channels, width)
        self.fine = nn.ModuleList(_Pair(ndim, width) for _ in range(num_fine_pairs))
        self.coarse = nn.Sequential(*(_Pair(ndim, width) for _ in range(num_coarse_pairs)))
        self.final = nn.Sequential(*(_Pair(ndim, width) for _ in range(num_final_pairs)))
        self.head = _convolution(ndim, width, 1, kernel_size=1)

    @classmethod
    @override
    def from_spec(
        cls,
        spec: DatasetSpec,
        *,
        hidden_channels: int = 16,
        num_fine_pairs: int = 2,
        num_coarse_pairs: int = 3,
        num_final_pairs: int = 2,
    ) -> "DCDMNet":
        """Build the net for right-hand sides of Poisson systems, with masks if they have them.

        Raises:
            ValueError: If the samples are something else or have another number of axes.
        """
        fields = tuple(field.name for field in spec.in_fields)
        if fields not in (RESIDUAL_FIELDS, MASKED_FIELDS):
            raise ValueError(
                f"DCDMNet: expected right-hand sides of Poisson systems, the field "
                f"{RESIDUAL_FIELDS[0]!r} or the fields {list(MASKED_FIELDS)}, got "
                f"{spec.name!r} with the fields {list(fields)}; choose a data set of systems"
            )
        network = cls(
            spec.ndim,
            in_channels=spec.in_channels,
            hidden_channels=hidden_channels,
            num_fine_pairs=num_fine_pairs,
            num_coarse_pairs=num_coarse_pairs,
            num_final_pairs=num_final_pairs,
        )
        network.check_resolution(spec.resolution)
        return network

    @override
    def check_resolution(self, space: tuple[int, ...]) -> None:
        """Raise ValueError, in words, for a grid with an odd number of cells along an axis."""
        if any(size % 2 for size in space):
            raise ValueError(
                "DCDMNet: expected an even number of cells along every axis, which the net "
                f"halves once, got {space}; pad the domain by a layer of solid cells"
            )

    @override
    def forward(
        self,
        u: Float[Tensor, "b c_in *space"],
        *,
        params: Float[Tensor, "b p"] | None = None,
        coords: Float[Tensor, "b n d"] | None = None,
    ) -> Float[Tensor, "b 1 *space"]:
        """The direction for each residual of unit norm.

        Raises:
            ValueError: On wrong channels or axes, odd sizes, parameters or coordinates.
            TypeError: On a dtype or device other than the network's.
        """
        self.check_input(u, params, coords)
        if self.in_channels > 1:
            # a residual of unit norm is small beside masks of ones, the more so on fine grids
            u = torch.cat([u[:, :1] * math.prod(u.shape[2:]) ** 0.5, u[:, 1:]], 1)
        a: Tensor | None = None
        b = _convolved(self.first, u)
        for pair in cast(Iterable[_Pair], self.fine):
            change = _activated(pair.first, b)
            a = change if a is None else change + a
            b = _activated(pair.second, a)
        coarse = self.coarse(_POOLINGS[b.ndim - 2](b, 2))
        return _convolved(
            self.head, self.final(functional.interpolate(coarse, scale_factor=2.0) + b)
        )


def _convolution(ndim: int, inputs: int, outputs: int, kernel_size: int = 3) -> _Convolution:
    convolution = _CONVOLUTIONS[ndim](inputs, outputs, kernel_size, padding=kernel_size // 2)
    nn.init.xavier_uniform_(convolution.weight)
    nn.init.zeros_(cast(Tensor, convolution.bias))
    return convolution


def _activated(convolution: _Convolution, x: Tensor) -> Tensor:
    return functional.relu(_convolved(convolution, x), inplace=True)


def _convolved(convolution: _Convolution, x: Tensor) -> Tensor:
    """The convolution; in two dimensions channels last, a third faster on CPUs."""
    if isinstance(convolution, nn.Conv3d):
        y: Tensor = convolution(x)
        return y
    weight = convolution.weight.contiguous(memory_format=torch.channels_last)
    return functional.conv2d(x, weight, convolution.bias, padding=convolution.padding)
