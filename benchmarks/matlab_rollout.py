"""Time random windows of a MATLAB v7.3 rollout file: turned into the cache, and through h5py.

The file has the layout of the published Navier-Stokes sets, (t, s, s, n) on disk with the
sample axis the fastest one. All readers run in one process on one thread, interleaved window by
window, with the files in the page cache; memcpy copies other random windows of an array of the
same size in memory. Turning the file, which is flushed to disk, is timed once.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from record import report

from sciml.data.sources import matlab
from sciml.data.sources.cache import FOLDER_VARIABLE


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1200)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--window", type=int, default=11)
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--folder", type=Path, help="where the files are made")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.environ[FOLDER_VARIABLE] = folder
        result = _measure(Path(folder) / "rollouts.mat", options)
    report(result, options.output)


def _measure(path: Path, options: argparse.Namespace) -> dict[str, object]:
    n, s, frames, window = (
        options.samples,
        options.resolution,
        options.frames,
        options.window,
    )
    generator = np.random.default_rng(1000003)
    _write(path, (frames, s, s, n), generator)
    open_files = matlab.FORMATS[1].open_files
    (turned,) = open_files([path], "auto")
    (placed,) = open_files([path], "mmap")
    out = np.empty((window, 1, s, s), np.float32)
    start = time.perf_counter()
    turned.read(0, 0, window, 1, out)
    turning = time.perf_counter() - start
    whole = np.empty((frames, 1, s, s), np.float32)
    for sample in range(n):  # a page that a process sees for the first time costs extra
        turned.read(sample, 0, frames, 1, whole)
    with h5py.File(path, "r") as file:
        stored = file["u"]

        def by_h5py(sample: int, first: int) -> NDArray[np.float32]:
            block = stored[first : first + window, :, :, sample]
            return np.ascontiguousarray(block.swapaxes(1, 2))

        def by(source: object) -> Callable[[int, int], NDArray[np.float32]]:
            def read(sample: int, first: int) -> NDArray[np.float32]:
                source.read(sample, first, first + window, 1, out)  # type: ignore[attr-defined]
                return out[:, 0]

            return read

        memory = np.ones((n, frames, 1, s, s), np.float32)
        readers = {"turned": by(turned), "in place": by(placed), "h5py": by_h5py}
        times: dict[str, list[float]] = {name: [] for name in (*readers, "memcpy")}
        for _ in range(options.repetitions):
            sample, first = int(generator.integers(n)), int(generator.integers(frames - window))
            seen = {}
            for name, read in readers.items():
                start = time.perf_counter()
                values = read(sample, first)
                times[name].append(1e3 * (time.perf_counter() - start))
                seen[name] = values.copy()
            if any(not np.array_equal(values, seen["h5py"]) for values in seen.values()):
                raise RuntimeError("readers disagree")
            other = int(generator.integers(n))
            start = time.perf_counter()
            np.copyto(out, memory[other, first : first + window])
            times["memcpy"].append(1e3 * (time.perf_counter() - start))
    size = path.stat().st_size
    ratios = {
        f"{slow} over turned": [
            a / b for a, b in zip(times[slow], times["turned"], strict=True)
        ]
        for slow in ("h5py", "in place")
    }
    ratios["memcpy over turned"] = [
        a / b for a, b in zip(times["memcpy"], times["turned"], strict=True)
    ]
    return {
        "options": {k: str(v) for k, v in vars(options).items() if k != "output"},
        "megabytes": size / 1e6,
        "turning_seconds": turning,
        "turning_megabytes_per_second": size / 1e6 / turning,
        "milliseconds_per_window": {name: _summary(v) for name, v in times.items()},
        "ratio": {name: _summary(values) for name, values in ratios.items()},
    }


def _write(path: Path, shape: tuple[int, ...], generator: np.random.Generator) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        dataset = file.create_dataset("u", shape, "f4")
        dataset.attrs["MATLAB_class"] = np.bytes_("single")
        for frame in range(shape[0]):
            dataset[frame] = generator.standard_normal(shape[1:], np.float32)


def _summary(values: list[float]) -> dict[str, float]:
    low, high = min(values), max(values)
    return {"median": statistics.median(values), "min": low, "max": high}


if __name__ == "__main__":
    main()
