"""CUDA graphs: the step of an iterative method, recorded once and replayed.

On a CUDA device one step of CG is some twenty kernels. On small systems the host takes longer
to launch them than the device to run them; a graph launches all of them in one call. What a
graph records are kernels and addresses, so the state of the method has to stay where it is.

Source: PyTorch, "CUDA semantics", section "CUDA Graphs", for warm-up, capture and replay.
"""

import copy
import warnings
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor

from sciml.linalg.solvers.base import LinearSystem

S = TypeVar("S")

Work = Callable[[], None]
Record = Callable[[Work, torch.device], Work]
"""Runs one step's work on a device as often as it needs to, and returns what repeats it."""


def record_cuda_graph(work: Work, device: torch.device) -> Work:
    """Capture the kernels of `work` on a CUDA device; they run anew whenever it is repeated.

    Raises:
        ValueError: If the work waits for the device, which no graph can.
    """
    with torch.cuda.device(device):
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch
        current = torch.cuda.current_stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            work()  # makes tables and workspaces, and may wait for them
            _run_without_waiting(work)
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # other threads, a data loader's say, may go on allocating meanwhile
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            work()

    def repeat() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return repeat


@final
class ReplayedStep(Generic[S]):
    """A step that works in tensors of fixed addresses, so that it can be recorded.

    Args:
        step: The step of a method.
        record: Called once for each system with the work of one step.

    Raises:
        ValueError: From the first call, if the method keeps a count on the host, or if the
            operator or the preconditioner waits for the device.
    """

    def __init__(
        self, step: Callable[[LinearSystem, S], S], record: Record = record_cuda_graph
    ) -> None:
        self._step, self._record = step, record
        self._system: LinearSystem | None = None
        self._repeat: Work | None = None
        self._buffers: dict[str, Tensor] = {}
        self._applied = (0, 0)

    def __call__(self, system: LinearSystem, state: S) -> S:
        """One step of `state`, in place; the next one overwrites the same tensors."""
        counts = (system.num_applications, system.num_preconditionings)
        if self._repeat is None or system is not self._system:
            self._buffers = {
                name: value.clone(memory_format=torch.contiguous_format)
                for name, value in _items(state)
                if isinstance(value, Tensor)
            }
            work = partial(self._advance, system, copy.copy(state))
            self._repeat, self._system = self._record(work, system.b.device), system
        for name, buffer in self._buffers.items():
            given = getattr(state, name)
            if given is not buffer:
                buffer.copy_(given)
            setattr(state, name, buffer)
        self._repeat()
        # however often the recording ran the step: each call applies what one step does
        system.num_applications = counts[0] + self._applied[0]
        system.num_preconditionings = counts[1] + self._applied[1]
        return state

    def _advance(self, system: LinearSystem, template: S) -> None:
        """From the buffers by one step back into the buffers."""
        counts = (system.num_applications, system.num_preconditionings)
        state = copy.copy(template)
        for name, buffer in self._buffers.items():
            setattr(state, name, buffer)
        after = dict(_items(self._step(system, state)))
        self._applied = (
            system.num_applications - counts[0],
            system.num_preconditionings - counts[1],
        )
        for name, value in _items(template):
            if name not in self._buffers and after[name] != value:
                raise ValueError(
                    "cuda_graph: expected a method whose state is tensors of fixed shapes, got "
                    f"{type(template).__name__} whose {name} is counted on the host; take CG, "
                    "MINRES or BiCGStab, or leave the graph out"
                )
        held = {buffer.untyped_storage().data_ptr() for buffer in self._buffers.values()}
        moves = []
        for name, buffer in self._buffers.items():
            value = after[name]
            if value is not buffer:
                # an old vector under a new name is read before its buffer is written
                shared = value.untyped_storage().data_ptr() in held
                moves.append((buffer, value.clone() if shared else value))
        for buffer, value in moves:
            buffer.copy_(value)


def _items(state: Any) -> list[tuple[str, Any]]:
    """Names and values of the fields of a method's state."""
    return [(item.name, getattr(state, item.name)) for item in fields(state)]


def _run_without_waiting(work: Work) -> None:
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        # said once a process: it may miss a wait; then the capture itself fails
        warnings.filterwarnings("ignore", "Synchronization debug mode", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    except RuntimeError as error:
        raise ValueError(
            "cuda_graph: expected an operator and a preconditioner that never wait for the "
            f"device, got {error}; leave the graph out"
        ) from error
    finally:
        torch.cuda.set_sync_debug_mode(mode)
