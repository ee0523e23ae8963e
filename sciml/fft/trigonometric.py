"""Cosine and sine transforms of real fields over named axes, types I, II and III.

Formulas, sizes and norms are those of `scipy.fft`. The cosine of type I belongs to vertex grids
with both ends and zero slope there, types II and III to cell grids with zero slope; the sine of
type I belongs to interior vertices with zero end values, types II and III to cell grids with
zero end values.

Two back ends, chosen by the length of the axis:

* Short axes are multiplied by the transform's matrix: a product costs less there than the
  handful of small operations around an FFT.
* Long axes go through real FFTs (`sciml.fft.trigonometric_fourier`), those of types II and III
  together where that is faster. Type I has the length of the even or odd extension there;
  where that has a large prime factor, the matrix, halved by its symmetry, serves up to 512
  points.

Matrices and phases are cached for a bounded number of (type, length, dtype, device).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional

from sciml.fft.transforms import Norm, check_axes, compute_dtype
from sciml.fft.trigonometric_fourier import fourier_form
from sciml.fft.trigonometric_tables import Kind, Transform, folded_matrix, matrix

_INVERSE_KIND: dict[Kind, Kind] = {1: 1, 2: 3, 3: 2}
_INVERSE_NORM: dict[Norm, Norm] = {
    "backward": "forward",
    "ortho": "ortho",
    "forward": "backward",
}
# Longest axes for the matrix, and for its folded form where the FFT has a slow length: about
# where both back ends cost the same on one CPU core. A length is slow whose largest prime
# factor p is above 13 and, the cost growing like np there and like n² in a product, n/16 (n/32
# in float32, where products gain more than FFTs).
_LONGEST_MATRIX = 64
_LONGEST_FOLDED = 512
_LARGEST_FAST_PRIME = 13
_POINTS_PER_PRIME = {torch.float64: 16, torch.float32: 32}


def dct(
    u: Num[Tensor, "*shape"], kind: Kind, axes: Sequence[int], *, norm: Norm = "backward"
) -> Float[Tensor, "*shape"]:
    """Discrete cosine transform of a real field along each of `axes`.

    With x the n values along an axis and no norm factor ("backward"):

    * type I (n >= 2): y_k = x_0 + (-1)^k x_(n-1) + 2 Σ_(j=1)^(n-2) x_j cos(π j k / (n-1))
    * type II: y_k = 2 Σ_(j=0)^(n-1) x_j cos(π k (2j+1) / 2n)
    * type III: y_k = x_0 + 2 Σ_(j=1)^(n-1) x_j cos(π j (2k+1) / 2n)

    Args:
        u: Real field; half precision is transformed in float32 and given back as it came.
        kind: Type 1, 2 or 3.
        axes: Axes to transform.
        norm: ``"backward"`` as above, the factor 1/N in the inverse, N = 2(n-1) for type I and
            2n else; ``"forward"``: the factor here; ``"ortho"``: 1/√N, and the terms that the
            extension does not double weighted so that the matrix is orthogonal.

    Returns:
        The coefficients, shape and dtype of `u`.

    Raises:
        TypeError: If `u` is not real floating point.
        ValueError: If an axis is missing, given twice or too short, or `kind` or `norm` is none
            of the above.

    Source: `scipy.fft.dct` conventions; G. Strang, "The discrete cosine transform", SIAM
        Review 41 (1999).
    """
    return _transform("dct", u, axes, Transform("cosine", kind, norm))


def idct(
    u: Num[Tensor, "*shape"], kind: Kind, axes: Sequence[int], *, norm: Norm = "backward"
) -> Float[Tensor, "*shape"]:
    """Inverse of `dct` with the same `kind`, `axes` and `norm`.

    Type I is its own inverse and types II and III are each other's, up to the factor 1/N.

    Args:
        u: Coefficients as `dct` returns them.
        kind: Type of the transform to invert.
        axes: Axes to transform.
        norm: Norm of the transform to invert.

    Raises:
        TypeError: If `u` is not real floating point.
        ValueError: As `dct`.
    """
    return _inverse("idct", u, axes, Transform("cosine", kind, norm))


def dst(
    u: Num[Tensor, "*shape"], kind: Kind, axes: Sequence[int], *, norm: Norm = "backward"
) -> Float[Tensor, "*shape"]:
    """Discrete sine transform of a real field along each of `axes`.

    With x the n values along an axis and no norm factor ("backward"):

    * type I: y_k = 2 Σ_(j=0)^(n-1) x_j sin(π (j+1) (k+1) / (n+1))
    * type II: y_k = 2 Σ_(j=0)^(n-1) x_j sin(π (k+1) (2j+1) / 2n)
    * type III: y_k = (-1)^k x_(n-1) + 2 Σ_(j=0)^(n-2) x_j sin(π (j+1) (2k+1) / 2n)

    Args:
        u: Real field; half precision is transformed in float32 and given back as it came.
        kind: Type 1, 2 or 3.
        axes: Axes to transform.
        norm: As in `dct`, with N = 2(n+1) for type I.

    Returns:
        The coefficients, shape and dtype of `u`.

    Raises:
        TypeError: If `u` is not real floating point.
        ValueError: As `dct`.

    Source: `scipy.fft.dst` conventions.
    """
    return _transform("dst", u, axes, Transform("sine", kind, norm))


def idst(
    u: Num[Tensor, "*shape"], kind: Kind, axes: Sequence[int], *, norm: Norm = "backward"
) -> Float[Tensor, "*shape"]:
    """Inverse of `dst` with the same `kind`, `axes` and `norm`.

    Args:
        u: Coefficients as `dst` returns them.
        kind: Type of the transform to invert.
        axes: Axes to transform.
        norm: Norm of the transform to invert.

    Raises:
        TypeError: If `u` is not real floating point.
        ValueError: As `dct`.
    """
    return _inverse("idst", u, axes, Transform("sine", kind, norm))


def _inverse(function: str, u: Tensor, axes: Sequence[int], transform: Transform) -> Tensor:
    """Apply the inverse of a transform."""
    _check_kind_and_norm(function, transform)
    inverse = transform._replace(
        kind=_INVERSE_KIND[transform.kind], norm=_INVERSE_NORM[transform.norm]
    )
    return _transform(function, u, axes, inverse)


def _transform(function: str, u: Tensor, axes: Sequence[int], transform: Transform) -> Tensor:
    """Validate, then transform in the compute dtype."""
    _check_kind_and_norm(function, transform)
    compute = compute_dtype(function, u)
    check_axes(function, u, axes)
    shape = u.shape
    shortest = 2 if transform.kind == 1 and transform.family == "cosine" else 1
    if min([shape[axis] for axis in axes]) < shortest:
        raise ValueError(
            f"{function}: expected at least {shortest} points on axes {tuple(axes)} for type "
            f"{transform.kind}, got shape {tuple(u.shape)}; transform longer axes only"
        )
    counted = [axis % len(shape) for axis in axes]
    if torch.is_autocast_enabled(u.device.type):
        # It would multiply the matrices in half precision.
        with torch.autocast(u.device.type, enabled=False):
            return _along(u.to(compute), counted, transform).to(u.dtype)
    if u.dtype != compute:
        return _along(u.to(compute), counted, transform).to(u.dtype)
    return _along(u, counted, transform)


def _check_kind_and_norm(function: str, transform: Transform) -> None:
    """Refuse unknown types and norms."""
    if transform.kind not in _INVERSE_KIND or transform.norm not in _INVERSE_NORM:
        raise ValueError(
            f"{function}: expected kind 1, 2 or 3 and norm in {sorted(_INVERSE_NORM)}, got "
            f"kind={transform.kind!r}, norm={transform.norm!r}; pass one of these"
        )


def _along(u: Tensor, axes: Sequence[int], transform: Transform) -> Tensor:
    """Transform every axis by the cheapest back end."""
    if u.numel() == 0:
        # An empty batch, which MKL refuses.
        return u.clone()
    by_fourier = []
    for axis in axes:
        size = u.shape[axis]
        if size <= _LONGEST_MATRIX:
            u = _multiply(matrix(transform, size, u.dtype, u.device), u, axis)
        elif (
            transform.kind == 1
            and size <= _LONGEST_FOLDED
            and _largest_prime(transform.period(size))
            > max(_LARGEST_FAST_PRIME, size // _POINTS_PER_PRIME[u.dtype])
        ):
            u = _multiply_folded(u, axis, transform)
        else:
            by_fourier.append(axis)
    return fourier_form(u, by_fourier, transform) if by_fourier else u


def _multiply(product: Tensor, u: Tensor, axis: int) -> Tensor:
    """Matrix times the points of one axis."""
    if axis == u.ndim - 1:
        return functional.linear(u, product)
    if axis == u.ndim - 2:
        return product @ u
    return (product @ u.flatten(axis + 1)).view(u.shape)


def _multiply_folded(u: Tensor, axis: int, transform: Transform) -> Tensor:
    """Type I matrix times the points of one axis, by the symmetry of its rows."""
    size, half = u.shape[axis], (u.shape[axis] + 1) // 2
    lines = u.movedim(axis, 0).reshape(size, -1)
    low, high = lines[:half], lines[size - half :].flip(0)
    folded = folded_matrix(transform, size, u.dtype, u.device)
    rows = torch.stack((folded[0] @ (low + high), folded[1] @ (low - high)), 1)
    rows = rows.flatten(0, 1)[:size]
    return rows.view(size, *u.shape[:axis], *u.shape[axis + 1 :]).movedim(0, axis)


def _largest_prime(number: int) -> int:
    """Largest prime factor."""
    prime, largest = 2, 1
    while prime * prime <= number:
        while number % prime == 0:
            number, largest = number // prime, prime
        prime += 1
    return max(number, largest)
