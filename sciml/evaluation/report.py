"""What a run leaves behind in words and numbers: table, metrics, environment, summary line."""

import contextlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from sciml.data.writers.atomic import write_atomically
from sciml.evaluation.compare import Comparison, verdict
from sciml.typing import Metrics, StrPath

log = logging.getLogger(__name__)

_DISTRIBUTIONS = (
    "sciml-pde", "torch", "numpy", "scipy", "h5py", "pytorch-lightning", "safetensors",
    "hydra-core", "neuraloperator", "matplotlib", "wandb",
)  # fmt: skip


def comparison_table(comparison: Comparison) -> Table:
    """Surrogate and baselines side by side; the best error in bold."""
    spec = comparison.spec
    frames = comparison.surrogate.evaluation.curve.shape[1]
    over = f", {frames} frames" if spec.autoregressive else ""
    table = Table(
        title=f"{spec.name}, {comparison.split} split{over}",
        title_justify="left",
        caption=f"relative L2 errors; ms per sample and {comparison.time_unit}",
        caption_justify="left",
    )
    table.add_column("method", no_wrap=True)
    errors = ("rollout", "one step") if spec.autoregressive else ("error",)
    for name in (*errors, "VRMSE", "ms", "parameters"):
        table.add_column(name, justify="right", no_wrap=True)
    best = min((row.error for row in comparison.rows if math.isfinite(row.error)), default=None)
    for row in comparison.rows:
        metrics = row.evaluation.metrics
        error = f"{row.error:.3e}"
        cells = [row.contestant.name, f"[bold]{error}[/]" if row.error == best else error]
        if spec.autoregressive:
            one_step = metrics.get("one_step_relative_l2")
            cells.append("–" if one_step is None else f"{one_step:.3e}")
        parameters = row.contestant.num_parameters
        cells += [f"{metrics['vrmse']:.3e}", f"{row.evaluation.milliseconds:.3g}"]
        table.add_row(*cells, f"{parameters:,}" if parameters else "–")
    return table


def show_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Write the table and what follows from it to the terminal, or to the given console."""
    console = console or Console()
    console.print(comparison_table(comparison))
    for sentence in verdict(comparison):
        console.print(sentence, highlight=False)


def summary_line(metrics: Metrics, folder: StrPath, names: Sequence[str] = ()) -> str:
    """One line that ends a run: the chosen metrics and where everything is.

    Args:
        metrics: All metrics of the run.
        folder: Run folder.
        names: Metrics to show, those that exist; the headline errors and training time by
        default.
    """
    chosen = names or (
        "test/rollout_relative_l2",
        "test/one_step_relative_l2",
        "test/relative_l2",
        "time/train_seconds",
    )
    shown = [f"{name}={metrics[name]:.4g}" for name in chosen if name in metrics]
    return " ".join([*shown, f"folder={os.fspath(folder)}"])


def write_metrics(folder: StrPath, metrics: Mapping[str, object]) -> Path:
    """Write ``metrics.json``: flat names, finite numbers.

    JSON has no infinity; a value that is not finite (a forecast that diverged) is written as
    null and named in the log.

    Args:
        folder: Run folder; made if needed.
        metrics: Flat names with their values.

    Returns:
        The file.

    Raises:
        TypeError: If a value is not a number.
        OSError: If the folder cannot be written; nothing half-written stays.
    """
    values: dict[str, float | int | None] = {}
    for name, value in sorted(metrics.items()):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(
                f"write_metrics: expected numbers, got {name}={value!r} of type "
                f"{type(value).__name__}; convert tensors with .item()"
            )
        values[name] = value if math.isfinite(value) else None
    lost = [name for name, value in values.items() if value is None]
    if lost:
        log.error("not finite, written as null to metrics.json: %s", ", ".join(lost))
    return write_json(Path(folder) / "metrics.json", values)


def write_environment(
    folder: StrPath, seed: int, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write ``environment.json``: everything about the machine that a number may depend on.

    Args:
        folder: Run folder; made if needed.
        seed: Seed of the run.
        extra: Further JSON values of the caller.

    Returns:
        The file.

    Raises:
        OSError: If the folder cannot be written; nothing half-written stays.
    """
    return write_json(
        Path(folder) / "environment.json", {"seed": seed} | environment() | dict(extra or {})
    )


def environment() -> dict[str, Any]:
    """Versions, hardware, threads, commit (null outside a checkout), command line."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        versions[name] = None
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    commit = _git("rev-parse", "HEAD") if _git("ls-files", "--", "spec.py") else None
    cuda = torch.cuda.is_available()
    return {
        "command": sys.argv,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "uncommitted_changes": None if commit is None else bool(_git("status", "--porcelain")),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if cuda else None,
        "versions": versions,
    }


def write_json(path: StrPath, value: Any) -> Path:
    """Write a JSON file as a whole or not at all.

    Raises:
        OSError: If it cannot be written, naming the file and the remedy.
    """
    target = Path(path)
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_atomically(target, lambda temporary: temporary.write_text(text))
    return target


def _git(*arguments: str) -> str | None:
    """Output of git in the package's folder; None if it is no checkout or git is missing."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        package = Path(__file__).resolve().parents[1]
        done = subprocess.run(
            ["git", *arguments],
            cwd=package,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout.strip()
    return None


def _processor() -> str:
    """Name of the processor; Linux keeps it in a file that `platform` does not read."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _memory_bytes() -> int | None:
    """Physical memory; None where the system does not tell."""
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
