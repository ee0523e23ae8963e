"""Band-limited resampling of periodic fields."""

from collections.abc import Sequence

from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional

from sciml.fft.transforms import irfftn, rfftn


def fourier_resample(u: Num[Tensor, "..."], shape: Sequence[int]) -> Float[Tensor, "..."]:
    """Evaluate the trigonometric interpolant of a periodic field on another vertex grid.

    Refinement is exact interpolation: the old points keep their values where the grids share
    them. Coarsening drops the modes that the new grid cannot hold before sampling, so nothing
    aliases. The Nyquist mode of an even grid is ½(+n/2) + ½(-n/2): it is split in two when an
    axis grows, and the two are added when an axis shrinks to an even size; a real field stays
    real on every parity.

    Args:
        u: Real field whose trailing `len(shape)` axes are periodic, first point at the low end.
        shape: New number of points for each of these axes.

    Returns:
        The field on the new grid, dtype unchanged (half precision is computed in float32).

    Raises:
        TypeError: If `u` is not real floating point.
        ValueError: If `shape` has more axes than `u`, none, or an empty one.
    """
    if not 0 < len(shape) <= u.ndim or min(shape) < 1:
        raise ValueError(
            f"fourier_resample: expected 1 to {u.ndim} positive sizes for a field of shape "
            f"{tuple(u.shape)}, got {tuple(shape)}; give one size per trailing axis"
        )
    first = u.ndim - len(shape)
    # The operator is a tensor product of real one-dimensional ones; shrinking axes go first,
    # because the others then have less to do.
    order = sorted(range(len(shape)), key=lambda i: shape[i] / u.shape[first + i])
    for i in order:
        u = _resample_axis(u, first + i, shape[i])
    return u


def _resample_axis(u: Tensor, axis: int, size: int) -> Tensor:
    """Resample along one axis."""
    old = u.shape[axis]
    if size == old:
        return u
    dtype = u.dtype
    bins = rfftn(u, (axis,), norm="forward").movedim(axis, -1)
    kept = min(size, old)
    resized = functional.pad(bins[..., : kept // 2 + 1], (0, size // 2 - kept // 2))
    if kept % 2 == 0:
        scale = resized.real.new_ones(resized.shape[-1])
        # The inverse counts the Nyquist bin of an even grid once, every other bin twice (for
        # its mirror image).
        scale[kept // 2] = 0.5 if size > old else 2.0
        resized = resized * scale
    return irfftn(resized.movedim(-1, axis), (axis,), (size,), norm="forward", dtype=dtype)
