"""Exponential time differencing: stiff linear terms exactly, the rest by Runge–Kutta."""

import math
from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Inexact
from torch import Tensor


@final
class ETDRK4:
    """One step of dv/dt = L v + N(v) with a diagonal linear operator L, fourth order in dt.

    With z = L dt, E = exp(z), E₂ = exp(z/2) and Q = dt φ₁(z/2)/2:

        a = E₂ v + Q N(v),   b = E₂ v + Q N(a),   c = E₂ a + Q (2 N(b) - N(v)),
        v⁺ = E v + f₁ N(v) + 2 f₂ (N(a) + N(b)) + f₃ N(c).

    The coefficients are quotients that cancel to nothing near z = 0; they are means over a
    circle of radius 1 around z instead, where every point is harmless. The mean is complex and
    over the whole circle, so that oscillating and dispersive symbols keep order 4; only a real
    symbol, whose mean is real, drops the imaginary part.

    Args:
        symbol: The diagonal of L, real or complex, any shape that broadcasts against the state.
        dt: Time step.
        dtype: dtype of the coefficients, which should be the state's; that of `symbol` by
            default. They are computed in complex128 whatever it is.
        contour_points: Points on the circle; the error falls geometrically, 32 reach rounding.

    Raises:
        ValueError: If `dt` is not positive and finite.
        TypeError: If `dtype` is real although `symbol` is complex.

    Source:
        Cox and Matthews 2002, J. Comput. Phys. 176, equations (26)–(29); contour means after
        Kassam and Trefethen 2005, SIAM J. Sci. Comput. 26, section 2, on the full circle.
    """

    order = 4

    def __init__(
        self,
        symbol: Inexact[Tensor, "..."],
        dt: float,
        *,
        dtype: torch.dtype | None = None,
        contour_points: int = 32,
    ) -> None:
        if not (dt > 0 and math.isfinite(dt)):
            raise ValueError(
                f"ETDRK4: expected a positive finite dt, got {dt}; choose a time step"
            )
        if symbol.is_complex() and dtype is not None and not dtype.is_complex:
            raise TypeError(
                f"ETDRK4: expected a complex dtype for a {symbol.dtype} symbol, got {dtype}; "
                "a real state has a real symbol"
            )
        self.dt = dt
        z = symbol.to(torch.complex128) * dt
        angle = (torch.arange(contour_points, dtype=torch.float64) + 0.5) / contour_points
        circle = torch.polar(torch.ones_like(angle), 2 * math.pi * angle).to(z.device)
        w = z[..., None] + circle
        exp_w = torch.exp(w)

        def coefficient(values: Tensor) -> Tensor:
            mean = values.mean(dim=-1) if values.ndim > z.ndim else values
            kept = mean if symbol.is_complex() else mean.real
            return kept.to(dtype or symbol.dtype)

        self._e = coefficient(torch.exp(z))
        self._e2 = coefficient(torch.exp(z / 2))
        self._q = coefficient(dt * torch.expm1(w / 2) / w)
        self._f1 = coefficient(dt * (-4 - w + exp_w * (4 - 3 * w + w**2)) / w**3)
        self._f2 = coefficient(2 * dt * (2 + w + exp_w * (-2 + w)) / w**3)
        self._f3 = coefficient(dt * (-4 - 3 * w - w**2 + exp_w * (4 - w)) / w**3)

    def step(
        self,
        v: Inexact[Tensor, "*state"],
        nonlinear: Callable[[Tensor], Tensor],
    ) -> Inexact[Tensor, "*state"]:
        """Advance the state by dt.

        Args:
            v: State; not modified.
            nonlinear: N, state to its time derivative without the linear part.
        """
        n_v = nonlinear(v)
        half = self._e2 * v
        a = torch.addcmul(half, self._q, n_v)
        n_a = nonlinear(a)
        n_b = nonlinear(half.addcmul_(self._q, n_a))
        c = (self._e2 * a).addcmul_(self._q, (2 * n_b).sub_(n_v))
        n_c = nonlinear(c)
        out = torch.addcmul(self._e * v, self._f1, n_v)
        return out.addcmul_(self._f2, n_a + n_b).addcmul_(self._f3, n_c)
