"""Truncated spectra of real periodic fields: two back ends under one contract.

`analyse` gives the amplitudes of the low frequencies of a field, `synthesise` evaluates a
truncated Fourier series on any grid. Both are linear; each one's derivative is the other with
other weights, so that they can be differentiated any number of times and keep nothing for it.

Layout of a spectrum: ``(*modes, 2, *batch)``: frequencies lead, then real and imaginary part,
the batch is innermost. κ modes of an axis are the frequencies -⌊κ/2⌋ … ⌈κ/2⌉-1 in ascending
order; the last axis, whose negative frequencies follow from the field being real, has
0 … ⌊κ/2⌋ (neuraloperator's count). The imaginary parts of the zero and, on an even grid, the
Nyquist frequency of the last axis do not reach a real field.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.fft.truncated_basis import Basis, Weighting, basis
from sciml.fft.truncated_cost import cheaper_backend, cheapest_form
from sciml.fft.truncated_fft import fft_analyse, fft_synthesise
from sciml.fft.truncated_matrix import (
    matrix_analyse,
    matrix_synthesise,
    plain_operations_needed,
)

Backend = Literal["matrix", "fft"]
Direction = Literal["analysis", "synthesis"]


def analyse(
    u: Float[Tensor, "..."], num_modes: Sequence[int], *, backend: Backend | None = None
) -> Float[Tensor, "..."]:
    """Amplitudes ``c_f = mean_j u_j exp(-2πi f·j/n)`` of the low frequencies of a real field.

    Args:
        u: Real field ``(*batch, *space)``, periodic on its trailing ``len(num_modes)`` axes.
        num_modes: Modes κ per axis; a grid with fewer frequencies gives those that it has.
        backend: ``"matrix"``: real products of the input's dtype, which compile, export and run
            in half precision with float32 accumulation. ``"fft"``: `torch.fft`, half precision
            computed in float32. None takes the one that is estimated to be faster.

    Returns:
        The spectrum ``(*modes, 2, *batch)``, dtype unchanged.

    Raises:
        TypeError: If `u` is not real floating point.
        ValueError: If there is no axis, no mode on an axis, or `u` has fewer axes or an empty
            one, or there is no such back end.
    """
    _check_field("analyse", u)
    if not 0 < len(num_modes) <= u.ndim or min(num_modes) < 1:
        raise ValueError(
            f"analyse: expected positive modes for 1 to {u.ndim} axes of a field of shape "
            f"{tuple(u.shape)}, got {tuple(num_modes)}; give one number per trailing axis"
        )
    first = u.ndim - len(num_modes)
    batch, space = tuple(u.shape[:first]), tuple(u.shape[first:])
    if u.numel() == 0:
        raise ValueError(
            f"analyse: expected a field with points, got shape {tuple(u.shape)}; "
            "leave out empty batches"
        )
    kept = kept_modes(num_modes, space)
    plan = _plan("analyse", space, kept, "mean", backend, u)
    spectrum = _apply("analysis", u.reshape(-1, *space), plan)
    return spectrum.view(*kept, 2, *batch)


def synthesise(
    spectrum: Float[Tensor, "..."], shape: Sequence[int], *, backend: Backend | None = None
) -> Float[Tensor, "..."]:
    """Evaluate the real Fourier series ``u_j = Re Σ_f w_f c_f exp(2πi f·j/n)`` on a grid.

    The weight w of the last axis' frequency is 1 at zero and at the grid's Nyquist frequency,
    else 2 for its mirror image.

    Args:
        spectrum: Amplitudes ``(*modes, 2, *batch)`` as `analyse` returns them.
        shape: Points per axis of the field; any grid that holds the frequencies.
        backend: As in `analyse`.

    Returns:
        The field ``(*batch, *shape)``, dtype unchanged.

    Raises:
        TypeError: If `spectrum` is not real floating point.
        ValueError: If the layout or a number of points does not fit, or there is no such back
            end.
    """
    _check_field("synthesise", spectrum)
    ndim = len(shape)
    if not 0 < ndim < spectrum.ndim or spectrum.shape[ndim] != 2 or spectrum.numel() == 0:
        raise ValueError(
            f"synthesise: expected a spectrum (*modes, 2, *batch) with {ndim} axes of modes, "
            f"got shape {tuple(spectrum.shape)}; put real and imaginary part behind the modes"
        )
    kept, batch = tuple(spectrum.shape[:ndim]), tuple(spectrum.shape[ndim + 1 :])
    space = tuple(shape)
    most = (*space[:-1], space[-1] // 2 + 1)
    if min(space) < 1 or any(k > n for k, n in zip(kept, most, strict=True)):
        raise ValueError(
            f"synthesise: expected at most {most} modes for a grid of {space} points, got "
            f"{kept}; truncate the spectrum or take a finer grid"
        )
    plan = _plan("synthesise", space, kept, "sum", backend, spectrum)
    field = _apply("synthesis", spectrum.reshape(*kept, 2, -1), plan)
    return field.view(*batch, *space)


def kept_modes(num_modes: Sequence[int], space: Sequence[int]) -> tuple[int, ...]:
    """Frequencies per axis that κ modes leave on a grid; the last axis has its half only."""
    half = min(num_modes[-1] // 2 + 1, space[-1] // 2 + 1)
    return (*map(min, num_modes[:-1], space[:-1]), half)


class _Plan(NamedTuple):
    """One linear map between fields and spectra, and its transpose."""

    space: tuple[int, ...]
    kept: tuple[int, ...]
    weighting: Weighting
    matrices: Basis | None
    """None for the FFT back end."""


def _plan(
    function: str,
    space: tuple[int, ...],
    kept: tuple[int, ...],
    weighting: Weighting,
    backend: Backend | None,
    like: Tensor,
) -> _Plan:
    """Choose the back end and fetch its matrices."""
    if backend not in (None, "matrix", "fft"):
        raise ValueError(
            f"{function}: expected backend 'matrix', 'fft' or None, got {backend!r}; "
            "None chooses the faster one"
        )
    device = like.device.type
    if backend is None:
        traced = torch.compiler.is_compiling()
        backend = "matrix" if traced else cheaper_backend(space, kept, device)
    if backend == "fft":
        return _Plan(space, kept, weighting, None)
    form = "plain" if plain_operations_needed() else cheapest_form(space, kept, device)
    matrices = basis(space, kept, weighting, form, like.dtype, like.device)
    return _Plan(space, kept, weighting, matrices)


def _analyse(u: Tensor, plan: _Plan) -> Tensor:
    if plan.matrices is None:
        return fft_analyse(u, plan.kept, plan.weighting)
    spectrum = matrix_analyse(u.contiguous(), plan.matrices)
    return spectrum.view(*plan.kept, 2, -1)


def _synthesise(spectrum: Tensor, plan: _Plan) -> Tensor:
    if plan.matrices is None:
        return fft_synthesise(spectrum, plan.space, plan.weighting)
    rows = spectrum.contiguous().view(-1, spectrum.shape[-1])
    return matrix_synthesise(rows, plan.matrices, plan.space)


class _Analysis(torch.autograd.Function):
    """Spectra of fields; saves nothing, its derivative is `_Synthesis` of the same plan."""

    @staticmethod
    @override
    def forward(ctx: Any, u: Tensor, plan: _Plan) -> Tensor:
        ctx.plan = plan
        return _analyse(u, plan)

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _apply("synthesis", gradient, ctx.plan), None

    @staticmethod
    @override
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _apply("analysis", tangent, ctx.plan)


class _Synthesis(torch.autograd.Function):
    """Fields of spectra; saves nothing, its derivative is `_Analysis` of the same plan."""

    @staticmethod
    @override
    def forward(ctx: Any, spectrum: Tensor, plan: _Plan) -> Tensor:
        ctx.plan = plan
        return _synthesise(spectrum, plan)

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _apply("analysis", gradient, ctx.plan), None

    @staticmethod
    @override
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _apply("synthesis", tangent, ctx.plan)


def _apply(direction: Direction, value: Tensor, plan: _Plan) -> Tensor:
    """Apply one of the two maps in the dtype of its argument."""
    if plain_operations_needed():
        return _analyse(value, plan) if direction == "analysis" else _synthesise(value, plan)
    # Sums over a grid lose too much in half precision under autocast.
    if torch.is_autocast_enabled(value.device.type):
        with torch.autocast(value.device.type, enabled=False):
            return _apply(direction, value, plan)
    function = _Analysis if direction == "analysis" else _Synthesis
    result: Tensor = function.apply(value, plan)  # type: ignore[no-untyped-call]  # torch
    return result


def _check_field(function: str, u: Tensor) -> None:
    """Refuse integers and complex numbers: converting them is the caller's decision."""
    if not u.is_floating_point():
        raise TypeError(
            f"{function}: expected a real floating-point tensor, got {u.dtype}; convert it "
            "with .to(), or store complex numbers as pairs"
        )
