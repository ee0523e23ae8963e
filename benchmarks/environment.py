"""Facts about the machine and the code that every benchmark writes beside its numbers."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import sciml


def environment() -> dict[str, Any]:
    """Command, commit, versions and hardware of this run."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": _commit(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "sciml": getattr(sciml, "__version__", "unknown"),
        },
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def _commit() -> str:
    """Commit of the working tree, marked when it has changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
