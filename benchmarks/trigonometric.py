"""Time the cosine and sine transforms against `scipy.fft` over all axes, on one thread.

Both run interleaved in one process on the same arrays; a ratio above 1 means that ours is
faster. The exponent of the cost in n over one long axis is fitted beside it. With `--tuned` the
allocator keeps freed memory: without, whether an array of some megabytes costs page faults
depends on what the process has allocated before, in either library.
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import torch
from record import report

from sciml.fft.trigonometric import dct, dst

SHAPES = [(32, 32), (64, 64), (128, 128), (256, 256), (512, 512), (64, 64, 64)]
PAIRS = {"dct": (dct, scipy.fft.dctn), "dst": (dst, scipy.fft.dstn)}
TUNED = {
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--kinds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tuned", action="store_true", help="keep freed memory")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    if options.tuned and not TUNED.items() <= os.environ.items():
        # The allocator reads its settings when the process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | TUNED)
    torch.set_num_threads(1)
    rows = [
        _compare(name, kind, shape, dtype, options.repetitions)
        for dtype in (torch.float64, torch.float32)
        for shape in SHAPES
        for name in PAIRS
        for kind in options.kinds
    ]
    ratios = [row["ratio"]["median"] for row in rows]
    result = {
        "options": {k: v for k, v in vars(options).items() if k != "output"},
        "smallest_ratio": min(ratios),
        "median_ratio": statistics.median(ratios),
        "cost_slope": {name: _slope(name, options.repetitions) for name in PAIRS},
        "rows": rows,
    }
    report(result, options.output)


def _compare(
    name: str, kind: int, shape: tuple[int, ...], dtype: torch.dtype, repetitions: int
) -> dict[str, Any]:
    """Both libraries on one array, alternating."""
    u = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(662607015))
    x, axes = u.numpy(), tuple(range(len(shape)))
    ours, theirs = PAIRS[name]

    def run_ours() -> torch.Tensor:
        return ours(u, kind, axes)

    def run_theirs() -> np.ndarray:
        return theirs(x, kind)

    expected = run_theirs()
    difference = np.abs(run_ours().numpy() - expected).max() / np.abs(expected).max()
    # Enough calls between two looks at the clock for the clock not to matter.
    calls = max(1, int(2e6 / (np.prod(shape) * len(shape) * 16)))
    pairs = [
        (_microseconds(run_ours, calls), _microseconds(run_theirs, calls))
        for _ in range(repetitions)
    ]
    return {
        "transform": f"{name}-{kind}",
        "shape": list(shape),
        "dtype": str(dtype).removeprefix("torch."),
        "relative_difference": float(difference),
        "microseconds": {
            "sciml": _summary([ours for ours, _ in pairs]),
            "scipy": _summary([theirs for _, theirs in pairs]),
        },
        "ratio": _summary([theirs / ours for ours, theirs in pairs]),
    }


def _slope(name: str, repetitions: int) -> float:
    """Least-squares exponent of time against n on 16 lines of 2^12 … 2^17 points, type II."""
    ours, _ = PAIRS[name]
    logs = []
    for exponent in range(12, 18):
        u = torch.ones(16, 2**exponent, dtype=torch.float64)

        def run(u: torch.Tensor = u) -> torch.Tensor:
            return ours(u, 2, (1,))

        run()
        times = [_microseconds(run, 1) for _ in range(repetitions)]
        logs.append((exponent * math.log(2), math.log(statistics.median(times))))
    slope: float = statistics.linear_regression(*zip(*logs, strict=True)).slope
    return slope


def _microseconds(run: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return 1e6 * (time.perf_counter() - start) / calls


def _summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


if __name__ == "__main__":
    main()
