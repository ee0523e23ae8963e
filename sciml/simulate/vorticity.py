"""The vorticity equation of two-dimensional incompressible flow in Fourier space."""

from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sciml.fft.transforms import irfftn, rfftn
from sciml.fft.wavenumbers import wavenumber_grid

_PLANE = (-2, -1)


@final
class VorticityEquation:
    """ω_t + u·∇ω = ν Δω + f with u = (ψ_y, -ψ_x), -Δψ = ω, on a periodic box.

    Fourier–Galerkin: modes with |k_i| < n_i / 3 interact, the others decay by viscosity alone.
    The nonlinear term is u·∇ω = (∂_xx - ∂_yy)(uv) + ∂_xy(v² - u²), two inverse and two forward
    real transforms; it is truncated before and after the products, so quadratic terms do not
    alias. The interacting modes are held in a `block` of the half spectrum that drops the empty
    columns, which saves a third of the work along x.

    Args:
        resolution: Grid points (n_x, n_y).
        viscosity: ν ≥ 0.
        lengths: Periods (L_x, L_y).
        forcing: f on the grid, constant in time; none by default.
        dtype: Precision of the fields; coefficients are computed in float64 whatever it is.
        device: Where to compute.

    Raises:
        ValueError: If an argument is out of range, or `forcing` has another shape or modes that
            do not interact on this grid.

    Source:
        Li et al. 2021, arXiv:2010.08895, section 5.3 (equation); Orszag 1971, J. Atmos. Sci. 28
        (truncation); Basdevant 1983, J. Comput. Phys. 50 (four transforms).
    """

    def __init__(
        self,
        resolution: tuple[int, int],
        *,
        viscosity: float,
        lengths: tuple[float, float] = (1.0, 1.0),
        forcing: Float[Tensor, "x y"] | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        if min(resolution) < 4 or not viscosity >= 0:
            raise ValueError(
                "VorticityEquation: expected at least 4 points per axis and viscosity >= 0, "
                f"got resolution={resolution}, viscosity={viscosity}; correct them"
            )
        self.resolution = resolution
        self.dtype = dtype
        self.device = device
        cutoff_x, cutoff_y = ((n - 1) // 3 for n in resolution)
        self._columns = cutoff_y + 1
        kx, ky = wavenumber_grid(resolution, lengths, device=device)
        squared = kx.square() + ky.square()
        rows = torch.arange(resolution[0], device=device)
        interacting = (rows <= cutoff_x) | (rows >= resolution[0] - cutoff_x)
        self._interacting = interacting[:, None].expand(-1, self._columns)
        self.decay: Float[Tensor, "x k"] = -viscosity * squared
        """Linear symbol -ν |κ|² on the whole half spectrum, float64."""
        self.max_wavenumbers = (float(kx[cutoff_x, 0]), float(ky[0, cutoff_y]))
        """Largest interacting wavenumber of each axis."""

        block = (slice(None), slice(self._columns))
        ky = ky[:, : self._columns]
        inverse = torch.where(squared > 0, 1 / squared, 0.0)[block] * self._interacting
        complex_dtype = torch.promote_types(dtype, torch.complex64)
        # û = iκ_y ω̂/|κ|², v̂ = -iκ_x ω̂/|κ|².
        self._velocity = (1j * torch.stack([ky * inverse, -kx * inverse])).to(complex_dtype)
        # -u·∇ω has the spectrum (κ_x² - κ_y²) F[uv] + κ_x κ_y F[v² - u²].
        self._from_uv = ((kx.square() - ky.square()) * self._interacting).to(complex_dtype)
        self._from_squares = (kx * ky * self._interacting).to(complex_dtype)
        self._forcing = None if forcing is None else self._forcing_block(forcing)

    @property
    def block_decay(self) -> Float[Tensor, "x k"]:
        """Linear symbol on the block of interacting modes."""
        return self.decay[:, : self._columns]

    def split(
        self, vorticity: Float[Tensor, "b x y"]
    ) -> tuple[Complex[Tensor, "b x k"], Complex[Tensor, "b x k2"]]:
        """Spectrum of a field: the block of interacting modes, and the rest in full size."""
        rest = rfftn(vorticity, _PLANE)
        block = rest[..., : self._columns] * self._interacting
        rest[..., : self._columns] -= block
        return block, rest

    def join(
        self, block: Complex[Tensor, "b x k"], rest: Complex[Tensor, "b x k2"]
    ) -> Float[Tensor, "b x y"]:
        """Field of a split spectrum, the inverse of `split`."""
        spectrum = rest.clone()
        spectrum[..., : self._columns] += block
        return irfftn(spectrum, _PLANE, self.resolution)

    def velocity(self, block: Complex[Tensor, "b x k"]) -> Float[Tensor, "b 2 x y"]:
        """Velocity (u, v) of the interacting modes on the grid."""
        lines = torch.fft.ifft(block[:, None] * self._velocity, dim=-2)
        # The inverse along y takes the dropped columns for zero.
        velocity: Tensor = torch.fft.irfft(lines, n=self.resolution[1], dim=-1)
        return velocity

    def nonlinear(self, block: Complex[Tensor, "b x k"]) -> Complex[Tensor, "b x k"]:
        """-u·∇ω + f on the block."""
        u, v = self.velocity(block).unbind(dim=1)
        products = torch.empty((u.shape[0], 2, *u.shape[1:]), dtype=u.dtype, device=u.device)
        torch.mul(u, v, out=products[:, 0])
        torch.mul(v, v, out=products[:, 1]).addcmul_(u, u, value=-1)
        lines = torch.fft.rfft(products, dim=-1)[..., : self._columns]
        spectra = torch.fft.fft(lines, dim=-2)
        out: Tensor = spectra[:, 0] * self._from_uv
        out.addcmul_(spectra[:, 1], self._from_squares)
        return out if self._forcing is None else out.add_(self._forcing)

    def advection_rate(self, block: Complex[Tensor, "b x k"]) -> Float[Tensor, " b"]:
        """Largest |u| κ_x + |v| κ_y of each sample, κ the largest interacting wavenumbers."""
        speed = self.velocity(block).abs_()
        kx, ky = self.max_wavenumbers
        return torch.amax(kx * speed[:, 0] + ky * speed[:, 1], dim=(1, 2))

    def _forcing_block(self, forcing: Tensor) -> Tensor:
        """Block of the forcing, which has to lie inside it."""
        if tuple(forcing.shape) != self.resolution:
            raise ValueError(
                f"VorticityEquation: expected forcing on the grid {self.resolution}, got shape "
                f"{tuple(forcing.shape)}; evaluate it on the solver's grid"
            )
        block, rest = self.split(forcing.to(dtype=self.dtype, device=self.device)[None])
        scale = block.abs().amax() + rest.abs().amax()
        if rest.abs().amax() > 1e3 * torch.finfo(self.dtype).eps * scale:
            raise ValueError(
                f"VorticityEquation: expected forcing with |k| < n/3 on the grid "
                f"{self.resolution}, got modes beyond; raise the resolution or smooth it"
            )
        return block[0]
