"""Which form of a truncated transform is the fastest: a small cost model.

Costs are nanoseconds per grid point for one analysis and one synthesis. The CPU constants were
fitted to the sweep of ``benchmarks/truncated_spectra.py`` on one thread of an AVX-512 server in
float32, where they explain the times of both back ends to 13 % on average.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, final

from sciml.fft.truncated_basis import Form


@final
@dataclass(frozen=True)
class Costs:
    """Constants of one kind of device, in nanoseconds.

    Args:
        plain: Passing over the field in a product of full size.
        fold: The same with sums and differences of its halves.
        row: Half a row pair of a product, per point that it reads.
        rearrange: Combining one real row of the truncated spectrum.
        real_fft: Real FFT of one point, and its increase with log2 of the length.
        complex_fft: Complex FFT of one number on a long further axis.
        copy: Bringing one amplitude of the FFT into place.
    """

    plain: float
    fold: float
    row: float
    rearrange: float
    real_fft: tuple[float, float]
    complex_fft: float
    copy: float


CPU = Costs(0.55, 0.8, 0.083, 1.9, (1.06, 0.072), 3.0, 5.4)
# Estimated from the throughput of a recent data-centre GPU, not measured: memory traffic of
# each pass, products at a few tens of teraflops. Folding only adds passes there.
ACCELERATOR = Costs(0.01, 0.03, 0.0004, 0.02, (0.02, 0.0), 0.03, 0.02)


@lru_cache(maxsize=1024)
def cheapest_form(space: tuple[int, ...], kept: tuple[int, ...], device: str = "cpu") -> Form:
    """How the matrix back end does the axis that it transforms at full size.

    On long axes the first one is folded, because its halves are whole blocks of memory.
    """
    costs = CPU if device == "cpu" else ACCELERATOR
    if len(space) > 1 and space[0] >= 256 and space[0] % 2 == 0:
        form: Form = "fold_first"
    elif space[-1] >= 32 and space[-1] % 2 == 0:
        form = "fold_last"
    else:
        return "plain"
    folded, plain = (_matrix_cost(space, kept, f, costs) for f in (form, "plain"))
    return form if folded < plain else "plain"


@lru_cache(maxsize=1024)
def cheaper_backend(
    space: tuple[int, ...], kept: tuple[int, ...], device: str = "cpu"
) -> Literal["matrix", "fft"]:
    """The back end with the smaller estimate.

    Args:
        space: Points per axis.
        kept: Modes per axis, half of them on the last.
        device: Device type, ``"cpu"`` or an accelerator.
    """
    costs = CPU if device == "cpu" else ACCELERATOR
    form = cheapest_form(space, kept, device)
    matrix = _matrix_cost(space, kept, form, costs)
    return "matrix" if matrix <= _fft_cost(space, kept, costs) else "fft"


def _matrix_cost(
    space: tuple[int, ...], kept: tuple[int, ...], form: Form, costs: Costs
) -> float:
    """Products axis by axis, each on what the last one left, then the rearrangement."""
    rows = [*(2 * (k // 2) + 1 for k in kept[:-1]), 2 * kept[-1]]
    order = list(reversed(range(len(space))))
    if form == "fold_first":
        order.insert(0, order.pop())
    cost = costs.plain if form == "plain" else costs.fold
    remaining = 1.0
    for position, axis in enumerate(order):
        halved = position == 0 and form != "plain"
        cost += remaining * rows[axis] * costs.row / (4 if halved else 2)
        remaining *= rows[axis] / space[axis]
    truncated = 2 * math.prod(kept) / math.prod(space)
    steps = len(space) - 1 if len(space) > 1 else (form != "plain") / 3
    return cost + truncated * steps * costs.rearrange


def _fft_cost(space: tuple[int, ...], kept: tuple[int, ...], costs: Costs) -> float:
    """Real FFT of the last axis, complex ones of the others on what is kept, copies."""
    base, increase = costs.real_fft
    cost = (base + increase * math.log2(space[-1])) * _slowness(space[-1])
    remaining = kept[-1] / space[-1]
    for n, k in zip(reversed(space[:-1]), reversed(kept[:-1]), strict=True):
        # Short transforms are dominated by their start.
        cost += costs.complex_fft * (1 + 18 / n) * remaining * _slowness(n)
        remaining *= k / n
    return cost + costs.copy * remaining


def _slowness(n: int) -> float:
    """An FFT's time over that of a power of two: radices, and no real trick for odd n."""
    odd = n
    while odd % 2 == 0:
        odd //= 2
    if odd == 1:
        return 1.0
    largest, factor = 1, 3
    while odd > 1:
        while odd % factor == 0:
            odd //= factor
            largest = factor
        factor += 2
    radix = 1.15 if largest <= 13 else 4.0
    return radix * (1.8 if n % 2 else 1.0)
