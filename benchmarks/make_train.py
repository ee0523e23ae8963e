"""Seconds and peak memory of `make train` after installation, data generation included.

Works on a fresh clone of the commit that is checked out, so that no data lie there beforehand.

    python benchmarks/make_train.py --output benchmarks/results/make_train.json --figures docs
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import report

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Clone, train with the interpreter that runs this script, and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--figures", type=Path, default=None, help="copy the README's figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        # The clone's own modules come first on the path; nothing is installed again.
        command = [sys.executable, "train.py", "model=lsm", "dataset=navier_stokes",
                   "hydra.run.dir=run"]  # fmt: skip
        start = time.perf_counter()
        subprocess.run(
            command, cwd=clone, env=os.environ | {"PYTHONPATH": str(clone)}, check=True
        )
        seconds = time.perf_counter() - start
        metrics = json.loads((clone / "run" / "metrics.json").read_text())
        if arguments.figures is not None:
            for name in ("rollout.png", "error.png"):
                shutil.copy(clone / "run" / "figures" / name, arguments.figures)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    result = {
        "seconds": seconds,
        "peak_memory_gib": peak,
        "metrics": {k: v for k, v in metrics.items() if "l2_step_" not in k},
    }
    report(result, arguments.output)


if __name__ == "__main__":
    main()
