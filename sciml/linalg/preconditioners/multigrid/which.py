"""Which kernels run a cycle."""

import importlib
import importlib.util
from functools import cache
from typing import Any, final

import torch

from sciml.linalg.preconditioners.multigrid.kernels import HostKernels, Kernels
from sciml.linalg.preconditioners.multigrid.kernels_torch import TorchKernels

WARM_UP = 500
"""Cycles of a process, a second or so of them, before it imports numba, which takes as long."""


@final
class CycleCount:
    """How many cycles this process has run."""

    def __init__(self) -> None:
        self.value = 0


cycles_run = CycleCount()


@cache
def has_numba() -> bool:
    """Whether numba is installed; it is not imported."""
    return importlib.util.find_spec("numba") is not None


def choose_kernels(device: torch.device, compiled: bool | None) -> Kernels:
    """NumPy or numba on the CPU, torch elsewhere.

    Args:
        device: Where the cycle is to run.
        compiled: Whether numba compiles the loops of level 0 on the CPU; None is as soon as
            that pays: where it is installed, after the first `WARM_UP` cycles.

    Raises:
        ImportError: If numba is asked for and not installed.
    """
    if device.type != "cpu":
        return TorchKernels(device)
    if compiled is None:
        compiled = cycles_run.value > WARM_UP and has_numba()
    if not compiled:
        return HostKernels()
    try:
        module: Any = importlib.import_module(
            "sciml.linalg.preconditioners.multigrid.kernels_numba"
        )
    except ImportError as error:
        raise ImportError(
            "choose_kernels: expected numba to be installed, got none; pip install "
            "'sciml-pde[solvers]', or leave compiled=None"
        ) from error
    kernels: Kernels = module.CompiledKernels()
    return kernels
