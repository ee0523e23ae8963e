"""Is the chosen back end of truncated spectra the faster one? A sweep over grids and modes.

Both back ends run analysis and synthesis of the same fields in one process on one thread,
interleaved. The regret of a shape is the time of the chosen back end over that of the better.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from record import report

from sciml.fft.truncated import analyse, kept_modes, synthesise
from sciml.fft.truncated_cost import cheaper_backend, cheapest_form

LINES = [
    (n, k)
    for n in (32, 63, 64, 100, 125, 128, 256, 500, 512, 1021, 1024, 4096)
    for k in (8, 16, 32, 64, 128)
    if k <= n
]
PLANES = [
    (shape, k)
    for shape in ((32, 32), (64, 64), (63, 65), (85, 85), (128, 128), (256, 256), (96, 160))
    for k in (12, 24, 48)
    if k <= min(shape)
]
VOLUMES = [
    (shape, k)
    for shape in ((16, 16, 16), (32, 32, 32), (27, 30, 33), (48, 48, 48), (64, 64, 64))
    for k in (8, 16, 32)
    if k <= min(shape)
]
SHAPES = [
    *(((n,), (k,)) for n, k in LINES),
    *((shape, (k,) * 2) for shape, k in PLANES),
    *((shape, (k,) * 3) for shape, k in VOLUMES),
]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=2**20, help="points of all fields")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(271828183)
    rows = [_compare(shape, modes, options) for shape, modes in SHAPES]
    regrets = [row["regret"] for row in rows]
    result = {
        "options": {k: v for k, v in vars(options).items() if k != "output"},
        "shapes": len(rows),
        "worst_regret": max(regrets),
        "within_15_percent": sum(regret <= 1.15 for regret in regrets),
        "rows": rows,
    }
    report(result, options.output)


def _compare(
    space: tuple[int, ...], modes: tuple[int, ...], options: argparse.Namespace
) -> dict[str, Any]:
    points = torch.Size(space).numel()
    u = torch.randn(max(1, options.points // points), *space, device=options.device)
    times: dict[str, list[float]] = {"matrix": [], "fft": []}
    for repetition in range(options.repetitions + 1):
        for backend, values in times.items():
            start = _now(options.device)
            synthesise(analyse(u, modes, backend=backend), space, backend=backend)  # type: ignore[arg-type]  # keys
            if repetition:
                values.append(1e3 * (_now(options.device) - start))
    medians = {name: statistics.median(values) for name, values in times.items()}
    kept = kept_modes(modes, space)
    chosen = cheaper_backend(space, kept, options.device)
    return {
        "space": space,
        "modes": modes,
        "fields": len(u),
        "milliseconds": medians,
        "form": cheapest_form(space, kept, options.device),
        "chosen": chosen,
        "regret": medians[chosen] / min(medians.values()),
    }


def _now(device: str) -> float:
    """Seconds; process time on the CPU, where other processes take turns."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
