"""Cost and memory of one pass of GP-HM's direct solver against the nodes per axis.

Every size runs in a process of its own: the peak is the growth of the resident set during the
solve, after a small one has loaded all libraries. The fit is the slope of log peak against
log(Σ M_k² + M), M_k nodes on each axis and M in all, which is 1 where memory is O(Σ M_k² + M).
"""

import argparse
import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.solver import GPHMSolver
from sciml.pde.gallery.poisson import poisson_1d, poisson_2d, poisson_3d
from sciml.pde.problem import Problem
from sciml.solvers.base import solve

COUNTS = {1: (128, 256, 512, 1024), 2: (128, 256, 512, 1024), 3: (32, 64, 128, 192)}
VISIBLE = 8.0  # mebibytes; less is lost in what the small solve left


def scaling(*, quick: bool = False) -> list[dict[str, Any]]:
    """Seconds and peak memory of every size, and their exponents by number of axes.

    Args:
        quick: Without the largest size of each dimension.
    """
    found = []
    for ndim, counts in COUNTS.items():
        rows = [_in_process(ndim, count) for count in (counts[:-1] if quick else counts)]
        seen = [row for row in rows if row["peak_mebibytes"] > VISIBLE]
        fitted = {
            "axes": ndim,
            "rows": rows,
            "exponent_of_memory": _slope(seen, "numbers", "peak_mebibytes"),
            "exponent_of_memory_per_axis": _slope(seen, "resolution", "peak_mebibytes"),
            "exponent_of_seconds_per_axis": _slope(rows[-3:], "resolution", "seconds"),
        }
        print(fitted)
        found.append(fitted)
    return found


def _in_process(ndim: int, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", str(ndim), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def _measure(ndim: int, count: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    _solve(ndim, 24)
    before = _peak()
    seconds = _solve(ndim, count)
    grown = _peak() - before
    numbers = ndim * count**2 + count**ndim
    return {
        "resolution": count,
        "numbers": numbers,
        "seconds": seconds,
        "peak_mebibytes": grown,
        "peak_over_numbers": grown * 2**20 / (8 * numbers),
    }


def _peak() -> float:
    """Largest resident set so far in mebibytes.

    Linux's own figure and not ``ru_maxrss``, which begins with that of the parent process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return float(line.split()[1]) / 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def _solve(ndim: int, count: int) -> float:
    makers: dict[int, tuple[Callable[..., Problem], str]] = {
        1: (poisson_1d, "sin_cos"),
        2: (poisson_2d, "sin_add_cos"),
        3: (poisson_3d, "sin_sin_sin"),
    }
    make, case = makers[ndim]
    scale = count / 8.0
    frequencies = {1: (0.1 * scale, scale), 2: (0.2 * scale, scale), 3: (scale,) * 3}[ndim]
    options = DirectOptions(num_passes=1, repair=False, form="strong", nyquist_fractions=(0.6,))
    problem = make(case, frequencies=frequencies)
    solution = solve(problem, GPHMSolver(count, options=options), throw=False)
    return float(solution.stats["seconds"])


def _slope(rows: list[dict[str, Any]], across: str, name: str) -> float | None:
    """Exponent of a power law through the rows; None for fewer than two."""
    if len(rows) < 2:
        return None
    x = [math.log(row[across]) for row in rows]
    y = [math.log(row[name]) for row in rows]
    middle, height = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - middle) * (b - height) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - middle) ** 2 for a in x)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs=2, type=int, metavar=("AXES", "NODES"))
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measure(*options.measure)))
    else:
        print(json.dumps(scaling()))
