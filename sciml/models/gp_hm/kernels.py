"""Stationary 1-D kernels that are mixtures of spectral bumps, with derivatives to order 4.

For a lag τ = x − x′ the covariance is ``k(τ) = Σ_q w_q e(τ; θ_q) cos(2π μ_q τ)``, the Fourier
transform of a spectrum with a bump of weight w_q at each frequency ±μ_q:

- `STM` (Student-t bumps of five degrees of freedom): ``e = (1 + s + s²/3) exp(−s)`` with
  ``s = √5 λ |τ|``, the Matérn-5/2 envelope; λ is an inverse length.
- `GM` (Gaussian bumps): ``e = exp(−a τ²)``; the spectral mixture kernel.
- `MATERN` and `SE`, the ablations: the same sums without the cosine.

Derivatives are closed forms by Leibniz' rule; for arguments x and x′ of a stationary kernel
``∂_x^i ∂_x′^j k = (−1)^j k^(i+j)(τ)``.

Source: Fang, Cooley, Long, Li, Kirby, Zhe, Solving High Frequency and Multi-Scale PDEs with
Gaussian Processes, ICLR 2024, arXiv 2311.04465; Wilson and Adams, ICML 2013 (GM).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

MAX_ORDER = 4
"""Matérn-5/2 is C⁴ and no smoother: its fourth derivative is the last continuous one."""


@final
@dataclass(frozen=True)
class MixtureParameters:
    """Parameters of one axis, all unconstrained; one entry a component.

    Args:
        log_weights: log w_q. A flat prior on it is Jeffreys' prior 1/w on the weight.
        log_scales: log λ_q (an inverse length) for Matérn envelopes, log a_q (which multiplies
            τ² as it is) for Gaussian ones.
        frequencies: μ_q in cycles per unit length; the sign does not matter.
    """

    log_weights: Float[Tensor, " q"]
    log_scales: Float[Tensor, " q"]
    frequencies: Float[Tensor, " q"]

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three vectors, in the order of the fields."""
        return self.log_weights, self.log_scales, self.frequencies

    def detach(self) -> "MixtureParameters":
        """A copy of the same values that no gradient reaches."""
        return MixtureParameters(*(tensor.detach().clone() for tensor in self.tensors))


def initial_parameters(num_components: int, frequency_scale: float) -> MixtureParameters:
    """Equal weights, unit scales, frequencies evenly from 0 to `frequency_scale`.

    The published start. The gradient in the frequency 0 is exactly zero, so the first component
    stays a bump at zero frequency for ever.
    """
    if num_components < 1:
        raise ValueError(
            f"initial_parameters: expected at least one component, got {num_components}; "
            "the published number is 30"
        )
    frequencies = torch.linspace(0.0, frequency_scale, num_components, dtype=torch.float64)
    log_weights = torch.full_like(frequencies, -math.log(num_components))
    return MixtureParameters(log_weights, torch.zeros_like(frequencies), frequencies)


@final
@dataclass(frozen=True)
class MixtureKernel:
    """A stationary 1-D kernel Σ_q w_q e(τ; θ_q) cos(2π μ_q τ), or without the cosine.

    Args:
        name: Its short name.
        envelope: Derivatives 0 … n of e at lags (*points, 1) for log scales (q,).
        oscillating: Whether the cosine is there; without it the frequencies are not read.
    """

    name: str
    envelope: Callable[[Tensor, Tensor, int], list[Tensor]]
    oscillating: bool

    def derivatives(
        self,
        parameters: MixtureParameters,
        lags: Float[Tensor, "*points"],
        orders: Sequence[int],
    ) -> Float[Tensor, "orders *points"]:
        """k^(n) at signed lags for each n of `orders`.

        Differentiable in the parameters to any order, and once in the lags, also at τ = 0:
        |τ| never stands where its missing derivative would be taken for zero wrongly.

        Raises:
            ValueError: If an order is negative or above 4.
        """
        if not orders or min(orders) < 0 or max(orders) > MAX_ORDER:
            raise ValueError(
                f"MixtureKernel.derivatives: expected orders from 0 to {MAX_ORDER}, got "
                f"{tuple(orders)}; kernels with a Matérn-5/2 envelope are four times "
                "differentiable, so no higher derivative exists for all of them"
            )
        highest = max(orders)
        tau = lags.unsqueeze(-1)
        envelope = self.envelope(tau, parameters.log_scales, highest)
        weights = parameters.log_weights.exp()
        if not self.oscillating:
            return torch.stack([envelope[n] @ weights for n in orders])
        cosine = _cosine_derivatives(tau, 2 * math.pi * parameters.frequencies, highest)
        values = []
        for n in orders:
            terms = envelope[0] * cosine[n]
            for j in range(1, n + 1):
                terms = torch.addcmul(terms, envelope[j], cosine[n - j], value=math.comb(n, j))
            values.append(terms @ weights)
        return torch.stack(values)


def _matern_derivatives(tau: Tensor, log_scales: Tensor, highest: int) -> list[Tensor]:
    """Derivatives of (1 + s + s²/3) exp(−s), s = √5 λ |τ|."""
    rate = math.sqrt(5.0) * log_scales.exp()
    s = rate * tau.abs()
    decay = torch.exp(-s)
    second, fourth = rate**2 / 3, rate**4 / 3
    forms: list[Callable[[], Tensor]] = [
        lambda: (1 + s + s**2 / 3) * decay,
        lambda: -second * tau * (1 + s) * decay,
        lambda: -second * (1 + s - s**2) * decay,
        lambda: fourth * tau * (3 - s) * decay,
        lambda: fourth * (3 - 5 * s + s**2) * decay,
    ]
    return [form() for form in forms[: highest + 1]]


def _gaussian_derivatives(tau: Tensor, log_scales: Tensor, highest: int) -> list[Tensor]:
    """Derivatives of exp(−a τ²)."""
    a = log_scales.exp()
    square = a * tau**2
    value = torch.exp(-square)
    forms: list[Callable[[], Tensor]] = [
        lambda: value,
        lambda: -2 * a * tau * value,
        lambda: 2 * a * (2 * square - 1) * value,
        lambda: 4 * a**2 * tau * (3 - 2 * square) * value,
        lambda: 4 * a**2 * (4 * square**2 - 12 * square + 3) * value,
    ]
    return [form() for form in forms[: highest + 1]]


def _cosine_derivatives(tau: Tensor, omega: Tensor, highest: int) -> list[Tensor]:
    """Derivatives of cos(ω τ)."""
    phase = omega * tau
    cosine, sine = torch.cos(phase), torch.sin(phase)
    forms: list[Callable[[], Tensor]] = [
        lambda: cosine,
        lambda: -omega * sine,
        lambda: -(omega**2) * cosine,
        lambda: omega**3 * sine,
        lambda: omega**4 * cosine,
    ]
    return [form() for form in forms[: highest + 1]]


STM = MixtureKernel("stm", _matern_derivatives, oscillating=True)
GM = MixtureKernel("gm", _gaussian_derivatives, oscillating=True)
MATERN = MixtureKernel("matern", _matern_derivatives, oscillating=False)
SE = MixtureKernel("se", _gaussian_derivatives, oscillating=False)

KERNELS: Mapping[str, MixtureKernel] = MappingProxyType(
    {kernel.name: kernel for kernel in (STM, GM, MATERN, SE)}
)
"""The kernels by the names that the solver takes."""


def kernel_named(name: str) -> MixtureKernel:
    """The kernel of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in KERNELS:
        raise ValueError(
            f"kernel_named: expected one of {sorted(KERNELS)}, got {name!r}; 'stm' (Student-t "
            "mixture) and 'gm' (Gaussian mixture) are the published ones"
        )
    return KERNELS[name]
