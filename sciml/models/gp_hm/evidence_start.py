"""Where the search for the largest evidence begins: frequencies that are in the data.

The evidence has one maximum for every way in which a wave can miss the data, so a start at
evenly spread frequencies may end anywhere. Here the right-hand side is fitted by a lattice of
lines on each axis, with weights that are learned in three passes, and the components begin at
the lines that remain.

Source: the reweighting is the fixed point of the joint maximum a posteriori estimate with a
log-uniform prior of the weights, Fang et al., ICLR 2024, arXiv 2311.04465, in closed form.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.models.gp_hm.direct_basis import truncated_svd
from sciml.models.gp_hm.direct_evidence import SingularData
from sciml.models.gp_hm.evidence_gram import Hyperparameters
from sciml.models.gp_hm.evidence_rows import RowGroup
from sciml.models.gp_hm.kernels import MixtureKernel, MixtureParameters
from sciml.models.gp_hm.model import HarmonicFeatures, harmonic_lattice

_PASSES, _CUT = 3, 1e-12
_NYQUIST_FRACTION = 0.95
_THRESHOLD = 1e-3
"""Lines weaker than this, beside the strongest, are no peaks."""

_START_NOISE = 1e-6
_ABOVE_NOISE = 3.0
"""Amplitude of a line in standard deviations of what noise alone makes there."""


def spectral_start(
    kernel: MixtureKernel,
    nodes: Sequence[Float[Tensor, "_"]],
    equation: RowGroup,
    num_components: int,
    kappa: float,
) -> Hyperparameters:
    """One component at zero frequency, the others at the strongest lines of each axis.

    Args:
        kernel: Whose parameters; it decides what a scale means.
        nodes: Uniform nodes of each axis.
        equation: The rows of the equation at all nodes, in C order.
        num_components: Q at most; fewer where fewer lines are found.
        kappa: Lines of the lattice per period of an axis.
    """
    shape = [len(line) for line in nodes]
    samples = equation.values.reshape(shape)
    mixtures, noises = [], []
    for k, line in enumerate(nodes):
        columns = samples.movedim(k, 0).reshape(shape[k], -1)
        symbol = _symbol(equation.terms, k)
        frequencies, amplitudes, noise = _lines(
            line, columns, symbol, kappa, num_components - 1
        )
        mixtures.append(_mixture(kernel, line, frequencies, amplitudes, first=k == 0))
        noises.append(noise)
    # what one axis cannot explain may be structure along another
    level = max(min(noises), _START_NOISE)
    return Hyperparameters(tuple(mixtures), torch.tensor(math.log(level)).double())


def _symbol(terms: Mapping[tuple[int, ...], Tensor], k: int) -> dict[int, float]:
    """Mean coefficient by order of the terms that differentiate along axis k alone."""
    symbol: dict[int, float] = {}
    for index, coefficients in terms.items():
        if sum(index) == index[k]:
            symbol[index[k]] = float(coefficients.mean())
    return symbol


def _lines(
    nodes: Tensor, columns: Tensor, symbol: Mapping[int, float], kappa: float, count: int
) -> tuple[Tensor, Tensor, float]:
    """Frequencies (cycles per unit length), amplitudes of the strongest lines of u, noise."""
    length = float(nodes[-1] - nodes[0])
    nyquist = (len(nodes) - 1) / (2 * length)
    features = harmonic_lattice(
        float(nodes[0]),
        length,
        highest_frequency=_NYQUIST_FRACTION * nyquist,
        kappa=kappa,
    )
    energy, noise = torch.zeros_like(features.omega), 0.0
    for _ in range(_PASSES):
        coefficients, noise = _fit(features, nodes, columns)
        energy = features.energy(coefficients)
        features = features.reweighted(coefficients)
    amplitude = energy / math.sqrt(columns.shape[1])
    # divided by the symbol, slow lines of noise would be the strongest of all
    seen = amplitude > _ABOVE_NOISE * math.sqrt(4.0 * noise / len(nodes))
    gain = sum(c * (1j * features.omega.to(torch.complex128)) ** m for m, c in symbol.items())
    gain = torch.as_tensor(gain, dtype=torch.complex128).abs().expand_as(amplitude)
    # the line at zero frequency has a component of its own
    amplitude = torch.where(seen & (features.omega > 0) & (gain > 0), amplitude / gain, 0.0)
    inner = amplitude[1:-1]
    peak = (inner >= amplitude[:-2]) & (inner > amplitude[2:])
    peak &= inner > _THRESHOLD * amplitude.max()
    found = 1 + torch.nonzero(peak)[:, 0]
    strongest = found[amplitude[found].argsort(descending=True)][:count]
    return features.omega[strongest] / (2 * math.pi), amplitude[strongest], noise


def _fit(features: HarmonicFeatures, nodes: Tensor, columns: Tensor) -> tuple[Tensor, float]:
    """Posterior mean of the coefficients of the features, and the variance of the noise."""
    left, singular, right = truncated_svd(features.evaluate(nodes) * features.scales, _CUT)
    y = left.T @ columns
    mean = 1.0 / columns.shape[1]
    outside = mean * float(columns.square().sum() - y.square().sum())
    along = mean * y.square().sum(1)
    data = SingularData(singular.square(), along, max(outside, 0.0), len(nodes))
    ratio, prior, _ = data.best()
    filtered = singular / (singular.square() + ratio)
    return features.scales[:, None] * (right @ (filtered[:, None] * y)), ratio * prior


def _mixture(
    kernel: MixtureKernel,
    nodes: Tensor,
    frequencies: Tensor,
    amplitudes: Tensor,
    *,
    first: bool,
) -> MixtureParameters:
    """Bumps as narrow as the axis can tell; the first axis carries the variance of u."""
    length = float(nodes[-1] - nodes[0])
    variances = amplitudes.square() / 2
    total = float(variances.sum()) or 1.0
    weights = torch.cat([variances.new_tensor([total]), variances])
    if not first:
        weights = weights / weights.sum()
    # the lattice tells lines apart that are 1 / (κ L) from each other; λ is a rate, a a square
    scale = -math.log(length) * (2 if kernel.name in ("gm", "se") else 1)
    return MixtureParameters(
        weights.log(),
        torch.full_like(weights, scale),
        torch.cat([frequencies.new_zeros(1), frequencies]),
    )
