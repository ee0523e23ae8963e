"""Cosine and sine transforms of real fields over named axes, types I, II and III.

Formulas, sizes and norms are those of `scipy.fft`. The cosine of type I belongs to vertex grids
with both ends and zero slope there, types II and III to cell grids with zero slope; the sine of
type I belongs to interior vertices with zero end values, types II and III to cell grids with
zero end values.

Two back ends, chosen by the length of the axis:

* Short axes are multiplied by the transform's matrix: a product costs less there than the
  handful of small operations around an FFT.
* Long axes go through one real FFT. Types II and III need no more than the n points themselves
  (J. Makhoul, "A fast cosine transform in one and two dimensions", IEEE Trans. ASSP 28, 1980):
  with v = (x_0, x_2, …, x_3, x_1) and V its Fourier transform, type II is
  y_k = 2 Re(exp(-iπk/2n) V_k) and y_(n-k) = -2 Im(exp(-iπk/2n) V_k). Type I is the transform
  of the even or odd extension; where the length of that has a large prime factor, the matrix,
  halved by its symmetry, serves up to 512 points. Sines of type II and III are cosines of
  alternating signs in reversed order.

Matrices and phases are cached for a bounded number of (type, length, dtype, device).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

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
# where both back ends cost the same on one CPU core.
_LONGEST_MATRIX = 64
_LONGEST_FOLDED = 512
_LARGEST_FAST_PRIME = 13


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
    """Validate, then transform axis by axis in the compute dtype."""
    _check_kind_and_norm(function, transform)
    compute = compute_dtype(function, u)
    check_axes(function, u, axes)
    shortest = 2 if transform[:2] == ("cosine", 1) else 1
    if any(u.shape[axis] < shortest for axis in axes):
        raise ValueError(
            f"{function}: expected at least {shortest} points on axes {tuple(axes)} for type "
            f"{transform.kind}, got shape {tuple(u.shape)}; transform longer axes only"
        )
    v = u if u.dtype == compute else u.to(compute)
    with _without_autocast(u):
        for axis in axes:
            v = _along(v, axis % u.ndim, transform)
    return v if u.dtype == compute else v.to(u.dtype)


def _check_kind_and_norm(function: str, transform: Transform) -> None:
    """Refuse unknown types and norms."""
    if transform.kind not in _INVERSE_KIND or transform.norm not in _INVERSE_NORM:
        raise ValueError(
            f"{function}: expected kind 1, 2 or 3 and norm in {sorted(_INVERSE_NORM)}, got "
            f"kind={transform.kind!r}, norm={transform.norm!r}; pass one of these"
        )


def _without_autocast(u: Tensor) -> AbstractContextManager[object]:
    """Autocast would multiply the matrices in half precision."""
    if torch.is_autocast_enabled(u.device.type):
        return torch.autocast(u.device.type, enabled=False)
    return nullcontext()


def _along(u: Tensor, axis: int, transform: Transform) -> Tensor:
    """Transform one axis by the cheapest back end."""
    size = u.shape[axis]
    if size <= _LONGEST_MATRIX:
        return _multiply(matrix(transform, size, u.dtype, u.device), u, axis)
    if (
        transform.kind == 1
        and size <= _LONGEST_FOLDED
        and _largest_prime(transform.period(size)) > _LARGEST_FAST_PRIME
    ):
        return _multiply_folded(u, axis, transform)
    return fourier_form(u, axis, transform)


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
