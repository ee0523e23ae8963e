"""Where a test body runs: on a CUDA device, and on this machine's stand-ins for one.

Bodies that compare numbers run on the CPU in float32 against float64 there; on a CUDA device
in both precisions. Bodies that must never wait for the device run on torch's ``meta`` device
where there is no other: its tensors have no values, so reading one fails, and it is not the
CPU, so whatever is made there and brought over shows up as a copy.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

R = TypeVar("R")

CUDA = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
)
PLACES = [
    pytest.param("cpu", torch.float32, id="cpu-float32"),
    pytest.param("cuda", torch.float32, id="cuda-float32", marks=CUDA),
    pytest.param("cuda", torch.float64, id="cuda-float64", marks=CUDA),
]
HALF_PLACES = [
    pytest.param(
        device, dtype, id=f"{device}-{dtype}".replace("torch.", ""), marks=CUDA[: 2 * gpu]
    )
    for gpu, device in enumerate(("cpu", "cuda"))
    for dtype in (torch.bfloat16, torch.float16)
]
ACCELERATORS = ["meta", pytest.param("cuda", marks=CUDA)]

_READS = (
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.equal,
    torch.ops.aten.nonzero,
    torch.ops.aten.masked_select,
    torch.ops.aten.bincount,
)


class HostReads(TorchDispatchMode):
    """Counts operations that make the host wait: values read, and copies between devices."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        devices = {t.device for t in (*args, result) if isinstance(t, torch.Tensor)}
        copies = "copy" in func.overloadpacket.__name__ and len(devices) > 1
        if copies or func.overloadpacket in _READS or _selects_by_mask(func, args):
            self.operations.append(str(func))
        return result


def _selects_by_mask(func, args):
    if func.overloadpacket not in (torch.ops.aten.index, torch.ops.aten.index_put_):
        return False
    return any(index is not None and index.dtype == torch.bool for index in args[1])


@contextmanager
def without_waiting(device: str) -> Iterator[None]:
    """Fail where the host reads from `device` or copies to it."""
    if device == "cuda":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Synchronization debug mode", UserWarning)
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return
    with HostReads() as reads:
        yield
    assert not reads.operations


def second_call_does_not_wait(device: str, body: Callable[[], R]) -> R:
    """Result of a `body` whose second call keeps the host free; the first makes its tables."""
    enabled = torch.is_autocast_enabled

    def asked(*devices: str) -> bool:
        # torch has no answer for its own meta device
        return devices != ("meta",) and enabled(*devices)

    with mock.patch.object(torch, "is_autocast_enabled", asked):
        body()
        with without_waiting(device):
            return body()


def assert_close_to_largest(actual: torch.Tensor, expected: torch.Tensor, rtol: float) -> None:
    """Compare with float64 on the CPU, errors relative to the largest value."""
    error = (actual.detach().cpu().double() - expected.detach()).abs().max()
    assert error <= rtol * expected.detach().abs().max().clamp_min(1e-30), float(error)
