"""Time one training step of the published LSM: fast exact block against the plain form.

Both run in one process on one thread, interleaved step by step, on the same parameters and
data. The straightforward form is the published model operation by operation (channels-last head
included).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from record import report
from straightforward_lsm import straightforward_copy

from sciml.models.lsm.reference import ReferenceLSM


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(314159265)
    n = options.resolution
    fast = ReferenceLSM(1, 1, (n // 16, n // 16), d_model=options.width)
    plain = straightforward_copy(fast)
    u, target = torch.randn(2, options.batch_size, 1, n, n).unbind()

    def step(model: torch.nn.Module) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            model.zero_grad()
            loss = (model(u) - target).square().mean()
            loss.backward()
            return loss.detach()

        return run

    steps = {"fast": step(fast), "straightforward": step(plain)}
    losses = {name: float(run()) for name, run in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.repetitions):
        for name, run in steps.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    pairs = zip(times["straightforward"], times["fast"], strict=True)
    ratios = [slow / quick for slow, quick in pairs]
    result = {
        "options": {k: v for k, v in vars(options).items() if k != "output"},
        "milliseconds": {name: _summary(values) for name, values in times.items()},
        "ratio": _summary(ratios),
        "relative_loss_difference": abs(losses["fast"] / losses["straightforward"] - 1),
    }
    report(result, options.output)


def _summary(values: list[float]) -> dict[str, float]:
    low, high = min(values), max(values)
    return {"median": statistics.median(values), "min": low, "max": high}


if __name__ == "__main__":
    main()
