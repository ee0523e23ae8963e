"""What `import sciml` costs beyond `import torch`, in fresh interpreters, in pairs.

python benchmarks/import_time.py --output benchmarks/results/import_time.json
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from record import report

CODE = (
    "import time, torch; t = time.perf_counter(); import sciml; print(time.perf_counter() - t)"
)


def main() -> None:
    """Measure the extra import time several times and report its median and spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    seconds = [
        float(subprocess.check_output([sys.executable, "-c", CODE], text=True))
        for _ in range(arguments.repeats)
    ]
    result = {
        "extra_seconds_median": statistics.median(seconds),
        "extra_seconds_min": min(seconds),
        "extra_seconds_max": max(seconds),
    }
    report(result, arguments.output)


if __name__ == "__main__":
    main()
