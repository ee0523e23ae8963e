"""Kronecker and Toeplitz algebra against linear_operator and scipy, one thread, side by side.

Kronecker: product, solve and log determinant with one, two and three factors, on one field.
Both sides factorise: linear_operator's conjugate gradients, its default above 800 unknowns, are
switched off, since they stop at a far larger residual. Toeplitz: solves of positive definite
systems against `scipy.linalg.solve_toeplitz`, one and many right-hand sides, with the relative
residuals of both. Every call builds its operator anew, so nothing cached is timed.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import scipy.linalg
import torch
from linear_operator import settings
from linear_operator.operators import DenseLinearOperator, KroneckerProductLinearOperator
from record import report

from sciml import KroneckerOperator, ToeplitzOperator

KRONECKER_SIZES = {
    1: (64, 128, 256, 512, 1024, 2048, 4096),
    2: (16, 32, 64, 128, 256, 512, 1024),
    3: (8, 16, 32, 64, 128),
}
TOEPLITZ_SIZES = (256, 512, 1024, 2048, 4096)
Call = Callable[[], Any]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=101, help="most of one comparison")
    parser.add_argument("--seconds", type=float, default=4.0, help="budget of one comparison")
    parser.add_argument("--quick", action="store_true", help="small sizes, a short budget")
    parser.add_argument("--max-size", type=int, default=4096, help="largest factor")
    parser.add_argument(
        "--num-fields", type=int, default=16, help="right-hand sides in a batch"
    )
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    if options.quick:
        options.max_size, options.seconds = min(options.max_size, 128), 0.2
    torch.set_num_threads(1)
    torch.manual_seed(271828183)
    budget = (options.repetitions, options.seconds)
    kronecker = [
        row
        for num_factors, sizes in KRONECKER_SIZES.items()
        for size in sizes
        if size <= options.max_size
        for row in kronecker_rows([size] * num_factors, budget)
    ]
    toeplitz = [
        toeplitz_row(name, size, count, budget)
        for name in COLUMNS
        for size in TOEPLITZ_SIZES
        if size <= options.max_size
        for count in (1, options.num_fields)
    ]
    ratios = {
        f"{row['operation']} {row['factors']}x{row['size']}": row["ratio"]["median"]
        for row in kronecker
    }
    result = {
        "options": {k: v for k, v in vars(options).items() if k != "output"},
        "kronecker": kronecker,
        "kronecker_ratio": {
            "median": statistics.median(ratios.values()),
            "min": min(ratios.values()),
            "below_0.95": {name: ratio for name, ratio in ratios.items() if ratio < 0.95},
        },
        "toeplitz": toeplitz,
        "toeplitz_ratio": {
            f"{row['column']} {row['size']}, {row['right_hand_sides']}": row["ratio"]["median"]
            for row in toeplitz
        },
    }
    report(result, options.output)


def kronecker_rows(sizes: Sequence[int], budget: tuple[int, float]) -> list[dict[str, Any]]:
    """Product, solve and log determinant for factors of these sizes."""
    factors = [
        torch.from_numpy(scipy.linalg.toeplitz(COLUMNS["exponential"](size).numpy()))
        for size in sizes
    ]
    field = torch.randn(*sizes, dtype=torch.float64)
    column = field.reshape(-1, 1)

    def ours() -> KroneckerOperator:
        return KroneckerOperator(factors, positive_definite=True)

    def theirs() -> KroneckerProductLinearOperator:
        return KroneckerProductLinearOperator(*map(DenseLinearOperator, factors))

    calls: dict[str, tuple[Call, Call]] = {
        "matmul": (lambda: ours() @ field, lambda: theirs() @ column),
        "solve": (lambda: ours().solve(field), lambda: theirs().solve(column)),
        "logdet": (lambda: ours().logdet(), lambda: theirs().logdet()),
    }
    rows = []
    with torch.no_grad(), settings.fast_computations(solves=False, log_prob=False):
        for operation, (mine, other) in calls.items():
            rows.append(
                {"factors": len(sizes), "size": sizes[0], "operation": operation}
                | compare(mine, other, "linear_operator", budget)
                | {"relative_difference": difference(mine().flatten(), other().flatten())}
            )
    return rows


def toeplitz_row(name: str, size: int, count: int, budget: tuple[int, float]) -> dict[str, Any]:
    """One positive definite solve with `count` right-hand sides."""
    column = COLUMNS[name](size)
    right = torch.randn(count, size, dtype=torch.float64)
    operator = ToeplitzOperator(column, positive_definite=True)
    lags, columns = column.numpy(), right[0].numpy() if count == 1 else right.T.numpy()

    def ours() -> torch.Tensor:
        return ToeplitzOperator(column, positive_definite=True).solve(right)

    def theirs() -> Any:
        return scipy.linalg.solve_toeplitz(lags, columns)

    other = torch.from_numpy(theirs().T.reshape(count, size).copy())
    return (
        {"column": name, "size": size, "right_hand_sides": count}
        | compare(ours, theirs, "scipy", budget)
        | {
            "relative_residual": {
                "sciml": difference(operator @ ours(), right),
                "scipy": difference(operator @ other, right),
            }
        }
    )


def compare(mine: Call, other: Call, name: str, budget: tuple[int, float]) -> dict[str, Any]:
    """Interleaved times of two calls; the ratio is theirs over ours, so above 1 is faster.

    Which one goes first alternates, and short calls get many rounds: another process that takes
    the core for some milliseconds then spoils a few ratios on either side, not the median.
    """
    repetitions, seconds = budget
    both = _seconds(mine, 1) + _seconds(other, 1)
    both = min(both, _seconds(mine, 1) + _seconds(other, 1))  # the first calls warm up
    # calls of microseconds are repeated until the clock resolves them
    repeats = max(1, int(2e-3 / both))
    sides = [("sciml", mine), (name, other)]
    times: dict[str, list[float]] = {"sciml": [], name: []}
    for _ in range(max(3, min(repetitions, int(seconds / (repeats * both))))):
        sides.reverse()
        for label, call in sides:
            times[label].append(1e3 * _seconds(call, repeats))
    ratios = [b / a for a, b in zip(times["sciml"], times[name], strict=True)]
    return {
        "milliseconds": {label: summary(values) for label, values in times.items()},
        "ratio": summary(ratios),
    }


def _seconds(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def summary(values: list[float]) -> dict[str, float]:
    """Median and spread."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative difference in the 2-norm."""
    return float((a - b).norm() / b.norm())


def _lags(size: int) -> torch.Tensor:
    return torch.arange(size, dtype=torch.float64)


COLUMNS: dict[str, Callable[[int], torch.Tensor]] = {
    "exponential": lambda size: torch.exp(-_lags(size) / 5),
    "squared_exponential": lambda size: (
        torch.exp(-0.5 * (_lags(size) / 4) ** 2) + 0.1 * (_lags(size) == 0)
    ),
    "algebraic": lambda size: (1 + _lags(size)) ** -1.1,
}
"""First columns of positive definite Toeplitz matrices, condition numbers 1e1 to 1e2."""


if __name__ == "__main__":
    main()
