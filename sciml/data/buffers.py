"""Memory of batches, used again once nothing refers to them."""

import math
import weakref
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override


@final
class BufferPool:
    """Float32 buffers for one batch after another.

    The system hands out fresh memory page by page, and clears it, which takes longer than the
    copy of a batch. A buffer returns to the pool when the last tensor or array that shows a
    part of it is gone, so that what was handed out is never written to again.

    Args:
        capacity: Most buffers that are kept while nobody uses them.
    """

    def __init__(self, capacity: int = 4) -> None:
        self._capacity = capacity
        self._free: list[Tensor] = []

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Leave the buffers behind."""
        return {**self.__dict__, "_free": []}

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """A buffer of the shape, with any contents; safe from several threads."""
        count = math.prod(shape)
        try:
            base = self._free.pop()
        except IndexError:
            base = torch.empty(count)
        if len(base) < count:
            # smaller ones are dropped one by one, as they are met
            base = torch.empty(count)
        # a tensor of this array keeps the array alive, through whatever views there are of it
        array = base.numpy()
        weakref.finalize(array, self._give_back, base).atexit = False
        return torch.from_numpy(array)[:count].view(shape)

    def _give_back(self, base: Tensor) -> None:
        if len(self._free) < self._capacity:
            self._free.append(base)
