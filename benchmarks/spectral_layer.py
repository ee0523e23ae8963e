"""Time and memory of the spectral layer against neuraloperator's, forward and backward.

Both run on one thread in one process, interleaved call by call, on the same weights and data.
Run twice: with the allocator as it is, and in a second process with settings that keep freed
memory, which favours the reference (it allocates many large temporaries). The gates are for the
second column. Where two processors can be used, one case is repeated with two threads.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from neuralop.layers.spectral_convolution import SpectralConv as ReferenceConv
from record import report

from sciml.nn.spectral_conv import SpectralConv

# Batch, channels, grid, modes per sign, and the smallest ratio: untuned, tuned.
CASES = [
    (8, 32, (64, 64), 12, (3.5, 2.6)),
    (4, 64, (128, 128), 16, (4.0, 3.1)),
    (2, 32, (256, 256), 16, (3.6, 3.5)),
    (32, 64, (1024,), 16, (2.0, 2.0)),
    (2, 16, (32, 32, 32), 8, (4.8, 4.8)),
]
TWO_THREADS = 1
"""The case that is also measured with two threads."""
TUNED = {
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    parser.add_argument("--only-measure", type=int, nargs="+", help="print these cases as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only_measure is not None:
        cases = (CASES[i][:4] for i in options.only_measure)
        print(json.dumps([_measure(*case, options.repetitions) for case in cases]))
        return
    every = range(len(CASES))
    columns = {name: _column(name, options, every) for name in ("untuned", "tuned")}
    rows = []
    for i, (batch, channels, space, modes, gates) in enumerate(CASES):
        row: dict[str, Any] = {
            "batch": batch, "channels": channels, "space": space, "modes": modes,
        }  # fmt: skip
        for (name, column), gate in zip(columns.items(), gates, strict=True):
            row[name] = column[i] | {"gate": gate}
            row[name]["met"] = column[i]["ratio"]["median"] >= gate
        rows.append(row)
    settings = {"repetitions": options.repetitions, "threads": options.threads}
    result = {"options": settings, "allocator": TUNED, "cases": rows}
    if len(os.sched_getaffinity(0)) > 1:
        options.threads = 2
        (column,) = _column("tuned", options, [TWO_THREADS])
        result["two_threads"] = {"space": CASES[TWO_THREADS][2], "tuned": column}
    report(result, options.output)


def _column(
    name: str, options: argparse.Namespace, cases: Iterable[int]
) -> list[dict[str, Any]]:
    """Cases in a fresh process with that allocator."""
    environment = {k: v for k, v in os.environ.items() if k not in TUNED}
    command = [
        sys.executable, __file__, f"--repetitions={options.repetitions}",
        f"--threads={options.threads}", "--only-measure", *map(str, cases),
    ]  # fmt: skip
    result = subprocess.run(
        command,
        env=environment | (TUNED if name == "tuned" else {}),
        check=True,
        capture_output=True,
        text=True,
    )
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


def _measure(
    batch: int, channels: int, space: tuple[int, ...], modes: int, repetitions: int
) -> dict[str, Any]:
    torch.manual_seed(161803399)
    num_modes = (2 * modes,) * len(space)
    reference = ReferenceConv(channels, channels, num_modes)
    layer = SpectralConv(channels, channels, num_modes)
    layer.load_neuraloperator(reference.state_dict())
    u = torch.randn(batch, channels, *space, requires_grad=True)
    cotangent = torch.randn(batch, channels, *space)
    steps = {"reference": _step(reference, u, cotangent), "ours": _step(layer, u, cotangent)}
    outputs = {name: step() for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repetitions):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - start))
    pairs = zip(times["reference"], times["ours"], strict=True)
    saved = {
        "reference": _saved_bytes(reference, u),
        "ours": _saved_bytes(layer, u),
    }
    difference = outputs["ours"] - outputs["reference"]
    return {
        "milliseconds": {name: _summary(values) for name, values in times.items()},
        "ratio": _summary([theirs / ours for theirs, ours in pairs]),
        "saved_bytes": saved,
        "saved_ratio": saved["ours"] / saved["reference"],
        "relative_difference": float(difference.norm() / outputs["reference"].norm()),
    }


def _step(
    layer: torch.nn.Module, u: torch.Tensor, cotangent: torch.Tensor
) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        layer.zero_grad()
        u.grad = None
        output: torch.Tensor = layer(u)
        output.backward(cotangent)
        return output.detach()

    return run


def _saved_bytes(layer: torch.nn.Module, u: torch.Tensor) -> int:
    """Bytes of distinct storages held for backward, parameters excepted."""
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = layer(u)
    del output
    return sum(held.values())


def _summary(values: list[float]) -> dict[str, float]:
    low, high = min(values), max(values)
    return {"median": statistics.median(values), "min": low, "max": high}


if __name__ == "__main__":
    main()
