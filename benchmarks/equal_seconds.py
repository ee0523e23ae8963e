"""LSM with and without its latent block, our FNO and neuraloperator's, for equal seconds.

Every model gets the same generated data, the same training seconds and the same threads, over
several seeds; the models take turns, so that a drifting machine hits all alike.

    python benchmarks/equal_seconds.py --seconds 200 --output FILE
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from record import report

ROOT = Path(__file__).parents[1]
MODELS = {
    "lsm": ["model=lsm"],
    "lsm_without_block": ["model=lsm", "model.latent_block=false"],
    "fno": ["model=fno"],
    "neuralop_fno": ["model=neuralop_fno"],
}
METRICS = (
    "test/rollout_relative_l2",
    "test/one_step_relative_l2",
    "time/train_seconds",
    "time/num_steps",
    "model/num_parameters",
)


def train(name: str, seed: int, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One training run through the command line; returns its metrics."""
    run = folder / f"{name}_{seed}"
    command = [
        sys.executable, "train.py", "dataset=navier_stokes", *MODELS[name], f"seed={seed}",
        f"trainer.max_time={arguments.seconds}", f"hydra.run.dir={run}",
    ]  # fmt: skip
    threads = str(arguments.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"{name}, seed {seed} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    metrics = json.loads((run / "metrics.json").read_text())
    row = {"model": name, "seed": seed} | {key: metrics[key] for key in METRICS}
    row |= {
        k: v for k, v in metrics.items() if k.startswith("baseline/") and "l2_step_" not in k
    }
    print(f"{name:20s} seed {seed}: rollout {row['test/rollout_relative_l2']:.5f}", flush=True)
    return row


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Median, minimum and maximum over the seeds for each model."""
    table = {}
    for name in dict.fromkeys(row["model"] for row in rows):
        values = [row["test/rollout_relative_l2"] for row in rows if row["model"] == name]
        steps = [row["time/num_steps"] for row in rows if row["model"] == name]
        table[name] = {
            "rollout_median": statistics.median(values),
            "rollout_min": min(values),
            "rollout_max": max(values),
            "num_steps_median": statistics.median(steps),
        }
    return table


def main() -> None:
    """Run all seeds of all models and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seconds", type=int, default=200, help="training seconds of each run")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10007, 20011, 30011])
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    plan = [(name, seed) for seed in arguments.seeds for name in arguments.models]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(lambda pair: train(*pair, arguments, Path(folder)), plan))
    result = {
        "settings": {k: v for k, v in vars(arguments).items() if k != "output"},
        "summary": summarise(rows),
        "runs": rows,
    }
    report(result, arguments.output)


if __name__ == "__main__":
    main()
