"""How the default pressure solve scales, and what it gains from being used in a loop."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sciml import CCMG, PoissonOperator, linear_solve
from sciml.linalg.preconditioners.multigrid.steps import run_steps
from sciml.simulate.geometry import make_flags, right_hand_side

REPETITIONS = 5


def resolution_rows(quick: bool) -> list[dict[str, Any]]:
    """Steps, seconds and memory per cell against the number of cells."""
    flat = [(n, n) for n in ((64, 128) if quick else (64, 128, 256, 512, 1024))]
    solid = [(n, n, n) for n in ((16, 32) if quick else (32, 64, 128))]
    rows: list[dict[str, Any]] = []
    for kind in ("random", "thin", "freesurf"):
        for shapes in (flat, solid):
            mine = [_resolution_row(kind, shape) for shape in shapes]
            cells, seconds = (
                np.array([row[key] for row in mine], float)
                for key in ("cells", "total_seconds")
            )
            slope = float(np.polyfit(np.log(cells[-2:]), np.log(seconds[-2:]), 1)[0])
            last = mine[-1]
            last["slope_of_the_last_two"] = slope
            if len(shapes[0]) == 3:
                grown = last["total_seconds"] * 8**slope
                last["extrapolated_seconds_of_twice_the_side"] = grown
            rows += mine
    return rows


def _resolution_row(kind: str, shape: tuple[int, ...]) -> dict[str, Any]:
    flags = make_flags(kind, shape, seed=20261)
    operator = PoissonOperator(flags)
    b = operator.project(torch.from_numpy(right_hand_side(flags, seed=20263)))
    first, again = [], []
    for _ in range(REPETITIONS if b.numel() < 1e6 else 3):
        start = time.perf_counter()
        fresh = PoissonOperator(flags)
        solution = linear_solve(fresh, b)
        first.append(time.perf_counter() - start)
        start = time.perf_counter()
        linear_solve(fresh, b)
        again.append(time.perf_counter() - start)
    return {
        "name": f"{kind} {'x'.join(map(str, shape))}",
        "cells": int(np.prod(shape)),
        "steps": solution.num_steps,
        "total_seconds": statistics.median(first),
        "second_solve_seconds": statistics.median(again),
        "operator_complexity": solution.stats.get("operator_complexity"),
        "hierarchy_bytes_per_cell": CCMG(fresh).hierarchy.num_bytes / b.numel(),
        "preconditioner": solution.stats.get("preconditioner"),
    }


def use_rows(quick: bool) -> dict[str, Any]:
    """Batches of right-hand sides and the bandwidth of a sweep beside that of a copy."""
    shapes = ((64, 64), (16, 16, 16)) if quick else ((512, 512), (64, 64, 64), (128, 128, 128))
    return {
        "batches": [_batch_row(n) for n in ((32,) if quick else (64, 128, 256))],
        "bandwidth": [
            _bandwidth_row(shape, compiled) for shape in shapes for compiled in (False, True)
        ],
    }


def _batch_row(n: int) -> dict[str, Any]:
    flags = make_flags("random", (n, n), seed=20261)
    operator = PoissonOperator(flags)
    fields = [right_hand_side(flags, seed=seed) for seed in range(101, 117)]
    right = operator.project(torch.from_numpy(np.stack(fields)))
    linear_solve(operator, right[0])
    row: dict[str, Any] = {"name": f"random {n}x{n}"}
    for count in (1, 4, 16):
        seconds, steps = _median(lambda count=count: linear_solve(operator, right[:count]))
        row[f"milliseconds_per_side_{count}"] = 1e3 * seconds / count
        row[f"steps_{count}"] = steps
    return row


def _median(call: Callable[[], Any]) -> tuple[float, int]:
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        solution = call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), solution.num_steps


def _bandwidth_row(shape: tuple[int, ...], compiled: bool) -> dict[str, Any]:
    """Gigabytes a second of two red-black sweeps of level 0, and of a copy of as many bytes.

    A sweep has to read the right-hand side and 1 / D and to read and write x: 16 bytes a cell
    in float32. Neighbours from the cache count as nothing.
    """
    operator = PoissonOperator(make_flags("random", shape, seed=20261))
    hierarchy = CCMG(operator, compiled=compiled).hierarchy
    sweeps = hierarchy.fine.smooth_after()
    size = int(np.prod(shape))
    source = np.zeros(16 * size // 8, np.float32)  # read and written: 8 bytes an entry
    target = np.ones_like(source)
    seconds: dict[str, list[float]] = {"sweep": [], "copy": [], "cycle": []}
    calls: dict[str, Callable[[], Any]] = {
        "sweep": lambda: run_steps(sweeps),
        "copy": lambda: np.copyto(target, source),
        "cycle": hierarchy.cycle.run,
    }
    repeats = max(3, 2**22 // size)
    for _ in range(REPETITIONS):
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            seconds[name].append((time.perf_counter() - start) / repeats)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "name": "x".join(map(str, shape)),
        "compiled": compiled,
        "sweep_gigabytes_per_second": 32e-9 * size / median["sweep"],
        "copy_gigabytes_per_second": 16e-9 * size / median["copy"],
        "cycle_milliseconds": 1e3 * median["cycle"],
    }
