"""Seconds to generate the 240 trajectories of `scale=small`, several times from nothing.

python benchmarks/generation.py --output benchmarks/results/generation.json
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from record import report

from sciml.data.generate import generate_splits


def main() -> None:
    """Generate into a temporary folder and report median and spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    seconds = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            generate_splits(
                "fno_navier_stokes",
                folder,
                name="navier_stokes",
                splits={"train": 180, "valid": 20, "test": 40},
                shard_size=60,
                seed=20263,
                viscosity=1e-3,
                resolution=64,
                num_frames=21,
            )
            seconds.append(time.perf_counter() - start)
    result = {
        "threads": torch.get_num_threads(),
        "seconds_median": statistics.median(seconds),
        "seconds_min": min(seconds),
        "seconds_max": max(seconds),
    }
    report(result, arguments.output)


if __name__ == "__main__":
    main()
