"""Low-rank weights of Fourier mixing: canonical polyadic and Tucker form.

A dense weight ``W[f, i, o]`` has a matrix for each kept mode f = (f_1, …, f_d). A factorised
one is kept as a few small complex factors. Mixing with it goes through fewer channels: project
the input channels, mix what is left mode by mode, expand to the output channels; or, if that is
more work, through the reconstructed matrices. `SpectralConv` takes any `ModeWeight`.

Complex factors are stored as real pairs, real and imaginary part leading.

Source: Kossaifi et al., Multi-Grid Tensorized Fourier Neural Operator (TMLR 2024, arXiv
2310.00120), section 3; Kolda and Bader, Tensor Decompositions and Applications (SIAM Review 51,
2009), sections 3 and 4.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from sciml.nn.mode_mixing import mix_channels, multiply_channels, scale_channels
from sciml.nn.tensor_rank import cp_rank, tucker_rank


class ModeWeight(nn.Module, ABC):
    """A weight of `SpectralConv` that is not a dense array.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        num_modes: Modes per axis, counted as by `SpectralConv`.

    Attributes:
        kept: Frequencies per axis, half of them on the last.

    Raises:
        ValueError: If the number of axes is not 1, 2 or 3 or a size is not positive.
    """

    def __init__(self, in_channels: int, out_channels: int, num_modes: Sequence[int]) -> None:
        super().__init__()
        if not 1 <= len(num_modes) <= 3 or min(in_channels, out_channels, *num_modes) < 1:
            raise ValueError(
                f"{type(self).__name__}: expected positive channels and positive modes on 1, 2 "
                f"or 3 axes, got {in_channels} to {out_channels} channels and num_modes="
                f"{tuple(num_modes)}; give one number of modes per axis"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kept = (*num_modes[:-1], num_modes[-1] // 2 + 1)

    @abstractmethod
    def mix(
        self, spectrum: Float[Tensor, "modes 2 b c_in"], window: Sequence[slice]
    ) -> Float[Tensor, "modes 2 b c_out"]:
        """Multiply every mode of a spectrum by its matrix.

        Args:
            spectrum: Amplitudes of the modes of `window`, real and imaginary part behind.
            window: Rows of each axis of modes that are in use.
        """

    @abstractmethod
    def reconstruct(
        self, window: Sequence[slice] | None = None
    ) -> Float[Tensor, "*modes 2 c_in c_out"]:
        """The dense weight of the modes of a window, of all modes by default."""

    @abstractmethod
    def reset_parameters(self) -> None:
        """Draw factors whose dense weight has the variance of `SpectralConv`'s."""


@final
class CPWeight(ModeWeight):
    """``W[f, i, o] = Σ_r λ_r A[i, r] B[o, r] ∏_a U_a[f_a, r]``.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        num_modes: Modes per axis, counted as by `SpectralConv`.
        rank: Number of terms, or a fraction of the dense weight's size, which the parameters
            then have.

    Raises:
        ValueError: If sizes or rank are out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_modes: Sequence[int],
        rank: int | float = 0.1,
    ) -> None:
        super().__init__(in_channels, out_channels, num_modes)
        sizes = (in_channels, out_channels, *self.kept)
        self.rank = cp_rank(sizes, rank)
        self.scale = nn.Parameter(torch.empty(2, self.rank))
        self.factors = nn.ParameterList(torch.empty(2, size, self.rank) for size in sizes)
        self.reset_parameters()

    @override
    def reset_parameters(self) -> None:
        """Draw factors whose dense weight has the variance of `SpectralConv`'s."""
        variance = 2 / (self.in_channels + self.out_channels) / self.rank
        _draw(self.factors, variance ** (1 / len(self.factors)))
        with torch.no_grad():
            self.scale.copy_(torch.tensor([[1.0], [0.0]]).expand_as(self.scale))

    @override
    def mix(
        self, spectrum: Float[Tensor, "modes 2 b c_in"], window: Sequence[slice]
    ) -> Float[Tensor, "modes 2 b c_out"]:
        """Multiply every mode of a spectrum by its matrix; see `ModeWeight.mix`."""
        batch = spectrum.shape[2]
        through_terms = batch * self.rank * (self.in_channels + self.out_channels)
        if through_terms > (self.rank + batch) * self.in_channels * self.out_channels:
            return mix_channels(spectrum, self.reconstruct(window).flatten(0, -4))
        terms = multiply_channels(spectrum, self.factors[0])
        scaled = scale_channels(terms, self._diagonals(window))
        return multiply_channels(scaled, self.factors[1].mT)

    @override
    def reconstruct(
        self, window: Sequence[slice] | None = None
    ) -> Float[Tensor, "*modes 2 c_in c_out"]:
        """The dense weight of the modes of a window, of all modes by default."""
        rows = [slice(None)] * len(self.kept) if window is None else window
        diagonals = self._diagonals(rows)
        # Rank-one terms stand in place of the batch: one row for each input channel.
        inputs = self.factors[0].expand(len(diagonals), -1, -1, -1)
        dense = multiply_channels(scale_channels(inputs, diagonals), self.factors[1].mT)
        return dense.view(*_lengths(self.kept, rows), *dense.shape[1:])

    def _diagonals(self, window: Sequence[slice]) -> Tensor:
        """``λ_r ∏_a U_a[f_a, r]`` as (modes, 2, rank)."""
        diagonal = self.scale.unsqueeze(1)
        for factor, rows in zip(list(self.factors)[2:], window, strict=True):
            product = _times(diagonal.unsqueeze(2), factor[:, rows].unsqueeze(1))
            diagonal = product.flatten(1, 2)
        return diagonal.transpose(0, 1)


@final
class TuckerWeight(ModeWeight):
    """``W[f, i, o] = Σ_{p, q, r} G[r_1, …, r_d, p, q] A[i, p] B[o, q] ∏_a U_a[f_a, r_a]``.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        num_modes: Modes per axis, counted as by `SpectralConv`.
        rank: Ranks of input channels, output channels and each axis of modes; one integer for
            all; or a fraction of the dense weight's size, which the parameters then have, in
            proportion to the sizes.

    Attributes:
        core: G, ``(2, *mode_ranks, in_rank, out_rank)``.

    Raises:
        ValueError: If sizes or ranks are out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_modes: Sequence[int],
        rank: int | float | Sequence[int] = 0.1,
    ) -> None:
        super().__init__(in_channels, out_channels, num_modes)
        sizes = (in_channels, out_channels, *self.kept)
        self.rank = tucker_rank(sizes, rank)
        self.core = nn.Parameter(torch.empty(2, *self.rank[2:], *self.rank[:2]))
        self.factors = nn.ParameterList(
            torch.empty(2, size, each) for size, each in zip(sizes, self.rank, strict=True)
        )
        self.reset_parameters()

    @override
    def reset_parameters(self) -> None:
        """Draw factors whose dense weight has the variance of `SpectralConv`'s."""
        variance = 2 / (self.in_channels + self.out_channels) / math.prod(self.rank)
        _draw([self.core, *self.factors], variance ** (1 / (len(self.factors) + 1)))

    @override
    def mix(
        self, spectrum: Float[Tensor, "modes 2 b c_in"], window: Sequence[slice]
    ) -> Float[Tensor, "modes 2 b c_out"]:
        """Multiply every mode of a spectrum by its matrix; see `ModeWeight.mix`."""
        (p, q), c_in, c_out = self.rank[:2], self.in_channels, self.out_channels
        batch = spectrum.shape[2]
        through_ranks = batch * (c_in * p + p * q + q * c_out)
        if through_ranks > batch * c_in * c_out + p * q * c_out + p * c_in * c_out:
            return mix_channels(spectrum, self.reconstruct(window).flatten(0, -4))
        projected = multiply_channels(spectrum, self.factors[0])
        mixed = mix_channels(projected, self._matrices(window))
        return multiply_channels(mixed, self.factors[1].mT)

    @override
    def reconstruct(
        self, window: Sequence[slice] | None = None
    ) -> Float[Tensor, "*modes 2 c_in c_out"]:
        """The dense weight of the modes of a window, of all modes by default."""
        rows = [slice(None)] * len(self.kept) if window is None else window
        expanded = multiply_channels(self._matrices(rows), self.factors[1].mT)
        dense = multiply_channels(expanded.mT, self.factors[0].mT).mT.contiguous()
        return dense.view(*_lengths(self.kept, rows), *dense.shape[1:])

    def _matrices(self, window: Sequence[slice]) -> Tensor:
        """The core at each mode, ``(modes, 2, in_rank, out_rank)``."""
        modes, matrices = 1, self.core.flatten(1)
        for factor, rows in zip(list(self.factors)[2:], window, strict=True):
            unfolded = matrices.view(2, modes, factor.shape[2], -1)
            matrices = _matmul(factor[:, rows].unsqueeze(1), unfolded)
            modes *= matrices.shape[2]
        return matrices.view(2, modes, *self.rank[:2]).transpose(0, 1).contiguous()


def _draw(factors: Sequence[Tensor] | nn.ParameterList, variance: float) -> None:
    """Complex normal numbers of that variance, half of it in each part."""
    for factor in factors:
        nn.init.normal_(factor, std=math.sqrt(variance / 2))


def _lengths(kept: Sequence[int], window: Sequence[slice]) -> list[int]:
    """Modes of each axis in a window."""
    return [len(range(k)[rows]) for k, rows in zip(kept, window, strict=True)]


def _times(a: Tensor, b: Tensor) -> Tensor:
    """Elementwise complex product of pairs (2, …)."""
    return torch.stack([a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]])


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    """Complex matrix product of pairs (2, …, m, k) and (2, …, k, n)."""
    return torch.stack([a[0] @ b[0] - a[1] @ b[1], a[0] @ b[1] + a[1] @ b[0]])
