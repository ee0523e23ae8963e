"""Convolutions and products of real fields by FFT.

`convolve` is the convolution of finite sequences (zero outside), `circular_convolve` that of
periodic ones, and `dealiased_product` the product of two band-limited periodic fields, which is
a convolution of their spectra.
"""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional

from sciml.fft.resample import fourier_resample
from sciml.fft.transforms import check_axes, compute_dtype, irfftn, rfftn

Mode = Literal["full", "same", "valid"]


def convolve(
    u: Num[Tensor, "..."],
    kernel: Num[Tensor, "..."],
    mode: Mode = "full",
    axes: Sequence[int] = (-1,),
) -> Float[Tensor, "..."]:
    """Convolution (u * kernel)_i = Σ_j u_(i-j) kernel_j along `axes`, zero outside the arrays.

    The other axes broadcast. Rounding errors are relative to the largest value of the result,
    as in every product by FFT, not to each value.

    Args:
        u: Real field, n points along an axis.
        kernel: Real kernel with as many axes as `u` and its dtype, m points along an axis.
        mode: ``"full"``: all n + m - 1 sums; ``"same"``: the central n of them; ``"valid"``:
            the n - m + 1 that see no zeros, which needs m <= n.
        axes: Axes to convolve over.

    Returns:
        The sums, dtype of `u` (half precision is computed in float32).

    Raises:
        TypeError: If the fields are not real floating point of one dtype.
        ValueError: If the shapes do not fit, an axis is missing, repeated or empty, or the mode
            is unknown or impossible.

    Source: conventions of `scipy.signal.fftconvolve`.
    """
    axes = _common_axes("convolve", u, kernel, axes)
    sizes = [(u.shape[axis], kernel.shape[axis]) for axis in axes]
    windows = {
        "full": [(0, n + m - 1) for n, m in sizes],
        "same": [((m - 1) // 2, n) for n, m in sizes],
        "valid": [(m - 1, n - m + 1) for n, m in sizes],
    }
    if mode not in windows:
        raise ValueError(
            f"convolve: expected mode to be one of {list(windows)}, got {mode!r}; pass one of "
            "these"
        )
    if mode == "valid" and any(m > n for n, m in sizes):
        raise ValueError(
            f"convolve: expected a kernel no longer than the field in mode 'valid', got "
            f"{tuple(kernel.shape)} for {tuple(u.shape)}; exchange them or use mode 'full'"
        )
    padded = [fast_length(n + m - 1) for n, m in sizes]
    result = _product_of_spectra(u, kernel, axes, padded)
    for axis, (start, length) in zip(axes, windows[mode], strict=True):
        result = result.narrow(axis, start, length)
    return result.to(u.dtype)


def circular_convolve(
    u: Num[Tensor, "..."], kernel: Num[Tensor, "..."], axes: Sequence[int] = (-1,)
) -> Float[Tensor, "..."]:
    """Periodic convolution (u * kernel)_i = Σ_j u_((i-j) mod n) kernel_j along `axes`.

    Args:
        u: Real periodic field.
        kernel: Real kernel with the axes and dtype of `u` and its size along `axes`; the other
            axes broadcast. Index 0 is the centre.
        axes: Axes to convolve over.

    Returns:
        The sums, dtype of `u` (half precision is computed in float32).

    Raises:
        TypeError: If the fields are not real floating point of one dtype.
        ValueError: If the shapes do not fit or an axis is missing, repeated or empty.
    """
    axes = _common_axes("circular_convolve", u, kernel, axes)
    sizes = [u.shape[axis] for axis in axes]
    if sizes != [kernel.shape[axis] for axis in axes]:
        raise ValueError(
            f"circular_convolve: expected a kernel of {sizes} points on axes {tuple(axes)}, "
            f"got shape {tuple(kernel.shape)}; pad it with zeros to one period"
        )
    return _product_of_spectra(u, kernel, axes, sizes).to(u.dtype)


def dealiased_product(
    a: Num[Tensor, "..."], b: Num[Tensor, "..."], axes: Sequence[int] = (-1,)
) -> Float[Tensor, "..."]:
    """Product of two periodic fields whose modes beyond the grid are dropped, not folded back.

    The trigonometric interpolants are multiplied on a grid of more than 3n/2 points, which is
    fine enough for every mode of the product that the grid keeps to be right, the Nyquist mode
    included, and the product is low-passed back to n.

    Args:
        a: Real periodic field.
        b: Real periodic field of the same shape and dtype.
        axes: Periodic axes to dealias.

    Returns:
        The product, dtype of the fields (half precision is computed in float32).

    Raises:
        TypeError: If the fields are not real floating point of one dtype.
        ValueError: If the shapes differ or an axis is missing, repeated or empty.

    Source: S. A. Orszag, "On the elimination of aliasing in finite-difference schemes by
        filtering high-wavenumber components", J. Atmos. Sci. 28 (1971).
    """
    if a.shape != b.shape:
        raise ValueError(
            f"dealiased_product: expected two fields of one shape, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}; expand one of them or resample it"
        )
    axes = _common_axes("dealiased_product", a, b, axes)
    shape = [a.shape[axis] for axis in axes]
    fine = [fast_length(3 * n // 2 + 1) for n in shape]
    last = tuple(range(-len(axes), 0))
    compute = compute_dtype("dealiased_product", a)
    fine_a, fine_b = (
        fourier_resample(field.to(compute).movedim(axes, last), fine) for field in (a, b)
    )
    return fourier_resample(fine_a * fine_b, shape).movedim(last, axes).to(a.dtype)


def fast_length(minimum: int) -> int:
    """Smallest 2^a 3^b 5^c >= `minimum`: lengths at which every FFT library is fast.

    Args:
        minimum: Length needed, at least 1.

    Raises:
        ValueError: If it is less.
    """
    if minimum < 1:
        raise ValueError(
            f"fast_length: expected a length of at least 1, got {minimum}; pass the number of "
            "points needed"
        )
    best = 1 << (minimum - 1).bit_length()
    five = 1
    while five < best:
        product = five
        while product < best:
            doublings = max(-(-minimum // product) - 1, 0).bit_length()
            best = min(best, product << doublings)
            product *= 3
        five *= 5
    return best


def _product_of_spectra(
    u: Tensor, kernel: Tensor, axes: tuple[int, ...], lengths: Sequence[int]
) -> Tensor:
    """Circular convolution of period `lengths`, both arrays padded with zeros to it."""
    spectra = [rfftn(_pad(field, axes, lengths), axes) for field in (u, kernel)]
    return irfftn(spectra[0] * spectra[1], axes, lengths)


def _pad(u: Tensor, axes: tuple[int, ...], lengths: Sequence[int]) -> Tensor:
    """Append zeros along axes."""
    padding = [0] * (2 * u.ndim)
    for axis, length in zip(axes, lengths, strict=True):
        padding[2 * (u.ndim - 1 - axis) + 1] = length - u.shape[axis]
    return functional.pad(u, padding) if any(padding) else u


def _common_axes(
    function: str, u: Tensor, other: Tensor, axes: Sequence[int]
) -> tuple[int, ...]:
    """Axes counted from the front, after checking what both fields must share."""
    compute_dtype(function, u)
    compute_dtype(function, other)
    if u.dtype != other.dtype:
        raise TypeError(
            f"{function}: expected two fields of one dtype, got {u.dtype} and {other.dtype}; "
            "convert one with .to()"
        )
    check_axes(function, u, axes)
    inside = tuple(axis % u.ndim for axis in axes)
    if u.ndim != other.ndim or any(
        n != m and 1 not in (n, m)
        for axis, (n, m) in enumerate(zip(u.shape, other.shape, strict=True))
        if axis not in inside
    ):
        raise ValueError(
            f"{function}: expected shapes that broadcast outside axes {tuple(axes)}, got "
            f"{tuple(u.shape)} and {tuple(other.shape)}; give both fields the same axes"
        )
    if any(min(u.shape[axis], other.shape[axis]) < 1 for axis in inside):
        raise ValueError(
            f"{function}: expected at least 1 point on axes {tuple(axes)}, got shapes "
            f"{tuple(u.shape)} and {tuple(other.shape)}; give every axis a point"
        )
    return inside
