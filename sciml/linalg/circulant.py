"""Circulant operators in any number of axes: convolutions, diagonal in Fourier space."""

from collections.abc import Sequence
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float, Num
from torch import Tensor
from typing_extensions import override

from sciml.fft.transforms import irfftn, rfftn
from sciml.linalg.operator import SolvableOperator


@final
class CirculantOperator(SolvableOperator):
    """Periodic convolution with a kernel: (A x)_i = Σ_j c_{(i − j) mod n} x_j on every axis.

    One axis gives a circulant matrix with first column c; more give block-circulant matrices
    with circulant blocks. Every operation costs FFTs of the field.

    Args:
        kernel: The first column c, as a field; leading axes are a batch of operators.
        num_axes: How many trailing axes of `kernel` belong to the field; all by default.
        positive_definite: Whether c is even and its transform positive.

    Source: Davis, Circulant Matrices (1979), §3.2 and §5.8.
    """

    def __init__(
        self,
        kernel: Num[Tensor, "*shape"],
        num_axes: int | None = None,
        *,
        positive_definite: bool = False,
    ) -> None:
        axes = kernel.ndim if num_axes is None else num_axes
        if not 1 <= axes <= kernel.ndim or 0 in kernel.shape:
            raise ValueError(
                f"CirculantOperator: expected a kernel of 1 to {kernel.ndim} field axes, none "
                f"empty, got {axes} of shape {tuple(kernel.shape)}; field axes come last"
            )
        shape = kernel.shape[kernel.ndim - axes :]
        super().__init__(
            shape,
            shape,
            dtype=kernel.dtype,
            device=kernel.device,
            batch_shape=kernel.shape[: kernel.ndim - axes],
            positive_definite=positive_definite,
        )
        self.kernel = kernel
        self._axes = tuple(range(-axes, 0))
        self._kept_spectrum: Tensor | None = None

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.kernel,)

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "CirculantOperator":
        return CirculantOperator(
            tensors[0], len(self.in_shape), positive_definite=self.positive_definite
        )

    @property
    @override
    def T(self) -> "CirculantOperator":
        flipped = self.kernel.flip(self._axes)
        return self.with_tensors([flipped.roll((1,) * len(self._axes), self._axes)])

    @override
    def _mv(self, x: Tensor) -> Tensor:
        spectrum = self._spectrum() * rfftn(x, self._axes)
        return irfftn(spectrum, self._axes, self.in_shape)

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """The constant c₀."""
        return self._origin(self.kernel).expand(*self.batch_shape, *self.in_shape)

    @override
    def solve(self, b: Num[Tensor, "*images"]) -> Float[Tensor, "*fields"]:
        """Division in Fourier space.

        Raises:
            ValueError: If an eigenvalue is zero to working precision.
        """
        self._check_field("solve", b, self.out_shape)
        spectrum = self._invertible("solve", self._spectrum())
        return irfftn(rfftn(b, self._axes) / spectrum, self._axes, self.in_shape)

    def inverse(self) -> "CirculantOperator":
        """A⁻¹, which is circulant too.

        Raises:
            ValueError: If an eigenvalue is zero to working precision.
        """
        spectrum = self._invertible("inverse", self._spectrum())
        return self.with_tensors([irfftn(spectrum.reciprocal(), self._axes, self.in_shape)])

    def logdet(self) -> Float[Tensor, "*batch"]:
        """Log determinant.

        Raises:
            ValueError: If the determinant is not positive.
        """
        eigenvalues = torch.fft.fftn(self.kernel, dim=self._axes)
        spectrum = self._flat(self._invertible("logdet", eigenvalues))
        # eigenvalues come in conjugate pairs, so the phases add to a multiple of pi
        sign = torch.cos(spectrum.detach().angle().double().sum(-1))
        if bool((sign < 0).any()):
            raise ValueError(
                "CirculantOperator.logdet: expected a positive determinant, got a negative "
                "one; a log determinant exists only for positive ones"
            )
        return spectrum.abs().log().sum(-1)

    def _spectrum(self) -> Tensor:
        """The half spectrum of the kernel, kept unless gradients are recorded."""
        recorded = torch.is_grad_enabled() and self.kernel.requires_grad
        if recorded or self._kept_spectrum is None:
            spectrum = rfftn(self.kernel, self._axes)
            if recorded:
                return spectrum
            self._kept_spectrum = spectrum
        return self._kept_spectrum

    def _origin(self, field: Tensor) -> Tensor:
        """The value at index 0 of every axis, axes kept."""
        for axis in self._axes:
            field = field.narrow(axis, 0, 1)
        return field

    def _invertible(self, function: str, spectrum: Tensor) -> Tensor:
        magnitudes = spectrum.detach().abs()
        smallest, largest = float(magnitudes.min()), float(magnitudes.max())
        if not smallest > torch.finfo(self.dtype).eps * largest:
            raise ValueError(
                f"CirculantOperator.{function}: expected no zero eigenvalue, got one of "
                f"magnitude {smallest:.3g} beside {largest:.3g}; add a multiple of the identity"
            )
        return spectrum


def optimal_circulant(column: Tensor) -> CirculantOperator:
    """The circulant matrix nearest to a symmetric Toeplitz one in the Frobenius norm.

    Positive definite where the Toeplitz matrix is.

    Source: T. Chan, SIAM J. Sci. Stat. Comput. 9 (1988), eq. 6.
    """
    size = column.shape[-1]
    lag = torch.arange(size, dtype=column.dtype, device=column.device)
    reflected = column.flip(-1).roll(1, -1)
    kernel = torch.lerp(column, reflected, lag / size)
    return CirculantOperator(kernel, 1, positive_definite=True)


@lru_cache(maxsize=256)
def fast_length(size: int) -> int:
    """The smallest even length ≥ `size` with no prime factor above 5, quick for real FFTs."""
    lengths = []
    for odd in (1, 3, 5, 9, 15, 25, 27, 45, 75):
        length = 2 * odd
        while length < size:
            length *= 2
        lengths.append(length)
    return min(lengths)
