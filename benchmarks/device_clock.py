"""Times of calls on a device, taken in turn."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

Call = Callable[[], Any]


def compare(calls: dict[str, Call], device: torch.device, repetitions: int) -> dict[str, Any]:
    """Milliseconds of all sides in turn; the ratio is of the first two."""
    counts = {}
    for name, call in calls.items():
        _milliseconds(call, 2, device)  # tables, plans and workspaces
        # enough calls for the clock, and for launches to queue up as they do in use
        counts[name] = max(1, min(100, int(4 / _milliseconds(call, 2, device))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            times[name].append(_milliseconds(call, counts[name], device))
    baseline, ours, *_ = times.values()
    return {
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "ratio": spread([b / a for b, a in zip(baseline, ours, strict=True)]),
    }


def _milliseconds(call: Call, count: int, device: torch.device) -> float:
    """Time of one of `count` calls in a row."""
    if device.type == "cpu":
        start = time.perf_counter()
        for _ in range(count):
            call()
        return 1e3 * (time.perf_counter() - start) / count
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(count):
        call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / count


def peak_bytes(call: Call, device: torch.device) -> int | None:
    """Memory that a call needs at most beyond what is held before it; None on the CPU."""
    if device.type == "cpu":
        return None
    call()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    return torch.cuda.max_memory_allocated(device) - before


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
